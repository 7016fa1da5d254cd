"""SupCon: attract all samples of one class and repel other classes; SimCLR with labels.

Khosla et al. 2020, "Supervised Contrastive Learning", https://arxiv.org/abs/2004.11362, eq. 2 (L_out), over the 2n unit
vectors z of n samples in two views each; P(i) are the other vectors of i's class, A(i) all vectors except i:

    l(i) = -1/|P(i)| sum_{p in P(i)} log  exp(z_i . z_p / temperature) / sum_{a in A(i)} exp(z_i . z_a / temperature)

The loss is the mean of l over all 2n vectors. A sample without a label has only its own other view as a positive. If no
sample has a label, the loss equals SimCLR's.
Differs from the paper: AdamW replaces SGD; the loss is a mean over vectors, not a sum; there is no factor
temperature / 0.07, which the paper's code has; the projector has batch norm.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Self

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor

from salience.batch import Batch, Progress
from salience.distributed import gather
from salience.methods.contract import Context, Method
from salience.methods.precision import full_precision
from salience.nets import Encoder, head
from salience.views import Views
from salience.warning_signs import Ordinary


@full_precision
def supcon_loss(a: Tensor, b: Tensor, label: Tensor | None, *, temperature: float) -> Tensor:
    """Compute L_out of two views of this process's n samples, against those of all processes.

    a, b: [n d];  label: [n] int64, -1 if unknown; None if all are unknown -> []
    """
    mine = F.normalize(torch.cat([a, b]), dim=1)  # [2n d]
    everyone, mine_at = gather(mine)  # [m d], position of my rows in it [2n]; with one process m = 2n
    alone = -1 - mine_at[: len(a)]  # [n] below 0: a separate class for each unlabelled sample
    mine_of = alone if label is None else torch.where(label < 0, alone, label)
    mine_of = torch.cat([mine_of, mine_of])  # [2n]
    positive = mine_of[:, None] == gather(mine_of)[0]  # [2n m]
    positive = positive.scatter(1, mine_at[:, None], False)  # a vector is not its own positive,
    logits = mine @ everyone.T / temperature
    logits = logits.scatter(1, mine_at[:, None], -torch.inf)  # and not its own negative
    each = torch.where(positive, logits.log_softmax(dim=1), 0.0)  # [2n m]
    return -(each.sum(dim=1) / positive.sum(dim=1)).mean()


class SupCon(Method):
    """SupCon.

    dim: width of the projection in which views are compared
    temperature: divides the similarities; smaller values give more weight to the nearest negatives and to the farthest
        positives
    """

    ordinary = (Ordinary("temperature", 0.01, 5.0),)
    keeps_items_apart = "--temperature"

    needs_labels = True

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        *,
        dim: Annotated[int, Ge(1)] = 128,
        temperature: Annotated[float, Gt(0)] = 0.1,
    ):
        super().__init__(encoder)
        self.views = views
        self.dim = dim
        self.temperature = temperature
        self.projector = head(encoder.dim, encoder.dim, dim)

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        return cls(context.make_encoder(), context.make_views({"global": 2}), **options)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        a, b = (self.projector(self.encoder(view.x, view.mask)) for view in self.views(batch, at)["global"])
        return {"loss": supcon_loss(a, b, batch.label, temperature=self.temperature)}

    def collapsed_loss(self, n: int) -> float:
        return math.log(2 * n - 1)
