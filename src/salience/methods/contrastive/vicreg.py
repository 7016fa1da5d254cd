"""VICReg: make two views agree, keep the variance of every dimension, and decorrelate the dimensions.

Bardes, Ponce & LeCun 2022, https://arxiv.org/abs/2105.04906, eq. 1 to 6, over the projections z, z' of all n samples:

    invariance  s(z, z') = 1/n sum_b |z_b - z'_b|^2 / d
    variance    v(z)     = 1/d sum_j max(0, 1 - sqrt(Var(z_j) + 1e-4))
    covariance  c(z)     = 1/d sum_{i != j} Cov(z)_ij^2
    loss = invariance s(z, z') + variance (v(z) + v(z')) / 2 + covariance (c(z) + c(z'))

Var and Cov are unbiased (1/(n - 1)). The weights in the paper's eq. 6 are 25, 25 and 1. As in the paper's code, the
variance term is the mean over both views, and the squared error is a mean over dimensions.
Differs from the paper: AdamW replaces LARS; the width of the projector's three layers is proportional to the encoder's
(the paper's 8192 is four times ResNet-50's 2048); one policy without blur and solarisation draws both views.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from salience.batch import Batch, Progress
from salience.distributed import gather
from salience.methods.contract import Auto, Context, Method, settled
from salience.methods.precision import full_precision
from salience.nets import Encoder, head
from salience.views import Views
from salience.warning_signs import Ordinary

EPSILON = 1e-4


@full_precision
def vicreg_loss(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Compute the three unweighted terms over the samples of all processes.

    a, b: [n d] -> {"invariance": [], "variance": [], "covariance": []}
    """
    a, b = gather(a)[0], gather(b)[0]
    return {
        "invariance": F.mse_loss(a, b),
        "variance": (missing_spread(a) + missing_spread(b)) / 2,
        "covariance": squared_covariance(a) + squared_covariance(b),
    }


def missing_spread(z: Tensor) -> Tensor:
    """Compute by how much the standard deviations are below 1, mean over dimensions.  [n d] -> []"""
    return F.relu(1 - (z.var(dim=0) + EPSILON).sqrt()).mean()


def squared_covariance(z: Tensor) -> Tensor:
    """Compute the sum of the squared covariances of different dimensions, divided by d.  [n d] -> []"""
    centred = (z - z.mean(dim=0)) / (len(z) - 1) ** 0.5
    few = len(z) < z.shape[1]
    products = centred @ centred.T if few else centred.T @ centred  # equal sums of squares; take the smaller
    variances = centred.square().sum(dim=0)
    return (products.square().sum() - variances.square().sum()) / z.shape[1]


class VICReg(Method):
    """VICReg.

    dim: width of the projection and of the projector's two hidden layers; default: four times the representation's
    invariance, variance, covariance: weights of the three terms
    """

    ordinary = (
        Ordinary(
            "variance",
            off=0,
            what="a term of the loss is off",
            change="leave --variance at its default",
            kind="weights",
        ),
        Ordinary(
            "invariance",
            off=0,
            what="a term of the loss is off",
            change="leave --invariance at its default",
            kind="weights",
        ),
    )
    keeps_items_apart = "--variance"

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        *,
        dim: Annotated[int, Ge(2)] = Auto,
        invariance: Annotated[float, Ge(0)] = 25.0,
        variance: Annotated[float, Ge(0)] = 25.0,
        covariance: Annotated[float, Ge(0)] = 1.0,
    ):
        super().__init__(encoder)
        self.views = views
        self.dim = dim
        self.invariance = invariance
        self.variance = variance
        self.covariance = covariance
        self.projector = head(encoder.dim, dim, dim, dim)

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        encoder = context.make_encoder()
        return cls(encoder, context.make_views({"global": 2}), **settled(options, dim=4 * encoder.dim))

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        a, b = (self.projector(self.encoder(view.x, view.mask)) for view in self.views(batch, at)["global"])
        terms = vicreg_loss(a, b)
        weights = {"invariance": self.invariance, "variance": self.variance, "covariance": self.covariance}
        weighted = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return {"loss": weighted} | terms

    def collapsed_loss(self, n: int) -> float:
        return self.variance * (1 - EPSILON**0.5)
