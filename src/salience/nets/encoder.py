"""Encoder: an input layer and a body; unit-scale items in, one vector each out."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from salience.batch import Spec
from salience.nets.convolutions import Halving, Positions
from salience.nets.inputs import ImageInput, TableInput

# Pixels a side of a local crop: smaller ones shrink to a single pixel before a network's last stride, where bf16
# convolutions of torch 2.14 on CPUs leave weight gradients in memory that nobody has written.
LEAST_LOCAL = 8


class Encoder(nn.Module):
    """input: brings the unit scale to the body's; body: [n ...] -> [n dim]

    stride: images may have any side that is a multiple of it; None where only the side of the training data will do
    """

    def __init__(self, input: ImageInput | TableInput, body: nn.Module, dim: int, stride: int | None = None) -> None:
        super().__init__()
        self.input = input
        self.body = body
        self.dim = dim
        self.stride = stride

    @property
    def local_side(self) -> int | None:
        """Pixels a side of a local crop: half the image's, in whole strides; None where no smaller image will do."""
        side = 0 if self.stride is None else self.input.spec.resolution // 2 // self.stride * self.stride
        return side if side >= LEAST_LOCAL else None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[n c h w] or [n width] on the unit scale -> [n dim].  mask: for token encoders; none of these has tokens"""
        return self.body(self.input(x))


def convnet(channels: int) -> tuple[nn.Sequential, int]:
    """The small net for small images: six 3x3 convolutions with batch norm and ReLU, three halve; global mean.

    [n c h w] -> [n 256]
    """
    plan = [(channels, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2)]
    layers = [_conv(before, after, stride) for before, after, stride in plan]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 256


def convnet_code(spec: Spec, dim: int) -> nn.Sequential:
    """The same convolutions, and a linear map of all positions in place of their mean.  [n c h w] -> [n dim]"""
    body, width = convnet(spec.channels)
    side = math.ceil(spec.resolution / 8)
    return nn.Sequential(*body[:-2], Positions(), nn.Linear(width * side**2, dim))


def mlp(width: int, hidden: tuple[int, ...] = (256, 256)) -> tuple[nn.Sequential, int]:
    """Dense layers with batch norm and ReLU; images are flattened.  [n ...] -> [n hidden[-1]]"""
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise((width, *hidden)):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers), hidden[-1]


def linear(width: int, dim: int) -> tuple[nn.Sequential, int]:
    """One linear map of the flattened item.  [n ...] -> [n dim]"""
    return nn.Sequential(nn.Flatten(), nn.Linear(width, dim)), dim


def _conv(before: int, after: int, stride: int) -> nn.Sequential:
    layer = Halving(before, after) if stride == 2 else nn.Conv2d(before, after, 3, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(after), nn.ReLU(inplace=True))
