"""Multinomial logistic regression, many at once: label draws, scalings, folds and penalties are a batch dimension.

    loss = sum_i weight_i * cross_entropy(x_i W + bias, y_i) + sum_dk penalty_d W_dk^2 / 2,        sum_i weight_i = 1

solved by L-BFGS, preconditioned with the Hessian's upper bound of Böhning (https://doi.org/10.1007/BF00048682),
(X' diag(weight) X) / 2 + penalty, whose one factorisation replaces most of the iterations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from salience.evaluation.lbfgs import minimise

ROUNDING = 3e-7  # of the trace: what single precision leaves of a matrix product's smallest eigenvalues


@dataclass(frozen=True)
class Linear:
    """b linear classifiers.  weight: [b d c], bias: [b c]"""

    weight: Tensor
    bias: Tensor

    def scores(self, x: Tensor) -> Tensor:
        """x: [n d] shared or [b n d] -> [b n c]"""
        if x.ndim == 3:
            return torch.baddbmm(self.bias[:, None], x, self.weight)
        b, d, c = self.weight.shape
        flat = self.weight.permute(1, 0, 2).reshape(d, b * c)
        return (x @ flat).view(len(x), b, c).transpose(0, 1) + self.bias[:, None]


@dataclass(frozen=True)
class Curvature:
    """The bound of the Hessian, factorised.  cholesky: [b d+1 d+1]; the last row is the bias"""

    cholesky: Tensor

    @classmethod
    def of(cls, x: Tensor, weights: Tensor, penalty: Tensor) -> Curvature:
        """x: [n d] or [b n d], weights: [n] or [b n] of the rows, penalty: [b d]"""
        ones = x.new_ones(*x.shape[:-1], 1)
        extended = torch.cat([x, ones], dim=-1)
        gram = extended.mT @ (extended * weights[..., None]) / 2
        ridge = F.pad(penalty, (0, 1)) + ROUNDING * gram.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) + 1e-12
        return cls(torch.linalg.cholesky(gram + torch.diag_embed(ridge)))

    def solve(self, gradient: Tensor) -> Tensor:
        """gradient: [b d+1 c] -> [b d+1 c]"""
        return torch.cholesky_solve(gradient, self.cholesky)


def fit(
    x: Tensor,
    y: Tensor,
    classes: int,
    penalty: Tensor,
    *,
    weights: Tensor | None = None,
    start: Linear | None = None,
    curvature: Curvature | None = None,
    tolerance: float = 1e-6,
    steps: int = 100,
) -> Linear:
    """Fit b classifiers.

    x: [n d] shared by all, or [b n d]
    y: [n] or [b n] int64 in [0, classes)
    penalty: [b d], on the mean loss's scale
    weights: [n] or [b n] of the rows, each summing to 1; equal by default
    start: where to begin; zeros by default
    curvature: a preconditioner from before (another penalty, a sample of the rows); computed by default
    """
    b, d = penalty.shape
    weights = x.new_full((x.shape[-2],), 1 / x.shape[-2]) if weights is None else weights
    curvature = curvature or Curvature.of(x, weights, penalty)
    target = F.one_hot(y, classes).to(x.dtype)

    def objective(flat: Tensor) -> tuple[Tensor, Tensor]:
        w = flat.view(b, d + 1, classes)
        value, towards_scores = weighted_cross_entropy(Linear(w[:, :d], w[:, d]).scores(x), target, weights)
        shrink = penalty[..., None] * w[:, :d]
        slope = torch.cat([transposed_product(x, towards_scores) + shrink, towards_scores.sum(1, keepdim=True)], dim=1)
        return value + (shrink * w[:, :d]).sum((1, 2)) / 2, slope.flatten(1)

    def precondition(gradient: Tensor) -> Tensor:
        return curvature.solve(gradient.view(b, d + 1, classes)).flatten(1)

    first = x.new_zeros(b, d + 1, classes) if start is None else torch.cat([start.weight, start.bias[:, None]], dim=1)
    w = minimise(objective, first.flatten(1), precondition=precondition, tolerance=tolerance, steps=steps)
    w = w.view(b, d + 1, classes)
    return Linear(w[:, :d], w[:, d])


def weighted_cross_entropy(scores: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """scores: [b n c], target: [n c] or [b n c] one-hot, weights: [n] or [b n] -> value [b], gradient [b n c]"""
    log_probability = scores.log_softmax(-1)
    value = -((log_probability * target).sum(-1) * weights).sum(-1)
    return value, (log_probability.exp() - target) * weights[..., None]


def transposed_product(x: Tensor, towards_scores: Tensor) -> Tensor:
    """X' G of each problem, as one matrix product where X is shared.  [n d] or [b n d], [b n c] -> [b d c]"""
    if x.ndim == 3:
        return x.mT @ towards_scores
    b, n, c = towards_scores.shape
    flat = towards_scores.transpose(0, 1).reshape(n, b * c)
    return (x.T @ flat).view(-1, b, c).transpose(0, 1)
