"""Barlow Twins: make each dimension equal in two views, and decorrelate different dimensions.

Zbontar et al. 2021, "Self-Supervised Learning via Redundancy Reduction", https://arxiv.org/abs/2103.03230, eq. 1 and 2,
over the projections z of all n samples, each dimension standardised to mean 0 and variance 1 (1/n) within each view:

    C_ij = 1/n sum_b z1_bi z2_bj,        loss = sum_i (1 - C_ii)^2 + redundancy sum_{i != j} C_ij^2

Differs from the paper: AdamW replaces LARS; the width of the projector's three layers is proportional to the encoder's
(the paper's 8192 is four times ResNet-50's 2048); one policy without blur and solarisation draws both views.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from annotated_types import Ge
from torch import Tensor

from salience.batch import Batch, Progress
from salience.distributed import gather
from salience.methods.contract import Auto, Context, Method, settled
from salience.methods.precision import full_precision
from salience.nets import Encoder, head
from salience.views import Views
from salience.warning_signs import Ordinary

EPSILON = 1e-5  # added to a variance, as in batch norm


@full_precision
def barlow_twins_loss(a: Tensor, b: Tensor, *, redundancy: float) -> dict[str, Tensor]:
    """Compute the terms of eq. 1 over all processes' samples.  a, b: [n d] -> {"invariance": [], "redundancy": []}"""
    a, b = (_standardised(gather(view)[0]) for view in (a, b))
    correlation = a.T @ b / len(a)  # [d d]
    same = correlation.diagonal()
    invariance = (1 - same).square().sum()
    between = correlation.square().sum() - same.square().sum()
    return {"invariance": invariance, "redundancy": redundancy * between}


def _standardised(z: Tensor) -> Tensor:
    """Standardise each dimension to mean 0 and (biased) variance 1.  [n d] -> [n d]"""
    centred = z - z.mean(0)
    return centred * (centred.square().mean(0) + EPSILON).rsqrt()


class BarlowTwins(Method):
    """Barlow Twins.

    dim: width of the projection and of the projector's two hidden layers; default: four times the representation's
    redundancy: weight of the off-diagonal terms of the cross-correlation
    """

    ordinary = (
        Ordinary(
            "redundancy",
            off=0,
            what="a term of the loss is off",
            change="leave --redundancy at its default",
            kind="weights",
        ),
    )
    keeps_items_apart = "--redundancy"

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        *,
        dim: Annotated[int, Ge(2)] = Auto,
        redundancy: Annotated[float, Ge(0)] = 0.0051,
    ):
        super().__init__(encoder)
        self.views = views
        self.dim = dim
        self.redundancy = redundancy
        self.projector = head(encoder.dim, dim, dim, dim)

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        encoder = context.make_encoder()
        return cls(encoder, context.make_views({"global": 2}), **settled(options, dim=4 * encoder.dim))

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        a, b = (self.projector(self.encoder(view.x, view.mask)) for view in self.views(batch, at)["global"])
        terms = barlow_twins_loss(a, b, redundancy=self.redundancy)
        return {"loss": terms["invariance"] + terms["redundancy"]} | terms

    def collapsed_loss(self, n: int) -> float:
        return float(self.dim)  # constant outputs have no correlation: C = 0
