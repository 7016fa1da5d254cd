"""The input layer of an image encoder, which standardises pixels; its statistics are stored with the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from salience.modalities.image.spec import ImageSpec
from salience.nets.inputs import Input


class ImageInput(Input):
    """Standardisation of images per channel.

    Args:
        spec: The spec of the images.
        mean, std: Statistics of each channel on the unit scale. Default: those of the training data.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, spec: ImageSpec, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> None:
        super().__init__(spec)
        self.register_buffer("mean", _per_channel(mean or spec.mean or [0.5] * spec.channels))
        spread = [value or 1.0 for value in std or spec.std or [0.25] * spec.channels]  # a constant channel has none
        self.register_buffer("std", _per_channel(spread))

    def forward(self, x: Tensor) -> Tensor:
        """Standardise images [n c h w] on the unit scale to mean 0, std 1 over the training data."""
        return (x - self.mean) / self.std

    def inverse(self, x: Tensor) -> Tensor:
        """Convert standardised images back to the unit scale."""
        return x * self.std + self.mean


def _per_channel(values: Sequence[float]) -> Tensor:
    """Make a tensor of one value per channel.  [c] -> [c 1 1]"""
    return torch.tensor(values, dtype=torch.float32)[:, None, None]
