"""Encoders of series by name."""

from __future__ import annotations

from salience.errors import UserError
from salience.modalities.series.convnet import ConvNet
from salience.modalities.series.spec import SeriesSpec
from salience.nets.encoder import Encoder
from salience.nets.inputs import make_input
from salience.nets.make import DENSE, dense_by_name, with_code
from salience.nets.recurrent import GRU

GRU_STEPS = 64  # about as many steps as a GRU reads of a typical series


def make_encoder(name: str, spec: SeriesSpec, *, dim: int | None) -> Encoder:
    """Make "convnet", "gru", or for series of one length "mlp" or "linear"."""
    if name in DENSE and spec.ragged:
        raise UserError(f"encoder: {name!r} requires series of one length, these have different ones; use convnet")
    if name in DENSE:
        return dense_by_name(name, spec, dim)
    if name == "convnet":
        body: ConvNet | GRU = ConvNet(spec.channels)
    elif name == "gru":
        body = GRU(spec.channels, stride=max(1, spec.steps // GRU_STEPS))
    else:
        raise UserError(f"encoder: {name!r} does not take series; use convnet, gru, mlp or linear")
    return with_code(Encoder(make_input(spec), body, body.dim), dim)
