"""L-BFGS for many small smooth problems at once: every problem has its own curvature pairs and step length.

Nocedal & Wright, Numerical Optimization, algorithm 7.4 (two loops), with backtracking to the Armijo condition. The
problems share tensors, not decisions, so each ends where it would have ended alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]
Pair = tuple[Tensor, Tensor, Tensor]


def minimise(
    objective: Objective,
    start: Tensor,
    *,
    precondition: Callable[[Tensor], Tensor],
    steps: int = 100,
    tolerance: float = 1e-6,
    memory: int = 10,
) -> Tensor:
    """Minimise b independent convex functions.

    objective: w [b p] -> values [b], gradients [b p]
    start: [b p]
    precondition: gradients [b p] -> [b p], roughly the inverse Hessian's product; symmetric and positive definite
    tolerance: a problem is done when half of gradient . step, an estimate of what is still to be gained, falls below it
    -> [b p]
    """
    w = start.clone()
    value, gradient = objective(w)
    pairs: list[Pair] = []
    busy = torch.ones_like(value, dtype=torch.bool)
    for _ in range(steps):
        direction = -two_loops(gradient, pairs, precondition)
        busy &= dot(gradient, direction) / -2 > tolerance  # done is done: what its pairs say later is stale
        if not busy.any():
            break
        direction = direction * busy[:, None]
        step, new_value, new_gradient = backtrack(objective, w, value, gradient, direction)
        if not step.any():
            break
        displacement = step[:, None] * direction
        pairs = [*pairs, curvature_pair(displacement, new_gradient - gradient)][-memory:]
        w, value, gradient = w + displacement, new_value, new_gradient
    return w


def dot(a: Tensor, b: Tensor) -> Tensor:
    """a, b: [b p] -> [b]"""
    return torch.linalg.vecdot(a, b)


def curvature_pair(displacement: Tensor, change: Tensor) -> Pair:
    """(s, y, 1 / s.y) per problem; the last is 0, which leaves the pair out, where rounding hides the curvature."""
    product = dot(displacement, change)
    enough = product > 1e-7 * displacement.norm(dim=1) * change.norm(dim=1)
    return displacement, change, torch.where(enough, 1 / product.where(enough, 1), 0)


def two_loops(gradient: Tensor, pairs: list[Pair], precondition: Callable[[Tensor], Tensor]) -> Tensor:
    """The inverse Hessian's estimate applied to the gradient.  [b p] -> [b p]"""
    q = gradient
    shares = []
    for s, y, inverse in reversed(pairs):
        share = inverse * dot(s, q)
        q = q - share[:, None] * y
        shares.append(share)
    r = precondition(q)
    if pairs:
        s, y, inverse = pairs[-1]
        scale = dot(s, y) / dot(y, precondition(y)).clamp(min=1e-30)
        r = r * torch.where(inverse > 0, scale, 1)[:, None]
    for (s, y, inverse), share in zip(pairs, reversed(shares), strict=True):
        r = r + (share - inverse * dot(y, r))[:, None] * s
    return r


def backtrack(
    objective: Objective, w: Tensor, value: Tensor, gradient: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Halve each problem's step until its value falls enough.  -> steps [b], 0 if none is found; values, gradients"""
    slope = dot(gradient, direction)
    slack = 4 * torch.finfo(value.dtype).eps * value.abs()
    step = torch.ones_like(value)
    for _ in range(20):
        new_value, new_gradient = objective(w + step[:, None] * direction)
        fine = new_value <= value + 1e-4 * step * slope + slack
        if fine.all():
            return step, new_value, new_gradient
        step = torch.where(fine, step, step / 2)
    step = torch.where(fine, step, 0)
    return step, torch.where(fine, new_value, value), torch.where(fine[:, None], new_gradient, gradient)
