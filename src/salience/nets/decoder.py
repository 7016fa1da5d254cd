"""Decoders: from a code back to the item on its unit scale, the encoder's kind of layers in reverse."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from salience.nets.dense import dense_layers
from salience.nets.inputs import input_width

if TYPE_CHECKING:
    from salience.modalities.spec import Spec


class Dictionary(nn.Module):
    """An item is the mean and a sum of atoms, each as often as its unit of the code says.  [n d] -> [n ...]

    All atoms have one length, a typical item's distance from the mean, once `project` has run after every step. So a
    penalty on the code cannot be had for nothing, by small codes and large atoms: there is no layer that could grow.

    variance: of a unit-scale value over the training data
    """

    def __init__(self, code_dim: int, spec: Spec) -> None:
        super().__init__()
        width = input_width(spec)
        self.variance = value_variance(spec)
        self.length = math.sqrt(width * self.variance)
        atoms = nn.Linear(code_dim, width)
        nn.init.normal_(atoms.weight)
        nn.init.zeros_(atoms.bias)
        self.atoms = _shaped([atoms], spec)
        self.project()

    def forward(self, code: Tensor) -> Tensor:
        return self.atoms(code * self.length)

    @property
    def directions(self) -> Tensor:
        """[width d], columns of length 1"""
        layer = self.atoms[0]
        assert isinstance(layer, nn.Linear)
        return layer.weight

    @torch.no_grad()
    def project(self) -> None:
        self.directions.div_(self.directions.norm(dim=0).clamp(min=1e-12))


def value_variance(spec: Spec) -> float:
    """Of a unit-scale value over the training data, around its channel's mean; the mean over channels."""
    return spec.modality.variance(spec)


def make_decoder(encoder_name: Any, spec: Spec, code_dim: int) -> nn.Module:
    """The decoder that mirrors an encoder.  code [n code_dim] -> [n c h w] or [n width], on the unit scale

    "linear" gives one linear map, so that a linear autoencoder spans what PCA spans; "mlp" dense layers; for other
    encoders, the kind of data decides.
    """
    if encoder_name == "linear":
        return _shaped([nn.Linear(code_dim, input_width(spec))], spec)
    if encoder_name == "mlp":
        return dense_decoder(spec, code_dim, (256, 256))
    known = encoder_name if isinstance(encoder_name, str) else spec.modality.default_encoder
    return spec.modality.make_decoder(known, spec, code_dim)


def dense_decoder(spec: Spec, code_dim: int, hidden: tuple[int, ...]) -> nn.Sequential:
    """Dense layers with batch norm and ReLU through these widths, then a linear one to the item's values."""
    widths = (code_dim, *hidden)
    return _shaped([*dense_layers(*widths), nn.Linear(widths[-1], input_width(spec))], spec)


def _shaped(layers: list[nn.Module], spec: Spec) -> nn.Sequential:
    """Dense layers whose output takes the item's shape and starts at the data's mean."""
    modality = spec.modality
    mean, shape = modality.mean(spec), modality.blank(spec).shape[1:]
    if mean is not None:
        start_at(layers[-1], mean)
    return nn.Sequential(*layers, *([nn.Unflatten(1, tuple(shape))] if len(shape) > 1 else []))


def start_at(layer: nn.Module, mean: Tensor) -> None:
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    assert layer.bias is not None
    with torch.no_grad():
        layer.bias.copy_(mean)
