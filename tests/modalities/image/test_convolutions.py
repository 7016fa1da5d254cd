"""Convolutions: our own ways there and back give what plain layers and autograd give."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salience.modalities.image import convolutions
from salience.modalities.image.convolutions import (
    Halving,
    Positions,
    ToChannels,
    _Enlarged,
    _Halving,
    _ToChannels,
    enlarged,
)


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
    assert torch.autograd.gradgradcheck(lambda x, weight: at_once(x, size, weight), (x, weight))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(7, 7), (5, 8), (1, 1)])
def test_few_channels_are_those_of_the_plain_convolution(shape: tuple[int, int], channels: int) -> None:
    x, weight = tensors((2, 4, *shape), (channels, 4, 3, 3))
    assert apart(_ToChannels.apply, lambda x, weight: F.conv2d(x, weight, padding=1), x, weight) < 1e-12
    assert torch.autograd.gradgradcheck(_ToChannels.apply, (x, weight))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_image_in_bf16_is_as_exact_as_the_plain_convolution_has_it(channels: int) -> None:
    torch.manual_seed(0)
    layer = ToChannels(32, channels)
    x = torch.randn(8, 32, 12, 12).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        found, plain = layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1)
    weight = layer.weight.bfloat16().double()
    exact = F.conv2d(x.bfloat16().double(), weight, layer.bias.double(), padding=1)
    ours, theirs = ((image - exact).square().mean() for image in (found, plain))
    assert ours < 1.2 * theirs


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
def test_layers_take_their_own_way_where_it_is_faster(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    for way in (_Halving, _Enlarged, _ToChannels):
        apply = staticmethod(lambda *args, way=way: taken.append(way) or way.apply(*args))
        monkeypatch.setattr(convolutions, way.__name__, type(way.__name__, (), {"apply": apply}))
    halving, ending = Halving(64, 8), ToChannels(64, 3)
    (x,), (decoding,) = tensors((2, 64, 8, 8), dtype=dtype), tensors((64, 64, 3, 3), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        halved = apart(lambda x, _: halving(x), lambda x, weight: F.conv2d(x, weight, None, 2, 1), x, halving.weight)
        grown = apart(
            lambda x, weight: enlarged(x, 16, weight),
            lambda x, weight: F.conv2d(F.interpolate(x, size=(16, 16)), weight, padding=1),
            x,
            decoding,
        )
        ended = apart(
            lambda x, *_: ending(x),
            lambda x, weight, bias: F.conv2d(x, weight, bias, padding=1).float(),
            x,
            ending.weight,
            ending.bias,
        )
    assert max(halved, grown, ended) < 0.01
    assert taken == [_Halving] * (dtype == torch.bfloat16) + [_Enlarged, _ToChannels]


def test_positions_are_flattened_and_their_gradients_laid_out_as_convolutions_like_them() -> None:
    (x,) = tensors((2, 3, 4, 4))
    between = x * 1
    flat, seen = Positions()(between), []
    between.register_hook(seen.append)
    torch.testing.assert_close(flat, nn.Flatten()(x))
    (flat * torch.arange(48)).sum().backward()
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(seen[0], torch.arange(48).reshape(3, 4, 4).expand(2, 3, 4, 4).double())
