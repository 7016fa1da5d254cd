"""The encoder of items that are embeddings already: their values as they are."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from salience.errors import UserError
from salience.nets.encoder import Encoder
from salience.nets.inputs import Input, input_width

if TYPE_CHECKING:
    from salience.modalities.spec import Spec

IDENTITY = "identity"


class Values(nn.Module):
    """Items on the unit scale -> their original values.  [n ...] -> [n d]"""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("place", torch.zeros(1))  # tells where it computes

    def forward(self, x: Tensor) -> Tensor:
        values = self.spec.modality.to_array(x.cpu(), self.spec, self.spec.shape)
        return torch.as_tensor(values).flatten(1).to(x)


def identity_encoder(spec: Spec) -> Encoder:
    """Make the encoder that returns the values of an item. Raises UserError if they are not all numbers."""
    width = prod(spec.shape)
    if width != input_width(spec):
        raise UserError("encoder: 'identity' expects items of numbers, the data has categories; name a network")
    return Encoder(Input(spec), Values(spec), width)
