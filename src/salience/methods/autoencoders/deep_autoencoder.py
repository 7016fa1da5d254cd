"""Deep autoencoder: encode an item through dense layers of decreasing width, and reconstruct it through their mirror.

Hinton & Salakhutdinov 2006, https://doi.org/10.1126/science.1127647. With an encoder f through layers of 1000, 500 and
250 units to d values, and a decoder g through 250, 500 and 1000:

    minimise  mean over items and values of (x - g(f(x)))^2

Differs from the paper: AdamW trains all layers at once; batch norm and ReLU replace logistic units, so that no
layer-wise pre-training by Boltzmann machines is needed; squared error replaces cross-entropy.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from annotated_types import Ge, Le
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.errors import UserError
from salience.methods.autoencoders.autoencoder import reconstruction_error
from salience.methods.contract import Context, Method
from salience.nets import Encoder, dense_decoder, dense_encoder, halving, require_dense


class DeepAutoencoder(Method):
    """Deep autoencoder.

    dim: width of the code, below the number of values of an item; 30 in the paper
    hidden: width of the first layer; each further layer is half as wide, but not narrower than the code
    depth: number of hidden layers of the encoder, and of the decoder
    """

    requires = ("vectors",)

    default_encoder = "mlp"

    def __init__(
        self,
        encoder: Encoder,
        decoder: nn.Module,
        *,
        dim: Annotated[int, Ge(1)] = 64,
        hidden: Annotated[int, Ge(1)] = 1000,
        depth: Annotated[int, Ge(1), Le(16)] = 3,
    ):
        super().__init__(encoder)
        self.decoder = decoder
        self.dim = dim
        self.hidden = hidden
        self.depth = depth

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        require_dense(context.encoder, "deep_autoencoder")
        width = context.width
        options = {"dim": min(64, max(1, width // 2)), "hidden": 1000, "depth": 3} | options
        dim = options["dim"]
        if dim > width:
            raise UserError(f"dim: a code of {dim} values for items of {width}; at most {width}")
        widths = halving(options["hidden"], options["depth"], least=dim)
        encoder = dense_encoder(context.spec, dim, widths)
        return cls(encoder, dense_decoder(context.spec, dim, widths[::-1]), **options)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        original = self.encoder.input.unit(batch.x)
        return {"loss": reconstruction_error(self.decode(self.encoder(original)), original)}

    def decode(self, codes: Tensor) -> Tensor:
        """Reconstruct items from codes.  [n d] -> [n ...] on the unit scale"""
        return self.decoder(codes)
