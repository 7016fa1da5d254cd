"""Networks that play against each other, for every kind of data: judges of items, and generators of them.

Dense ones are here; a kind of data may have its own, as images have DCGAN's convolutions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salience.nets.dense import dense_layers
from salience.nets.encoder import Encoder
from salience.nets.inputs import input_width, make_input
from salience.nets.make import DENSE

if TYPE_CHECKING:
    from salience.modalities.spec import Spec

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


def make_discriminator(
    name: str | None, spec: Spec, *, channels: int, strides: int | None = None, fetch: bool = True
) -> tuple[Encoder, Strongest]:
    """What looks at items, with all its last positions side by side, and what makes a short representation of them.

    name: of an encoder; "mlp" is two dense layers without batch norm, "convnet" DCGAN's discriminator of images
    channels: of the first convolution; dense layers have four times as many
    strides: of the convolutions; by default as many as bring the image nearest to 4 pixels a side
    Errors: UserError for an unknown name, or one that does not fit the data.
    """
    name = name or spec.modality.default_encoder
    if name != "mlp":
        return spec.modality.make_discriminator(name, spec, channels=channels, strides=strides, fetch=fetch)
    width = 4 * channels
    layers = [nn.Linear(input_width(spec), width), nn.LeakyReLU(SLOPE), nn.Linear(width, width)]
    body = nn.Sequential(nn.Flatten(), *layers, nn.LeakyReLU(SLOPE))
    return Encoder(make_input(spec), body, width), Strongest(width)


def make_generator(name: str | None, spec: Spec, *, dim: int, channels: int) -> nn.Sequential:
    """From noise [n dim] to items on the unit scale: dense layers for "mlp" and "linear", else the data's own.

    name: of the encoder it plays against;  channels: of the last hidden layer; dense layers have four times as many
    """
    name = name or spec.modality.default_encoder
    if name not in DENSE:
        return spec.modality.make_generator(spec, dim=dim, channels=channels)
    return dense_generator(spec, dim=dim, channels=channels)


def dense_generator(spec: Spec, *, dim: int, channels: int) -> nn.Sequential:
    """Two hidden layers of 4 * channels."""
    width = 4 * channels
    return nn.Sequential(*dense_layers(dim, width, width), nn.Linear(width, input_width(spec)), UnitScale(spec))


class UnitScale(nn.Module):
    """Any numbers to items on the unit scale, as the kind of data squashes them."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(torch.promote_types(x.dtype, torch.float32))  # in bf16 the steps between values would show
        return self.spec.modality.to_range(x, self.spec)
