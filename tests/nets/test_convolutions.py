"""Convolutions: the ways back of our own give what autograd gives of the plain layers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salience.nets import convolutions
from salience.nets.convolutions import Halving, Positions, _Enlarged, _Halving, enlarged


def apart(ours: Callable[..., Tensor], plain: Callable[..., Tensor], *inputs: Tensor) -> float:
    """How far, in value or in the gradient of an input: the difference's length as a share of the plain one's."""
    mine, theirs = ours(*inputs), plain(*inputs)
    weights = torch.randn_like(theirs)
    of_mine, of_theirs = (torch.autograd.grad((found * weights).sum(), inputs) for found in (mine, theirs))
    pairs = ((mine, theirs), *zip(of_mine, of_theirs, strict=True))
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
    return max(float((a - b).detach().norm() / b.detach().norm()) for a, b in pairs)


def tensors(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(0)
    found = [torch.randn(shape, dtype=dtype).contiguous(memory_format=torch.channels_last) for shape in shapes]
    return [tensor.requires_grad_() for tensor in found]


@pytest.mark.parametrize("at_once", [enlarged, lambda x, size, weight: _Enlarged.apply(x, weight, size)])
@pytest.mark.parametrize(("side", "size"), [(4, 8), (7, 14), (1, 2), (4, 7), (3, 5), (1, 1)])
def test_enlarging_and_convolving_at_once_is_the_same(
    side: int, size: int, at_once: Callable[[Tensor, int, Tensor], Tensor]
) -> None:
    x, weight = tensors((2, 3, side, side), (5, 3, 3, 3))

    def plain(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(F.interpolate(x, size=(size, size), mode="nearest"), weight, padding=1)

    assert apart(lambda x, weight: at_once(x, size, weight), plain, x, weight) < 1e-12


@pytest.mark.parametrize("shape", [(8, 8), (7, 7), (5, 8), (1, 2)])
def test_halving_has_the_gradients_of_the_plain_convolution(shape: tuple[int, int]) -> None:
    x, weight = tensors((2, 3, *shape), (5, 3, 3, 3))

    def plain(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, stride=2, padding=1)

    assert apart(_Halving.apply, plain, x, weight) < 1e-12
    frozen = weight.detach()
    assert apart(lambda x: _Halving.apply(x, frozen), lambda x: plain(x, frozen), x) < 1e-12
    assert torch.autograd.gradgradcheck(_Halving.apply, (x, weight))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_layers_take_their_own_way_back_in_bf16_alone(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    for name, way in (("_Halving", _Halving), ("_Enlarged", _Enlarged)):
        apply = staticmethod(lambda *args, way=way: taken.append(way) or way.apply(*args))
        monkeypatch.setattr(convolutions, name, type(name, (), {"apply": apply}))
    halving, decoding = Halving(64, 8), tensors((64, 64, 3, 3), dtype=torch.float32)[0]
    (x,) = tensors((2, 64, 8, 8), dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        halved = apart(lambda x, _: halving(x), lambda x, weight: F.conv2d(x, weight, None, 2, 1), x, halving.weight)
        grown = apart(
            lambda x, weight: enlarged(x, 16, weight),
            lambda x, weight: F.conv2d(F.interpolate(x, size=(16, 16)), weight, padding=1),
            x,
            decoding,
        )
    assert max(halved, grown) < 0.01
    assert taken == ([_Halving, _Enlarged] if dtype == torch.bfloat16 else [])


def test_positions_are_flattened_and_their_gradients_laid_out_as_convolutions_like_them() -> None:
    (x,) = tensors((2, 3, 4, 4))
    between = x * 1
    flat, seen = Positions()(between), []
    between.register_hook(seen.append)
    torch.testing.assert_close(flat, nn.Flatten()(x))
    (flat * torch.arange(48)).sum().backward()
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(seen[0], torch.arange(48).reshape(3, 4, 4).expand(2, 3, 4, 4).double())
