"""SimSiam: predict the projection of one view from the other; only a stop-gradient prevents collapse.

Chen & He 2021, "Exploring Simple Siamese Representation Learning", https://arxiv.org/abs/2011.10566, eq. 1 to 4, for
projections z and predictions p of the two views of each sample:

    D(p, z) = - p/|p| . z/|z|,        loss = D(p1, stop(z2)) / 2 + D(p2, stop(z1)) / 2

The loss is the mean over samples. A perfect prediction reaches -1, and so does a collapsed representation.
Differs from the paper: AdamW replaces SGD; the predictor's learning rate decreases with the others. (The paper reports
slightly better results with a constant one.)
"""

from __future__ import annotations

from typing import Annotated, Any, Self

import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from salience.batch import Batch, Progress
from salience.methods.contract import Auto, Context, Method, settled
from salience.methods.precision import full_precision
from salience.nets import Encoder, head
from salience.views import Views


@full_precision
def simsiam_loss(prediction: Tensor, projection: Tensor) -> Tensor:
    """Compute the mean negative cosine, without a gradient to the projection.  [n d], [n d] -> [], in [-1, 1]"""
    return -F.cosine_similarity(prediction, projection.detach(), dim=1).mean()


class SimSiam(Method):
    """SimSiam.

    dim: width of the projection and of the projector's two hidden layers; default: the representation's
    bottleneck: width of the predictor's hidden layer; default: a quarter of dim
    """

    keeps_items_apart = "the predictor, with its --bottleneck"

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        *,
        dim: Annotated[int, Ge(1)] = Auto,
        bottleneck: Annotated[int, Ge(1)] = Auto,
    ):
        super().__init__(encoder)
        self.views = views
        self.dim = dim
        self.bottleneck = bottleneck
        self.projector = head(encoder.dim, dim, dim, dim, last_norm=True)
        self.predictor = head(dim, bottleneck, dim)

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        encoder = context.make_encoder()
        options = settled(options, dim=encoder.dim)
        options = settled(options, bottleneck=max(1, options["dim"] // 4))
        return cls(encoder, context.make_views({"global": 2}), **options)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        z1, z2 = (self.projector(self.encoder(view.x, view.mask)) for view in self.views(batch, at)["global"])
        p1, p2 = self.predictor(z1), self.predictor(z2)
        return {"loss": (simsiam_loss(p1, z2) + simsiam_loss(p2, z1)) / 2}

    def collapsed_loss(self, n: int) -> float:
        return -1.0
