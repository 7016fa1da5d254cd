"""The networks of DCGAN: a discriminator and a generator of images, and a network that enlarges images.

Radford et al. 2016, "DCGAN", https://arxiv.org/abs/1511.06434: 4x4 convolutions of stride 2, without pooling or hidden
dense layers; LeakyReLU with slope 0.2 in the discriminator, ReLU and batch norm in the generator; weights are
initialised as N(0, 0.02). Differs from the paper: the discriminator normalises each item over channels and positions,
so that its output and gradient do not depend on the other items; the number of strides brings the image nearest to
4 pixels per side.
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


def make_discriminator(spec: ImageSpec, *, channels: int, strides: int | None) -> tuple[Encoder, Strongest]:
    """Make DCGAN's discriminator without its last layer, and the pooling of its positions.

    Args:
        spec: The spec of the images.
        channels: Channels of the first convolution.
        strides: Number of convolutions of stride 2; None brings the image nearest to 4 pixels per side.
    """
    sides = sides_of(spec.resolution, strides)
    widths = channels_of(channels, len(sides) - 1)
    pairs = pairwise((spec.channels, *widths))
    convolutions = [_judging(*pair, norm=number > 0) for number, pair in enumerate(pairs)]
    body = _started(nn.Sequential(*convolutions, nn.Flatten()))
    return Encoder(ImageInput(spec), body, widths[-1] * sides[-1] ** 2), Strongest(widths[-1], sides[-1])


def make_generator(spec: ImageSpec, *, dim: int, channels: int) -> nn.Sequential:
    """Make DCGAN's generator: noise [n dim] -> unit-scale images. `channels`: channels of the last hidden layer."""
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
    """Bicubic interpolation plus learnt details.  [n c h w] -> [n c factor*h factor*w], unit scale

    Ledig et al. 2017, "SRGAN", https://arxiv.org/abs/1609.04802: residual blocks, then pixel shuffle. Without batch
    norms, as in Lim et al. 2017, https://arxiv.org/abs/1707.02921. The last layer is initialised to 0, so that an
    untrained network returns the interpolation.
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
    """Interpolate images bicubically.  [n c h w] -> [n c factor*h factor*w]"""
    return F.interpolate(x, scale_factor=factor, mode="bicubic", align_corners=False)


def sides_of(resolution: int, strides: int | None = None) -> list[int]:
    """Return the sides of the image and after each stride, halved and rounded down; 28 -> [28, 14, 7, 3]."""
    least = 1 if resolution < 8 else 2
    if resolution < 2:
        raise UserError("encoder: the convolutions of two players halve images, and these have 1 pixel; take mlp")
    count = max(least, round(math.log2(resolution / 4))) if strides is None else strides
    return [resolution >> number for number in range(count + 1)]


def channels_of(first: int, strides: int) -> list[int]:
    """Return the channels after each stride: doubled each time, up to eight times the first."""
    return [first * 2 ** min(number, 3) for number in range(strides)]


def _judging(before: int, after: int, *, norm: bool) -> nn.Sequential:
    """Make a layer of the discriminator. `norm`: false for the first layer."""
    norms = [nn.GroupNorm(1, after)] if norm else []
    return nn.Sequential(nn.Conv2d(before, after, 4, 2, padding=1), *norms, nn.LeakyReLU(SLOPE, inplace=True))


def _same(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)


def _started(network: nn.Sequential) -> nn.Sequential:
    """Initialise the weights as in the paper."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return network
