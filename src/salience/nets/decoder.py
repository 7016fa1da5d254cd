"""Decoders: from a code back to the item on its unit scale, the encoder's kind of layers in reverse."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salience.batch import Spec
from salience.nets.convolutions import ToChannels, enlarged
from salience.nets.inputs import input_width

_WIDTHS = (256, 128, 64, 32)


class ConvDecoder(nn.Module):
    """Three times: enlarge twofold, 3x3 convolution, batch norm, ReLU.  [n d] -> [n c h w], any h = w

    Enlarging by nearest neighbour leaves no checkerboard. The output is linear and starts at the data's mean colour.
    """

    def __init__(self, code_dim: int, spec: Spec) -> None:
        super().__init__()
        self.sizes = [math.ceil(spec.resolution / halved) for halved in (8, 4, 2, 1)]
        self.start = nn.Linear(code_dim, _WIDTHS[0] * self.sizes[0] ** 2)
        self.stages = nn.ModuleList(Stage(a, b) for a, b in pairwise(_WIDTHS))
        self.end = ToChannels(_WIDTHS[-1], spec.channels)
        if spec.mean:
            _start_at(self.end, torch.tensor(spec.mean))

    def forward(self, code: Tensor) -> Tensor:
        x = self.start(code).unflatten(1, (_WIDTHS[0], self.sizes[0], self.sizes[0]))
        x = x.contiguous(memory_format=torch.channels_last)  # as the convolutions like it
        for size, stage in zip(self.sizes[1:], self.stages, strict=True):
            x = stage(x, size)
        return self.end(x)


class Stage(nn.Module):
    """Enlarge, 3x3 convolution, batch norm, ReLU.  [n before h w] -> [n after size size]"""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(after)

    def forward(self, x: Tensor, size: int) -> Tensor:
        return F.relu_(self.norm(enlarged(x, size, self.convolution.weight)))


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
    if spec.modality == "table":
        return 1.0
    return math.fsum(std**2 for std in spec.std) / len(spec.std) if any(spec.std) else 1 / 16  # ImageInput's default


def make_decoder(encoder_name: str | None, spec: Spec, code_dim: int) -> nn.Module:
    """The decoder that mirrors an encoder.  code [n code_dim] -> [n c h w] or [n width], on the unit scale

    "linear" gives one linear map, so that a linear autoencoder spans what PCA spans; "mlp", and every table, dense
    layers; all other encoders of images convolutions.
    """
    if encoder_name == "linear":
        return _shaped([nn.Linear(code_dim, input_width(spec))], spec)
    if encoder_name == "mlp" or spec.modality == "table":
        return dense_decoder(spec, code_dim, (256, 256))
    return ConvDecoder(code_dim, spec)


def dense_decoder(spec: Spec, code_dim: int, hidden: tuple[int, ...]) -> nn.Sequential:
    """Dense layers with batch norm and ReLU through these widths, then a linear one to the item's values."""
    layers = [layer for widths in pairwise((code_dim, *hidden)) for layer in _dense(*widths)]
    return _shaped([*layers, nn.Linear((code_dim, *hidden)[-1], input_width(spec))], spec)


def _shaped(layers: list[nn.Module], spec: Spec) -> nn.Sequential:
    """Dense layers whose output takes the item's shape and starts at the data's mean."""
    if spec.modality == "table":  # the mean of the unit scale is 0
        return nn.Sequential(*layers)
    if spec.mean:
        pixels = spec.shape[1] * spec.shape[2]
        _start_at(layers[-1], torch.tensor(spec.mean).repeat_interleave(pixels))
    return nn.Sequential(*layers, nn.Unflatten(1, tuple(spec.shape)))


def _start_at(layer: nn.Module, mean: Tensor) -> None:
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    assert layer.bias is not None
    with torch.no_grad():
        layer.bias.copy_(mean)


def _dense(before: int, after: int) -> list[nn.Module]:
    return [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
