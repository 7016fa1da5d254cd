"""The first layer of every encoder: from values as stored to a network's scale, statistics kept with the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from salience.batch import Spec
from salience.views.unit import column_widths, unit_images, unit_table


class ImageInput(nn.Module):
    """Standardises images per channel.

    mean, std: per channel on the unit scale; by default the training data's, for a pretrained network its own
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: Spec, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("mean", _per_channel(mean or spec.mean or [0.5] * spec.channels))
        spread = [value or 1.0 for value in std or spec.std or [0.25] * spec.channels]  # a constant channel has none
        self.register_buffer("std", _per_channel(spread))

    def unit(self, x: Tensor) -> Tensor:
        """[n c h w] as stored -> float32 on [0, 1]"""
        return unit_images(x, self.spec)

    def forward(self, x: Tensor) -> Tensor:
        """[n c h w] on the unit scale -> mean 0, std 1 over the training data"""
        return (x - self.mean) / self.std


class TableInput(nn.Module):
    """Standardises numbers, makes categories one-hot, fills what is missing with what is expected."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.width = sum(column_widths(spec))

    def unit(self, x: Tensor) -> Tensor:
        """[n columns] as stored -> [n width] float32"""
        return unit_table(x, self.spec)

    def forward(self, x: Tensor) -> Tensor:
        """The unit scale of a table is a network's scale."""
        return x


def make_input(spec: Spec) -> ImageInput | TableInput:
    """The input layer for this data."""
    return ImageInput(spec) if spec.modality == "image" else TableInput(spec)


def input_width(spec: Spec) -> int:
    """Unit-scale values of one item, flattened."""
    return spec.shape[0] * spec.shape[1] * spec.shape[2] if spec.modality == "image" else sum(column_widths(spec))


def _per_channel(values: Sequence[float]) -> Tensor:
    """[c] -> [c 1 1]"""
    return torch.tensor(values, dtype=torch.float32)[:, None, None]
