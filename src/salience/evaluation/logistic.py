"""Multinomial logistic regression, many at once: label draws, scalings, folds and penalties are a batch dimension.

    loss = sum_i weight_i * cross_entropy(W x_i + bias, y_i) + sum_dk penalty_d W_kd^2 / 2,        sum_i weight_i = 1

solved by L-BFGS, preconditioned with the Hessian's upper bound of Böhning (https://doi.org/10.1007/BF00048682),
(X' diag(weight) X) / 2 + penalty, whose one factorisation replaces most of the iterations. Scores are class-major,
[b c n]: a matrix product with a short side runs up to twenty times faster that way round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from salience.evaluation.lbfgs import minimise

ROUNDING = 3e-7  # of the trace: what single precision leaves of a matrix product's smallest eigenvalues


@dataclass(frozen=True)
class Linear:
    """b linear classifiers.  weight: [b c d], bias: [b c]"""

    weight: Tensor
    bias: Tensor

    def scores(self, x: Tensor) -> Tensor:
        """x: [n d] shared or [b n d] -> [b c n]"""
        if x.ndim == 3:
            return torch.baddbmm(self.bias[..., None], self.weight, x.mT)
        b, c, d = self.weight.shape
        return (self.weight.reshape(b * c, d) @ x.T).view(b, c, len(x)).add_(self.bias[..., None])

    def __getitem__(self, at: int) -> Linear:
        """One of them, as a batch of one."""
        return Linear(self.weight[at, None], self.bias[at, None])


def second_moments(x: Tensor, weights: Tensor) -> Tensor:
    """X' diag(weights) X with a column of ones joined to X, for the bias.

    x: [n d] or [b n d], weights: [n] or [b n] -> [d+1 d+1] or [b d+1 d+1]
    """
    weights = weights.expand(
        np.broadcast_shapes(weights.shape, x.shape[:-1])
    )  # torch's own takes half a second to import
    within = x.mT @ (x * weights[..., None])
    mean = (weights[..., None, :] @ x).mT
    total = weights.sum(-1)[..., None, None]
    return torch.cat([torch.cat([within, mean], -1), torch.cat([mean.mT, total], -1)], -2)


class Precondition:
    """(moments / 2 + penalty)^-1, factorised.  moments: as above, penalty: [b d]"""

    def __init__(self, moments: Tensor, penalty: Tensor) -> None:
        bound = moments.double() / 2
        ridge = ROUNDING * bound.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) + F.pad(penalty.double(), (0, 1))
        factor = torch.linalg.cholesky(bound + torch.diag_embed(ridge))
        eye = torch.eye(bound.shape[-1], dtype=bound.dtype).expand_as(factor)
        self.root = torch.linalg.solve_triangular(factor, eye, upper=False).to(moments.dtype)

    def __call__(self, gradient: Tensor) -> Tensor:
        """[b c d+1] -> [b c d+1]"""
        return (gradient @ self.root.mT) @ self.root


def fit(
    x: Tensor,
    y: Tensor,
    classes: int,
    penalty: Tensor,
    *,
    weights: Tensor | None = None,
    start: Linear | None = None,
    hessian: Precondition | None = None,
    tolerance: float = 1e-6,
    steps: int = 100,
) -> Linear:
    """Fit b classifiers.

    x: [n d] shared by all, or [b n d]
    y: [n] or [b n] int64 in [0, classes)
    penalty: [b d], on the mean loss's scale
    weights: [n] or [b n] of the rows, each summing to 1; equal by default
    start: where to begin; zeros by default
    hessian: a preconditioner made before, be it for a sample of the rows or a penalty nearby
    tolerance: of the loss
    """
    b, d = penalty.shape
    weights = x.new_full((x.shape[-2],), 1 / x.shape[-2]) if weights is None else weights
    hessian = hessian or Precondition(second_moments(x, weights), penalty)
    target = F.one_hot(y, classes).mT.to(x.dtype)

    def objective(flat: Tensor) -> tuple[Tensor, Tensor]:
        w = flat.view(b, classes, d + 1)
        weight, bias = w[..., :d], w[..., d]
        value, slope = weighted_cross_entropy(Linear(weight, bias).scores(x), target, weights[..., None, :])
        shrink = penalty[:, None] * weight
        gradient = torch.cat([product(slope, x) + shrink, slope.sum(-1, keepdim=True)], -1)
        return value + (shrink * weight).sum((1, 2)) / 2, gradient.flatten(1)

    def precondition(gradient: Tensor) -> Tensor:
        return hessian(gradient.view(b, classes, d + 1)).flatten(1)

    first = x.new_zeros(b, classes, d + 1) if start is None else torch.cat([start.weight, start.bias[..., None]], -1)
    w = minimise(objective, first.flatten(1), precondition=precondition, tolerance=tolerance, steps=steps)
    w = w.view(b, classes, d + 1)
    return Linear(w[..., :d], w[..., d])


def weighted_cross_entropy(scores: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """scores: [b c n], target: [c n] or [b c n] one-hot, weights: [1 n] or [b 1 n] -> value [b], gradient [b c n]"""
    log_probability = scores.log_softmax(-2)
    value = -(log_probability * target * weights).sum((-2, -1))
    return value, (log_probability.exp_() - target) * weights


def product(slope: Tensor, x: Tensor) -> Tensor:
    """As one matrix product where x is shared.  [b c n], [n d] or [b n d] -> [b c d]"""
    if x.ndim == 3:
        return slope @ x
    b, c, n = slope.shape
    return (slope.reshape(b * c, n) @ x).view(b, c, -1)
