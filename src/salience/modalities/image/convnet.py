"""The small convolutional network for small images."""

from __future__ import annotations

import math

from torch import nn

from salience.modalities.image.convolutions import Halving, Positions
from salience.modalities.image.spec import ImageSpec


def convnet(channels: int) -> tuple[nn.Sequential, int]:
    """Make the network: six 3x3 convolutions (three of stride 2) with batch norm and ReLU, then a global mean.

    [n c h w] -> [n 256]
    """
    plan = [(channels, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2)]
    layers = [_conv(before, after, stride) for before, after, stride in plan]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 256


def convnet_code(spec: ImageSpec, dim: int) -> nn.Sequential:
    """Make the network with a linear map of all positions instead of the global mean.  [n c h w] -> [n dim]"""
    body, width = convnet(spec.channels)
    side = math.ceil(spec.resolution / 8)
    return nn.Sequential(*body[:-2], Positions(), nn.Linear(width * side**2, dim))


def _conv(before: int, after: int, stride: int) -> nn.Sequential:
    layer = Halving(before, after) if stride == 2 else nn.Conv2d(before, after, 3, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(after), nn.ReLU(inplace=True))
