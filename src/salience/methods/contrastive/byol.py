"""BYOL: predict the output of a slowly moving copy of the network for another view, without negatives.

Grill et al. 2020, "Bootstrap Your Own Latent", https://arxiv.org/abs/2006.07733, eq. 2, for predictions q = predictor(
projector(encoder(view))) of one view and the teacher's projections z' of the other:

    l(q, z') = |q/|q| - z'/|z'||^2 = 2 - 2 cos(q, z')

The loss is l summed over both orders of the two views, mean over samples. The teacher receives no gradient. After each
step its weights become m teacher + (1 - m) student, with m = 1 - (1 - momentum) (cos(pi step / total) + 1) / 2.
Differs from the paper: AdamW replaces LARS; the width of the projector's hidden layer is proportional to the encoder's
(the paper's 4096 is twice ResNet-50's 2048); one policy without blur and solarisation draws both views.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor

from salience.batch import Batch, Progress
from salience.methods.contract import Auto, Context, Method, settled
from salience.methods.precision import full_precision
from salience.methods.schedules import cosine
from salience.methods.teachers import LEFT_BEHIND, STILL_TEACHER
from salience.nets import Encoder, distance, follow, head, teacher_of
from salience.views import Views


@full_precision
def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute the mean of 2 - 2 cos over rows, without a gradient to the target.  [n d], [n d] -> [], in [0, 4]"""
    return 2 - 2 * F.cosine_similarity(prediction, target.detach(), dim=1).mean()


class BYOL(Method):
    """BYOL.

    dim: width of the projection that is predicted
    hidden: width of the hidden layer of the projector and of the predictor; default: twice the representation's
    momentum: initial momentum of the teacher (share of its weights kept at each step); it rises to 1
    """

    signs = (LEFT_BEHIND,)
    ordinary = (STILL_TEACHER,)
    keeps_items_apart = "the predictor, and the teacher, which --momentum moves"

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        *,
        dim: Annotated[int, Ge(1)] = 256,
        hidden: Annotated[int, Ge(1)] = Auto,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.996,
    ):
        super().__init__(encoder)
        self.views = views
        self.dim = dim
        self.hidden = hidden
        self.momentum = momentum
        self.projector = head(encoder.dim, hidden, dim)
        self.predictor = head(dim, hidden, dim)
        self.teacher_encoder = teacher_of(encoder)
        self.teacher_projector = teacher_of(self.projector)

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        encoder = context.make_encoder()
        return cls(encoder, context.make_views({"global": 2}), **settled(options, hidden=2 * encoder.dim))

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        a, b = self.views(batch, at)["global"]
        first, second = (self.predictor(self.projector(self.encoder(view.x, view.mask))) for view in (a, b))
        return {"loss": byol_loss(first, self.target(b.x, b.mask)) + byol_loss(second, self.target(a.x, a.mask))}

    @torch.no_grad()
    def target(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the teacher's projection of a view.  [n ...] -> [n dim]"""
        return self.teacher_projector(self.teacher_encoder(x, mask))

    def after_step(self, at: Progress) -> None:
        momentum = cosine(self.momentum, 1.0, at.fraction)
        follow(self.teacher_encoder, self.encoder, momentum)
        follow(self.teacher_projector, self.projector, momentum)

    def vitals(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        return {"teacher_distance": distance(self.teacher_encoder, self.encoder)}

    def collapsed_loss(self, n: int) -> float:
        return 0.0
