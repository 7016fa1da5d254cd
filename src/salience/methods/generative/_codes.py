"""Shared steps of building methods with a Gaussian code: its width, the likelihood, the decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from salience.errors import UserError
from salience.methods.contract import Context, settled
from salience.nets import Encoder, make_decoder


def code_width(context: Context, options: Mapping[str, Any]) -> int:
    """Return `dim`; the default is at most half the number of values.  Raises UserError if it exceeds that number."""
    if options.get("dim", 1) > context.width:
        raise UserError(f"dim: a code of {options['dim']} values for items of {context.width}; at most {context.width}")
    return options.get("dim", min(64, max(1, context.width // 2)))


def with_likelihood(context: Context, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with a `likelihood` that suits the data.  Raises UserError if the given options do not."""
    spec = context.spec
    if options.get("autoregressive") and "raster" not in spec.modality.supports:
        raise UserError(
            f"autoregressive: the values of {spec.modality.plural} have no order; leave it out, or give images"
        )
    if options.get("likelihood") == "bernoulli":
        spec.modality.refuse_bernoulli(spec, "likelihood")
    return settled(options, likelihood=spec.modality.likelihood(spec))


def coder_and_decoder(context: Context, options: Mapping[str, Any]) -> tuple[Encoder, nn.Module, dict[str, Any]]:
    """An encoder to mean and log variance of a code, what decodes the code, and the options with what was found."""
    options = {**with_likelihood(context, options), "dim": code_width(context, options)}
    decoder = decoder_for(context, options["dim"], options["likelihood"])
    return context.make_encoder(dim=2 * options["dim"]), decoder, options


def withheld_by(autoregressive: bool) -> Mapping[str, str]:
    """Return the functions that an autoregressive decoder cannot offer, with the reason."""
    if not autoregressive:
        return {}
    why = "its decoder is autoregressive; fit a run without autoregressive"
    return {"decode": why, "sample": why}


def decoder_for(context: Context, dim: int, likelihood: str) -> nn.Module:
    """Build a decoder that mirrors the encoder; its initial output is the data's mean (for a Bernoulli, its logits)."""
    spec = context.spec
    start = spec.modality.logit_means(spec) if likelihood == "bernoulli" else spec
    return make_decoder(context.encoder, start, dim)
