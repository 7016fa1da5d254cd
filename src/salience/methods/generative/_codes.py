"""What methods with a Gaussian code have in common when they are built: its width, the likelihood, the decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from salience.errors import UserError
from salience.methods.contract import Context, settled
from salience.nets import make_decoder


def code_width(context: Context, options: Mapping[str, Any]) -> int:
    """`dim`, by default at most half an item's values.  Errors: UserError where it is more than all of them."""
    if options.get("dim", 1) > context.width:
        raise UserError(f"dim: a code of {options['dim']} values for items of {context.width}; at most {context.width}")
    return options.get("dim", min(64, max(1, context.width // 2)))


def with_likelihood(context: Context, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with a `likelihood` that suits the data.  Errors: UserError where the given ones do not."""
    spec = context.spec
    if options.get("autoregressive") and "raster" not in spec.modality.offers:
        raise UserError(
            f"autoregressive: the values of {spec.modality.plural} have no order; leave it out, or give images"
        )
    if options.get("likelihood") == "bernoulli":
        spec.modality.refuse_bernoulli(spec, "likelihood")
    return settled(options, likelihood=spec.modality.likelihood(spec))


def withheld_by(autoregressive: bool) -> Mapping[str, str]:
    """What a decoder that needs the item's own pixels cannot do from a code."""
    if not autoregressive:
        return {}
    why = "its decoder is autoregressive, and tells a pixel from those before it; fit one without autoregressive"
    return {"decode": why, "sample": why}


def decoder_for(context: Context, dim: int, likelihood: str) -> nn.Module:
    """Mirrors the encoder; rebuilds the data's mean at first, which for a Bernoulli are logits of it."""
    spec = context.spec
    start = spec.modality.in_logits(spec) if likelihood == "bernoulli" else spec
    return make_decoder(context.encoder, start, dim)
