"""The convolutional encoder of series and its decoder.

Residual blocks of dilated convolutions, as in Bai et al. 2018, https://arxiv.org/abs/1803.01271, but not causal, with
a stride between the stages and the mean over real steps at the end. Steps that are padding are 0 before every
convolution and do not count in batch norm, so the result of a series depends neither on its padding nor its batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salience.modalities.series.spec import SeriesSpec
from salience.nets.recurrent import masked_mean

WIDTHS = (64, 128, 256)  # channels of each stage; steps are halved between stages
KERNEL = 5


class MaskedNorm(nn.Module):
    """Batch norm over real steps.  [n c t], [n t] -> [n c t], 0 where the mask is false"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            return self.norm(x)
        rows = x.transpose(1, 2)
        out = torch.zeros_like(rows)
        out[mask] = self.norm(rows[mask]).to(out.dtype)
        return out.transpose(1, 2)


class Block(nn.Module):
    """Two dilated convolutions and a shortcut; the first may have a stride.  [n c t] -> [n out ceil(t/stride)]"""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.first = nn.Conv1d(channels, out, KERNEL, stride, padding=KERNEL // 2, bias=False)
        self.second = nn.Conv1d(out, out, KERNEL, padding=KERNEL - 1, dilation=2, bias=False)
        self.norms = nn.ModuleList([MaskedNorm(out), MaskedNorm(out)])
        self.shortcut = nn.Conv1d(channels, out, 1, stride, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        mask = None if mask is None else mask[:, :: self.stride]
        y = self.norms[0](self.first(x), mask).relu()
        y = self.norms[1](self.second(y), mask)
        return (y + self.shortcut(x)).relu(), mask


class ConvNet(nn.Module):
    """A stem, a block for each stage, and the mean over real steps.  [n t c], [n t] -> [n dim]"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dim = WIDTHS[-1]
        widths = (WIDTHS[0], *WIDTHS)
        self.stem = nn.Conv1d(channels, WIDTHS[0], 7, padding=3, bias=False)
        self.norm = MaskedNorm(WIDTHS[0])
        self.blocks = nn.ModuleList(
            Block(before, after, stride=1 if level == 0 else 2)
            for level, (before, after) in enumerate(zip(widths, WIDTHS, strict=False))
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return masked_mean(*self.tokens(x, mask))

    def tokens(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the features at every fourth step, [n t/4 dim], and which of them are real, [n t/4]."""
        x = x.transpose(1, 2)
        x = x if mask is None else torch.where(mask[:, None], x, 0)
        x = self.norm(self.stem(x), mask).relu()
        for block in self.blocks:
            x, mask = block(x, mask)
        return x.transpose(1, 2), mask


class ConvDecoder(nn.Module):
    """Upsampling and convolutions, the encoder's stages in reverse.  [n dim] -> [n t c]"""

    def __init__(self, dim: int, spec: SeriesSpec) -> None:
        super().__init__()
        self.steps = spec.flat_steps
        self.first = -(-self.steps // 4)
        self.start = nn.Linear(dim, WIDTHS[1] * self.first)
        layers: list[nn.Module] = []
        for before, after in ((WIDTHS[1], WIDTHS[1]), (WIDTHS[1], WIDTHS[0])):
            convolution = nn.Conv1d(before, after, KERNEL, padding=KERNEL // 2, bias=False)
            layers += [nn.Upsample(scale_factor=2), convolution, nn.BatchNorm1d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv1d(WIDTHS[0], spec.channels, KERNEL, padding=KERNEL // 2))

    def forward(self, code: Tensor) -> Tensor:
        x = F.relu(self.start(code)).unflatten(1, (WIDTHS[1], self.first))
        return self.layers(x)[:, :, : self.steps].transpose(1, 2)
