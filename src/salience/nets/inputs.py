"""The first layer of every encoder: from values as stored to a network's scale, statistics kept with the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

if TYPE_CHECKING:
    from salience.modalities.spec import Spec


class Input(nn.Module):
    """For data whose unit scale is a network's scale. Data of another scale have one of their own.

    spec: what the items are
    makes_vectors: whether ragged items become vectors of one length, which have no mask
    """

    makes_vectors: ClassVar[bool] = False

    spec: Spec

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec

    def unit(self, x: Any) -> Any:
        """As stored -> float32 on the unit scale"""
        return self.spec.modality.unit(x, self.spec)

    def forward(self, x: Any) -> Any:
        return x

    def inverse(self, x: Any) -> Any:
        """From a network's scale back to the unit scale."""
        return x


def make_input(spec: Spec) -> Input:
    """The input layer for this data."""
    return spec.modality.make_input(spec)


def input_width(spec: Spec) -> int:
    """Unit-scale values of one item, flattened."""
    return spec.modality.width(spec)
