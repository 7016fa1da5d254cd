"""Encoders by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from salience.errors import UserError
from salience.nets.dense import linear, mlp
from salience.nets.encoder import BodyWithLayers, Encoder
from salience.nets.inputs import input_width, make_input
from salience.nets.own import Given, own_encoder

if TYPE_CHECKING:
    from salience.modalities.spec import Spec

DENSE = ("mlp", "linear")


def make_encoder(name: str | Given | None, spec: Spec, *, dim: int | None = None, fetch: bool = True) -> Encoder:
    """An encoder for this data.

    name: "mlp" or "linear", for every kind of data; others are the data's own: "convnet" or a timm model such as
        "resnet18" for images, "NAME:pretrained" for published weights, "NAME:FILE.safetensors" for those in a file.
        None takes the default of the kind of data. A module, or a function or class that makes one, is the body.
    dim: width of the representation; None takes the network's own, otherwise a linear layer is added, even where the
        widths agree, so that a code may have any values
    fetch: False leaves a pretrained network's weights out, for a run that brings its own
    Errors: UserError for an unknown name, or one that does not fit the data.
    """
    if name is not None and not isinstance(name, str):
        return with_code(own_encoder(name, spec), dim)
    return spec.modality.make_encoder(name or spec.modality.default_encoder, spec, dim=dim, fetch=fetch)


def dense_by_name(name: str, spec: Spec, dim: int | None) -> Encoder:
    """ "mlp" or "linear". Raises UserError for any other name."""
    if name == "linear":
        return Encoder(make_input(spec), *linear(input_width(spec), dim or min(256, input_width(spec))))
    if name != "mlp":
        raise UserError(f"encoder: {name!r} does not support {spec.modality.name} data; use mlp or linear")
    return with_code(Encoder(make_input(spec), *mlp(input_width(spec))), dim)


def with_code(encoder: Encoder, dim: int | None) -> Encoder:
    """The encoder with a linear layer of this width on top; as it is where dim is None."""
    if dim is None:
        return encoder
    body = BodyWithLayers(encoder.body, nn.Linear(encoder.dim, dim))
    return Encoder(encoder.input, body, dim, encoder.stride)
