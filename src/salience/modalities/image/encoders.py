"""Encoders of images by name."""

from __future__ import annotations

from salience.modalities.image.convnet import convnet, convnet_code
from salience.modalities.image.input import ImageInput
from salience.modalities.image.spec import ImageSpec
from salience.modalities.image.timm_body import timm_body
from salience.nets.encoder import Encoder
from salience.nets.make import DENSE, dense_by_name, with_code


def make_encoder(name: str, spec: ImageSpec, *, dim: int | None, fetch: bool) -> Encoder:
    """ "convnet", a dense one, a timm model such as "resnet18", "NAME:pretrained" or "NAME:FILE.safetensors".

    dim: in "convnet" a linear map of all positions takes the place of their mean: a code to rebuild an item from must
        say where things are
    Raises UserError for an unknown name, or one that does not fit the data.
    """
    if name in DENSE:
        return dense_by_name(name, spec, dim)
    if name != "convnet":
        return with_code(Encoder(*timm_body(name, spec, fetch=fetch)), dim)
    if dim is not None:
        return Encoder(ImageInput(spec), convnet_code(spec, dim), dim)
    return Encoder(ImageInput(spec), *convnet(spec.channels), stride=1)
