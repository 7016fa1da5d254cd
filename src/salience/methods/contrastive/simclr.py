"""SimCLR: attract two views of the same sample and repel all other samples.

Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations",
https://arxiv.org/abs/2002.05709, eq. 1, over the 2n unit vectors z of n samples in two views each, (i, j) a pair:

    l(i, j) = -log  exp(z_i . z_j / temperature) / sum_{k != i} exp(z_i . z_k / temperature)

The loss is the mean of l over all 2n ordered pairs.
Differs from the paper: AdamW replaces LARS; for tables, views are noise and masking.
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
def nt_xent(a: Tensor, b: Tensor, *, temperature: float) -> Tensor:
    """Compute NT-Xent of two views of this process's n samples, against those of all processes.  a, b: [n d] -> []"""
    mine = F.normalize(torch.cat([a, b]), dim=1)  # [2n d]
    everyone, mine_at = gather(mine)  # [m d], position of my rows in it [2n]; with one process m = 2n
    logits = mine @ everyone.T / temperature  # [2n m]
    logits = logits.scatter(1, mine_at[:, None], -torch.inf)  # a vector is not its own negative
    partner = mine_at.roll(len(a))  # i <-> i + n
    return F.cross_entropy(logits, partner)


class SimCLR(Method):
    """SimCLR.

    dim: width of the projection in which views are compared
    temperature: divides the similarities; smaller values give more weight to the nearest negatives (in the paper 0.1
        for ImageNet, 0.5 for CIFAR-10)
    """

    ordinary = (Ordinary("temperature", 0.01, 5.0),)
    keeps_items_apart = "--temperature"

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        *,
        dim: Annotated[int, Ge(1)] = 128,
        temperature: Annotated[float, Gt(0)] = 0.5,
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
        return {"loss": nt_xent(a, b, temperature=self.temperature)}

    def collapsed_loss(self, n: int) -> float:
        return math.log(2 * n - 1)
