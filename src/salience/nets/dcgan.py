"""Networks that play against each other: judges of items, and generators of them.

Radford et al. 2016, "DCGAN", https://arxiv.org/abs/1511.06434: convolutions of stride 2, 4x4, without pooling or hidden
dense layers; LeakyReLU with slope 0.2 in the judge, ReLU and batch norm in the generator; weights begin as N(0, 0.02).
Differs from the paper: a judge normalises each item on its own, over channels and positions, so that its answer, and
how steep it is, does not depend on the company; as many strides as bring the image nearest to 4 pixels a side.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salience.batch import Spec
from salience.errors import UserError
from salience.nets.convolutions import ToChannels
from salience.nets.encoder import Encoder
from salience.nets.inputs import ImageInput, input_width, make_input
from salience.nets.make import make_encoder
from salience.views.unit import column_widths

SLOPE = 0.2
GRID = 2  # parts a side of an image of which the judge's strongest answers are kept


class Strongest(nn.Module):
    """The strongest answer of each channel in the four quarters of an image.  [n channels*side*side] -> [n width]"""

    def __init__(self, channels: int, side: int = 1) -> None:
        super().__init__()
        self.channels = channels
        self.side = side
        self.width = channels * min(side, GRID) ** 2

    def forward(self, flat: Tensor) -> Tensor:
        if self.side <= GRID:
            return flat
        return F.adaptive_max_pool2d(self.maps(flat), GRID).flatten(1)

    def maps(self, flat: Tensor) -> Tensor:
        """[n channels*side*side] -> [n channels side side]"""
        return flat.unflatten(1, (self.channels, self.side, self.side))


def make_judge(
    name: str | None, spec: Spec, *, channels: int, strides: int | None = None, fetch: bool = True
) -> tuple[Encoder, Strongest]:
    """What looks at items, with all its last positions side by side, and what makes a short representation of them.

    name: of an encoder; "convnet" is DCGAN's discriminator, "mlp" two dense layers, both without batch norm
    channels: of the first convolution; dense layers have four times as many
    strides: of the convolutions; by default as many as bring the image nearest to 4 pixels a side
    Errors: UserError for an unknown name, or one that does not fit the data.
    """
    name = name or ("convnet" if spec.modality == "image" else "mlp")
    if name == "mlp":
        dense = 4 * channels
        layers = [nn.Linear(input_width(spec), dense), nn.LeakyReLU(SLOPE), nn.Linear(dense, dense)]
        body = nn.Sequential(nn.Flatten(), *layers, nn.LeakyReLU(SLOPE))
        return Encoder(make_input(spec), body, dense), Strongest(dense)
    if name != "convnet" or spec.modality == "table":
        encoder = make_encoder(name, spec, fetch=fetch)
        return encoder, Strongest(encoder.dim)
    sides = sides_of(spec.resolution, strides)
    widths = channels_of(channels, len(sides) - 1)
    pairs = pairwise((spec.channels, *widths))
    convolutions = [_judging(*pair, norm=number > 0) for number, pair in enumerate(pairs)]
    body = _started(nn.Sequential(*convolutions, nn.Flatten()))
    return Encoder(make_input(spec), body, widths[-1] * sides[-1] ** 2), Strongest(widths[-1], sides[-1])


def make_generator(name: str | None, spec: Spec, *, dim: int, channels: int) -> nn.Sequential:
    """From noise [n dim] to items on the unit scale: DCGAN's for images, dense layers for tables and "mlp" or "linear".

    name: of the encoder it plays against;  channels: of the last hidden layer; dense layers have four times as many
    """
    if spec.modality == "table" or name in ("mlp", "linear"):
        dense = 4 * channels
        hidden = [*_dense(dim, dense), *_dense(dense, dense)]
        return nn.Sequential(*hidden, nn.Linear(dense, input_width(spec)), UnitScale(spec))
    sides = sides_of(spec.resolution)[::-1]
    widths = [*channels_of(channels, len(sides) - 1)[::-1], spec.channels]
    start = nn.Linear(dim, widths[0] * sides[0] ** 2, bias=False)
    layers: list[nn.Module] = [start, nn.Unflatten(1, (widths[0], sides[0], sides[0]))]
    for (before, after), (side, larger) in zip(pairwise(widths), pairwise(sides), strict=True):
        layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True)]
        odd, last = larger - 2 * side, larger == sides[-1]
        layers += [nn.ConvTranspose2d(before, after, 4, 2, padding=1, output_padding=odd, bias=last)]
    return _started(nn.Sequential(*layers, UnitScale(spec)))


class UnitScale(nn.Module):
    """Any numbers to items on the unit scale: images by (tanh + 1) / 2; of a table's categories the probabilities."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(torch.promote_types(x.dtype, torch.float32))  # in bf16 the steps between values would show
        if self.spec.modality == "image":
            return (x.tanh() + 1).reshape(-1, *self.spec.shape) / 2
        parts = x.split(column_widths(self.spec), dim=1)
        kinds = [column.kind for column in self.spec.columns]
        whole = [part if kind == "number" else part.softmax(1) for part, kind in zip(parts, kinds, strict=True)]
        return torch.cat(whole, dim=1)


class Enlarger(nn.Module):
    """Interpolates an image, and adds what is missing in detail.  [n c h w] -> [n c factor*h factor*w], unit scale

    Ledig et al. 2017, "SRGAN", https://arxiv.org/abs/1609.04802: residual blocks before enlarging by pixel shuffle.
    Without batch norms, as Lim et al. 2017, https://arxiv.org/abs/1707.02921; the last layer begins at 0, so that a net
    that has learnt nothing gives the interpolation alone.
    """

    def __init__(self, spec: Spec, *, factor: int, channels: int, blocks: int) -> None:
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


def _dense(before: int, after: int) -> list[nn.Module]:
    return [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]


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
