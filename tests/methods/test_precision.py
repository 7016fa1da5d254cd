"""Losses in full precision: inputs in half precision are raised, also where autocast would lower the arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from salience.methods.precision import HALF, full_precision


@full_precision
def product(a: Tensor, b: Tensor, *, scale: float = 1.0) -> Tensor:
    """a b"""
    return scale * (a @ b)


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_raised_and_the_gradient_comes_back_in_it(dtype: torch.dtype) -> None:
    a, b = torch.rand(3, 4, dtype=dtype, requires_grad=True), torch.rand(4, 2, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        made = product(a, b, scale=2.0)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, 2 * (a.detach().float() @ b.float()), rtol=0, atol=0)
    made.sum().backward()
    assert a.grad is not None
    assert a.grad.dtype == dtype


def test_float32_is_not_lowered_and_float64_stays() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(3, 4, generator=generator), torch.rand(4, 2, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        made, lowered = product(a, b), a @ b
    assert lowered.dtype == torch.bfloat16
    assert torch.equal(made, a @ b)
    assert product(a.double(), b.double()).dtype == torch.float64


def test_a_loss_keeps_its_name_and_documentation() -> None:
    assert (product.__name__, product.__doc__) == ("product", "a b")
