"""log(1 + exp(x)), ten times as fast on a CPU as torch's, whose log1p is not vectorised; and what is made of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Softplus(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.abs().sigmoid_().log_().neg_().add_(x.relu())  # the logarithm is of a number from 1/2 to 1

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * x.sigmoid()


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), right to the rounding of a number near 1 where it is close to 0.  [...] -> [...]"""
    return _Softplus.apply(x)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(logits, x)
        return logits.relu().sub_(logits.abs().sigmoid_().log_()).addcmul_(logits, x, value=-1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        logits, x = ctx.saved_tensors
        return gradient * (logits.sigmoid() - x), -gradient * logits if ctx.needs_input_grad[1] else None


def cross_entropy(logits: Tensor, x: Tensor) -> Tensor:
    """Of Bernoullis with these logits, softplus(logits) - logits x in fewer passes.  [...], [...] in [0, 1] -> [...]"""
    return _CrossEntropy.apply(logits, x)
