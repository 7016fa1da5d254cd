"""Encoders by name."""

from __future__ import annotations

from torch import nn

from salience.batch import Spec
from salience.errors import UserError
from salience.nets.encoder import Encoder, convnet, convnet_code, linear, mlp
from salience.nets.inputs import input_width, make_input
from salience.nets.timm_body import OWN, timm_body


def make_encoder(name: str | None, spec: Spec, *, dim: int | None = None, fetch: bool = True) -> Encoder:
    """An encoder for this data.

    name: "convnet" (default for images), "mlp" (default for tables), "linear", a timm model such as "resnet18", or
        "NAME:pretrained" for its published weights, "NAME:FILE.safetensors" for those in a file
    dim: width of the representation; None takes the network's own, otherwise a linear layer is added, even where the
        widths agree, so that a code may have any values (in "convnet" in place of the mean over positions: a code to
        rebuild an item from must say where things are)
    fetch: False leaves a pretrained network's weights out, for a run that brings its own
    Errors: UserError for an unknown name, or one that does not fit the data.
    """
    if name is None:
        name = "convnet" if spec.modality == "image" else "mlp"
    if spec.modality != "image" and name not in ("mlp", "linear"):
        raise UserError(f"encoder: {name!r} does not take {spec.modality} data; take mlp or linear")
    if name == "linear":
        return Encoder(make_input(spec), *linear(input_width(spec), dim or min(256, input_width(spec))))
    if name == "convnet" and dim is not None:
        return Encoder(make_input(spec), convnet_code(spec, dim), dim)
    encoder = _make(name, spec, fetch)
    return encoder if dim is None else _with_code(encoder, dim)


def _make(name: str, spec: Spec, fetch: bool) -> Encoder:
    if name not in OWN:
        return Encoder(*timm_body(name, spec, fetch=fetch))
    if name == "convnet":
        return Encoder(make_input(spec), *convnet(spec.channels), stride=1)
    return Encoder(make_input(spec), *mlp(input_width(spec)))


def _with_code(encoder: Encoder, dim: int) -> Encoder:
    return Encoder(encoder.input, nn.Sequential(encoder.body, nn.Linear(encoder.dim, dim)), dim, encoder.stride)
