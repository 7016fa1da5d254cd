"""Encoders of images by name."""

from __future__ import annotations

from salience.modalities.image.convnet import convnet, convnet_code
from salience.modalities.image.input import ImageInput
from salience.modalities.image.spec import ImageSpec
from salience.modalities.image.timm_body import timm_body
from salience.nets.encoder import Encoder
from salience.nets.make import DENSE, dense_by_name, with_code


def make_encoder(name: str, spec: ImageSpec, *, dim: int | None, fetch: bool) -> Encoder:
    """Make an encoder of images by name.

    Args:
        name: "convnet", a dense encoder, a timm model such as "resnet18", "NAME:pretrained" or
            "NAME:FILE.safetensors".
        spec: The spec of the images.
        dim: Size of a code that an item is reconstructed from; "convnet" then uses a linear map of all positions
            instead of their mean, because the code must contain positions.
        fetch: Whether to download pretrained weights.

    Raises:
        UserError: The name is unknown, or the encoder does not fit the data.
    """
    if name in DENSE:
        return dense_by_name(name, spec, dim)
    if name != "convnet":
        return with_code(Encoder(*timm_body(name, spec, fetch=fetch)), dim)
    if dim is not None:
        return Encoder(ImageInput(spec), convnet_code(spec, dim), dim)
    return Encoder(ImageInput(spec), *convnet(spec.channels), stride=1)
