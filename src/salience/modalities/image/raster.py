"""Masked convolutions, which predict each pixel from the pixels before it, row by row from the top left.

van den Oord et al. 2016, "Pixel Recurrent Neural Networks", https://arxiv.org/abs/1601.06759, sec. 3.4. After a
decoder, they model what it does not predict (PixelVAE, Gulrajani et al. 2016, https://arxiv.org/abs/1611.05013).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FIRST, LATER = 7, 3  # sides of the kernels, in which later pixels are masked


class Masked(nn.Conv2d):
    """A convolution over the pixels before the current one, and over the current one if `itself`."""

    mask: Tensor

    def __init__(self, before: int, after: int, side: int, *, itself: bool) -> None:
        super().__init__(before, after, side, padding=side // 2)
        seen = torch.zeros(side * side)
        seen[: side * side // 2 + itself] = 1
        self.register_buffer("mask", seen.view(side, side), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight * self.mask, self.bias)


class Raster(nn.Module):
    """Correction of a decoder's output by the pixels before each pixel.  [n c h w], items [n c h w] -> [n c h w]

    The correction is initialised to 0. The channels of a pixel are independent of each other.
    """

    def __init__(self, channels: int, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.before = Masked(channels, width, FIRST, itself=False)
        self.told = nn.Conv2d(channels, width, 1)
        self.layers = nn.ModuleList(Masked(width, width, LATER, itself=True) for _ in range(depth))
        self.end = nn.Conv2d(width, channels, 1)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)  # type: ignore[arg-type]

    def forward(self, told: Tensor, x: Tensor) -> Tensor:
        h = self.before(x.to(told.dtype)) + self.told(told)
        for layer in self.layers:
            h = h + layer(F.relu(h))
        return told + self.end(F.relu(h))
