"""Encoders, decoders and heads."""

from salience.nets.decoder import make_decoder
from salience.nets.encoder import Encoder
from salience.nets.heads import head
from salience.nets.inputs import ImageInput, TableInput, input_width, make_input
from salience.nets.make import make_encoder
from salience.nets.teacher import distance, follow, teacher_of

__all__ = [
    "Encoder",
    "ImageInput",
    "TableInput",
    "distance",
    "follow",
    "head",
    "input_width",
    "make_decoder",
    "make_encoder",
    "make_input",
    "teacher_of",
]
