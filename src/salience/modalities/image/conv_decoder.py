"""The convolutional decoder from a code to an image on the unit scale."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salience.modalities.image.convolutions import ToChannels, enlarged
from salience.modalities.image.spec import ImageSpec
from salience.nets.decoder import start_at

_WIDTHS = (256, 128, 64, 32)


class ConvDecoder(nn.Module):
    """Three stages that double the size: enlarge, 3x3 convolution, batch norm, ReLU.  [n d] -> [n c h w], any h = w

    Enlarging by nearest neighbour avoids checkerboard artefacts. The output is linear, initialised at the mean colour.
    """

    def __init__(self, code_dim: int, spec: ImageSpec) -> None:
        super().__init__()
        self.sizes = [math.ceil(spec.resolution / halved) for halved in (8, 4, 2, 1)]
        self.start = nn.Linear(code_dim, _WIDTHS[0] * self.sizes[0] ** 2)
        self.stages = nn.ModuleList(Stage(a, b) for a, b in pairwise(_WIDTHS))
        self.end = ToChannels(_WIDTHS[-1], spec.channels)
        if spec.mean:
            start_at(self.end, torch.tensor(spec.mean))

    def forward(self, code: Tensor) -> Tensor:
        x = self.start(code).unflatten(1, (_WIDTHS[0], self.sizes[0], self.sizes[0]))
        x = x.contiguous(memory_format=torch.channels_last)  # faster convolutions
        for size, stage in zip(self.sizes[1:], self.stages, strict=True):
            x = stage(x, size)
        return self.end(x)


class Stage(nn.Module):
    """Enlarge, 3x3 convolution, batch norm, ReLU.  [n before h w] -> [n after size size]"""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(after)

    def forward(self, x: Tensor, size: int) -> Tensor:
        return F.relu_(self.norm(enlarged(x, size, self.convolution.weight)))
