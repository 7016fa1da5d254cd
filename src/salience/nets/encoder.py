"""Encoder: an input layer and a body; unit-scale items in, one vector each out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from salience.batch import Batch
from salience.nets.inputs import Input

if TYPE_CHECKING:
    from salience.modalities.spec import Spec

# Pixels a side of a local crop: smaller ones shrink to a single pixel before a network's last stride, where bf16
# convolutions of torch 2.14 on CPUs leave weight gradients in memory that nobody has written.
LEAST_LOCAL = 8


class Whole(nn.Module):
    """The body of a network from a library, which is used as a whole."""


class BodyWithLayers(nn.Sequential):
    """A body and layers on its code. The mask of ragged items goes to the body."""

    def forward(self, x: Any, mask: Tensor | None = None) -> Any:
        body, *layers = self
        code = body(x) if mask is None else body(x, mask)
        for layer in layers:
            code = layer(code)
        return code


class Encoder(nn.Module):
    """input: brings the unit scale to the body's; body: [n ...] -> [n dim], of ragged data (x, mask) -> [n dim]

    stride: images may have any side that is a multiple of it; None where only the side of the training data will do
    """

    input: Input

    def __init__(self, input: Input, body: nn.Module, dim: int, stride: int | None = None) -> None:
        super().__init__()
        self.input = input
        self.body = body
        self.dim = dim
        self.stride = stride

    @property
    def spec(self) -> Spec:
        """What the items are."""
        return self.input.spec

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Size and interpolation of the input layer, where it has them."""
        known = vars(self.input)
        size = known.get("size", self.spec.modality.resolution(self.spec) or 1)
        return {"size": size, "interpolation": known.get("interpolation", "bilinear")}

    @property
    def local_side(self) -> int | None:
        """Pixels a side of a local crop: half the image's, in whole strides; None where no smaller image will do."""
        resolution = self.spec.modality.resolution(self.spec)
        side = 0 if self.stride is None or resolution is None else resolution // 2 // self.stride * self.stride
        return side if side >= LEAST_LOCAL else None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x on the unit scale, such as [n c h w] -> [n dim].  mask: [n t], which tokens of ragged items are real"""
        masked = mask is not None and not self.input.makes_vectors
        return self.body(self.input(x), mask) if masked else self.body(self.input(x))


def encode_together(encoder: nn.Module, views: Sequence[Batch]) -> Tensor:
    """Views of one size, in one pass where they are dense.  -> [views*n dim], view after view"""
    if any(view.mask is not None or not isinstance(view.x, Tensor) for view in views):
        return torch.cat([encoder(view.x, view.mask) for view in views])
    return encoder(torch.cat([view.x for view in views]))
