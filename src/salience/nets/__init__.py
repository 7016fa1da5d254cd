"""Encoders, decoders and heads."""

from salience.nets.decoder import Dictionary, dense_decoder, make_decoder
from salience.nets.dense import dense_encoder, followed_by, halving, item_by_item, last_layer, require_dense
from salience.nets.encoder import Encoder, encode_together
from salience.nets.features import Features, keep_scale
from salience.nets.heads import head
from salience.nets.inputs import Input, input_width, make_input
from salience.nets.make import make_encoder
from salience.nets.teacher import distance, follow, teacher_of

__all__ = [
    "Dictionary",
    "Encoder",
    "Features",
    "Input",
    "dense_decoder",
    "dense_encoder",
    "distance",
    "encode_together",
    "follow",
    "followed_by",
    "halving",
    "head",
    "input_width",
    "item_by_item",
    "keep_scale",
    "last_layer",
    "make_decoder",
    "make_encoder",
    "make_input",
    "require_dense",
    "teacher_of",
]
