"""Under-complete autoencoder: encode an item into a narrow code and reconstruct it from the code.

Hinton & Salakhutdinov 2006, https://doi.org/10.1126/science.1127647. With encoder f: R^w -> R^d, d < w, and decoder g:

    minimise  mean over items and values of (x - g(f(x)))^2

With linear f and g the optimum spans PCA's subspace (Baldi & Hornik 1989).
Differs from the paper: AdamW trains all layers at once, without layer-wise pre-training by Boltzmann machines.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.methods.contract import Context, Method
from salience.methods.precision import full_precision
from salience.nets import Encoder, make_decoder
from salience.option import refuse_large


@full_precision
def reconstruction_error(rebuilt: Tensor, original: Tensor) -> Tensor:
    """Compute the mean squared error over items and values.  [n ...], [n ...] -> []"""
    return F.mse_loss(rebuilt, original)


class Autoencoder(Method):
    """Under-complete autoencoder.

    dim: width of the code, below the number of values of an item
    """

    requires = ("vectors",)
    at_most = (("dim", ("width",), "a code of {} values for items of {width}"),)

    def __init__(self, encoder: Encoder, decoder: nn.Module, *, dim: Annotated[int, Ge(1)] = 64):
        super().__init__(encoder)
        self.decoder = decoder
        self.dim = dim

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        width = context.width
        refuse_large(cls.at_most, options, rows=context.rows, width=width)
        dim = options.get("dim", min(64, max(1, width // 2)))
        encoder = context.make_encoder(dim=dim)
        return cls(encoder, make_decoder(context.encoder, context.spec, dim), dim=dim)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        original = self.encoder.input.unit(batch.x)
        return {"loss": reconstruction_error(self.decode(self.encoder(original)), original)}

    def decode(self, codes: Tensor) -> Tensor:
        """Reconstruct items from codes.  [n d] -> [n ...] on the unit scale"""
        return self.decoder(codes)
