"""Encoders of recordings by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from salience.errors import MissingPackage, UserError
from salience.modalities.audio.convnet import WIDTH, LogMelNet
from salience.modalities.audio.spec import AudioSpec
from salience.nets.encoder import Encoder, Whole
from salience.nets.make import DENSE, dense_by_name, make_input, with_code

DEFAULT = "convnet"


def make_encoder(name: str, spec: AudioSpec, *, dim: int | None) -> Encoder:
    """Make an encoder of recordings by name.

    Args:
        name: "convnet", a dense encoder, or a timm model such as "resnet18", which sees spectrograms as grey images.
            All but "convnet" need items of one length.
        spec: The spec of the recordings.
        dim: Size of a code that an item is reconstructed from.

    Raises:
        UserError: The name is unknown, or the encoder does not fit the recordings.
    """
    if name == DEFAULT:
        return Encoder(make_input(spec), LogMelNet(spec, dim), dim or WIDTH)
    spec.modality.refuse_vectors(spec, f"encoder: {name!r}")
    if name in DENSE:
        return _for_masks(dense_by_name(name, spec, dim))
    return _for_masks(with_code(_timm(name, spec), dim))


class Unmasked(nn.Module):
    """A body for items of one length, in which padded frames are silence.  [n t bands], [n t] -> [n d]"""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.body(x)


class Picture(Whole):
    """A timm model that sees a spectrogram as a grey image.  [n t bands] -> [n width]"""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.transpose(1, 2)[:, None])


def _for_masks(encoder: Encoder) -> Encoder:
    return Encoder(encoder.input, Unmasked(encoder.body), encoder.dim)


def _timm(name: str, spec: AudioSpec) -> Encoder:
    if ":" in name:
        raise UserError(f"encoder: {name!r}: weights of images do not fit recordings; use {name.partition(':')[0]!r}")
    try:
        import timm
    except ImportError as error:
        message = f"encoder: {name!r} is not convnet, mlp or linear; timm models need: pip install 'salience[timm]'"
        raise MissingPackage(message) from error
    if not timm.is_model(name):
        raise UserError(f"encoder: unknown encoder {name!r}; use convnet, mlp, linear or the name of a timm model")
    try:
        model = timm.create_model(name, num_classes=0, in_chans=1)
        with torch.no_grad():
            width = model.eval()(torch.zeros(1, 1, spec.bands, spec.frames or 1)).shape[1]
    except (ValueError, AssertionError, ZeroDivisionError, RuntimeError, TypeError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        size = f"{spec.bands} bands and {spec.frames} frames"
        raise UserError(f"encoder: {name!r} cannot take spectrograms of {size} ({said}); use convnet") from error
    return Encoder(make_input(spec), Picture(model.train()), width)
