"""The convolutional network for log-mel spectrograms. Padded frames never influence its result.

After each layer the padded frames are set to 0, which is how a convolution continues beyond the end of a recording.
Batch norms see real frames only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from salience.modalities.audio.spec import AudioSpec

PLAN = ((1, 32, 2, 2), (32, 64, 2, 2), (64, 128, 1, 2))  # channels before and after, strides over frames and bands
WIDTH = 256


class Layer(nn.Module):
    """Convolution, batch norm, ReLU.  [n a t bands], [n t] -> [n b t/stride bands/stride], the mask of these frames"""

    def __init__(self, before: int, after: int, kernel: tuple[int, int], stride: tuple[int, int], edge: int) -> None:
        super().__init__()
        self.stride = stride[0]
        padding = (kernel[0] // 2, edge)
        self.convolution = nn.Conv2d(before, after, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm1d(after)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x, mask = self.convolution(x), mask[:, :: self.stride]
        frames = x.transpose(1, 2)  # [n t b bands]
        if frames.is_meta:  # operations are counted, for which the values of a mask are not known
            return torch.relu(self.norm(frames.flatten(0, 1))).view_as(frames).transpose(1, 2), mask
        real = torch.relu(self.norm(frames[mask]))
        return real.new_zeros(frames.shape).index_put((mask,), real).transpose(1, 2), mask


class LogMelNet(nn.Module):
    """Three 3x3 convolutions, one over all bands, and the mean over frames.  [n t bands], [n t] -> [n 256]

    Args:
        spec: The spec of the recordings.
        dim: Width of a code; a linear map of all frames, if items have one length, otherwise of the mean.
    """

    def __init__(self, spec: AudioSpec, dim: int | None = None) -> None:
        super().__init__()
        bands, frames = spec.bands, spec.frames
        layers = []
        for before, after, over_time, over_bands in PLAN:
            layers.append(Layer(before, after, (3, 3), (over_time, over_bands), 1))
            bands = math.ceil(bands / over_bands)
            frames = None if frames is None else math.ceil(frames / over_time)
        layers.append(Layer(PLAN[-1][1], WIDTH, (3, bands), (1, 1), 0))
        self.layers = nn.ModuleList(layers)
        self.frames = frames if dim is not None else None
        self.code = nn.Identity() if dim is None else nn.Linear(WIDTH * (self.frames or 1), dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        elif self.frames is None and not (mask.is_meta or torch.compiler.is_compiling()):
            longest = max(1, int(mask.sum(1).max()))  # what follows is padding in all items
            x, mask = x[:, :longest], mask[:, :longest]
        x = (x * mask[..., None])[:, None]
        for layer in self.layers:
            x, mask = layer(x, mask)
        x = x.squeeze(3)  # [n 256 t]
        return self.code(x.flatten(1) if self.frames is not None else x.sum(2) / mask.sum(1, keepdim=True).clamp(min=1))
