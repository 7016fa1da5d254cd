"""DCGAN's networks: a judge of images, a generator of them, and a network that enlarges them.

Radford et al. 2016, "DCGAN", https://arxiv.org/abs/1511.06434: convolutions of stride 2, 4x4, without pooling or hidden
dense layers; LeakyReLU with slope 0.2 in the judge, ReLU and batch norm in the generator; weights begin as N(0, 0.02).
Differs from the paper: a judge normalises each item on its own, over channels and positions, so that its answer, and
how steep it is, does not depend on the company; as many strides as bring the image nearest to 4 pixels a side.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from salience.errors import UserError
from salience.modalities.image.convolutions import ToChannels
from salience.modalities.image.input import ImageInput
from salience.modalities.image.spec import ImageSpec
from salience.nets.adversaries import SLOPE, Strongest, UnitScale
from salience.nets.encoder import Encoder


def make_judge(spec: ImageSpec, *, channels: int, strides: int | None) -> tuple[Encoder, Strongest]:
    """DCGAN's discriminator without its last layer, and what makes a short representation of its positions.

    channels: of the first convolution
    strides: of the convolutions; None takes as many as bring the image nearest to 4 pixels a side
    """
    sides = sides_of(spec.resolution, strides)
    widths = channels_of(channels, len(sides) - 1)
    pairs = pairwise((spec.channels, *widths))
    convolutions = [_judging(*pair, norm=number > 0) for number, pair in enumerate(pairs)]
    body = _started(nn.Sequential(*convolutions, nn.Flatten()))
    return Encoder(ImageInput(spec), body, widths[-1] * sides[-1] ** 2), Strongest(widths[-1], sides[-1])


def make_generator(spec: ImageSpec, *, dim: int, channels: int) -> nn.Sequential:
    """From noise [n dim] to images on the unit scale.  channels: of the last hidden layer"""
    sides = sides_of(spec.resolution)[::-1]
    widths = [*channels_of(channels, len(sides) - 1)[::-1], spec.channels]
    start = nn.Linear(dim, widths[0] * sides[0] ** 2, bias=False)
    layers: list[nn.Module] = [start, nn.Unflatten(1, (widths[0], sides[0], sides[0]))]
    for (before, after), (side, larger) in zip(pairwise(widths), pairwise(sides), strict=True):
        layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True)]
        odd, last = larger - 2 * side, larger == sides[-1]
        layers += [nn.ConvTranspose2d(before, after, 4, 2, padding=1, output_padding=odd, bias=last)]
    return _started(nn.Sequential(*layers, UnitScale(spec)))


class Enlarger(nn.Module):
    """Interpolates an image, and adds what is missing in detail.  [n c h w] -> [n c factor*h factor*w], unit scale

    Ledig et al. 2017, "SRGAN", https://arxiv.org/abs/1609.04802: residual blocks before enlarging by pixel shuffle.
    Without batch norms, as Lim et al. 2017, https://arxiv.org/abs/1707.02921; the last layer begins at 0, so that a net
    that has learnt nothing gives the interpolation alone.
    """

    def __init__(self, spec: ImageSpec, *, factor: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.factor = factor
        self.input = ImageInput(spec)
        self.start = _same(spec.channels, channels)
        self.blocks = nn.ModuleList(
            nn.Sequential(_same(channels, channels), nn.ReLU(inplace=True), _same(channels, channels))
            for _ in range(blocks)
        )
        rises = [
            nn.Sequential(_same(channels, 4 * channels), nn.PixelShuffle(2), nn.ReLU(inplace=True))
            for _ in range(factor.bit_length() - 1)
        ]
        self.rise = nn.Sequential(*rises)
        self.end = ToChannels(channels, spec.channels)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        first = h = self.start(self.input(x))
        for block in self.blocks:
            h = h + block(h)
        return interpolated(x, self.factor) + self.end(self.rise(first + h))


def interpolated(x: Tensor, factor: int) -> Tensor:
    """Bicubic.  [n c h w] -> [n c factor*h factor*w]"""
    return F.interpolate(x, scale_factor=factor, mode="bicubic", align_corners=False)


def sides_of(resolution: int, strides: int | None = None) -> list[int]:
    """Of the image and after each stride, which halves and rounds down; 28 -> [28, 14, 7, 3]"""
    least = 1 if resolution < 8 else 2
    if resolution < 2:
        raise UserError("encoder: the convolutions of two players halve images, and these have 1 pixel; take mlp")
    count = max(least, round(math.log2(resolution / 4))) if strides is None else strides
    return [resolution >> number for number in range(count + 1)]


def channels_of(first: int, strides: int) -> list[int]:
    """After each stride: twice as many as before it, up to eight times the first."""
    return [first * 2 ** min(number, 3) for number in range(strides)]


def _judging(before: int, after: int, *, norm: bool) -> nn.Sequential:
    """norm: not in the first, which sees the image as it is"""
    norms = [nn.GroupNorm(1, after)] if norm else []
    return nn.Sequential(nn.Conv2d(before, after, 4, 2, padding=1), *norms, nn.LeakyReLU(SLOPE, inplace=True))


def _same(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)


def _started(network: nn.Sequential) -> nn.Sequential:
    """With the weights the paper begins with."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return network
