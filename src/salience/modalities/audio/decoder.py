"""The convolutional decoder from a code to a log-mel spectrogram of fixed length."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salience.modalities.audio.spec import AudioSpec

WIDTHS = (128, 64, 32)


class LogMelDecoder(nn.Module):
    """Two stages that double the size: enlarge, 3x3 convolution, batch norm, ReLU.  [n d] -> [n frames bands]

    The output is linear, and starts at 0, the mean of each band.
    """

    def __init__(self, dim: int, spec: AudioSpec) -> None:
        super().__init__()
        assert spec.frames is not None
        self.sizes = [(math.ceil(spec.frames / halved), math.ceil(spec.bands / halved)) for halved in (4, 2, 1)]
        self.start = nn.Linear(dim, WIDTHS[0] * math.prod(self.sizes[0]))
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise(WIDTHS)
        )
        self.end = nn.Conv2d(WIDTHS[-1], 1, 3, padding=1)
        assert self.end.bias is not None
        with torch.no_grad():
            self.end.bias.zero_()

    def forward(self, code: Tensor) -> Tensor:
        x = self.start(code).unflatten(1, (WIDTHS[0], *self.sizes[0]))
        for size, stage in zip(self.sizes[1:], self.stages, strict=True):
            x = stage(F.interpolate(x, size, mode="nearest"))
        return self.end(x)[:, 0]
