"""Encoders, decoders and heads."""

from salience.nets.decoder import make_decoder
from salience.nets.encoder import Encoder
from salience.nets.heads import projector
from salience.nets.inputs import ImageInput, TableInput, input_width, make_input
from salience.nets.make import make_encoder

__all__ = [
    "Encoder",
    "ImageInput",
    "TableInput",
    "input_width",
    "make_decoder",
    "make_encoder",
    "make_input",
    "projector",
]
