"""Denoising autoencoder: reconstruct the clean item from a corrupted one.

Vincent et al. 2008, https://doi.org/10.1145/1390156.1390294, and 2010, https://www.jmlr.org/papers/v11/vincent10a.html.
With encoder f, decoder g and an independent corruption of each value, by masking (set to 0), Gaussian noise, or salt
and pepper (set to the lowest or highest possible value):

    minimise  mean over items and values of (x - g(f(corrupted(x))))^2

With linear f and g of full width and Gaussian noise of deviation s, the optimum is the Wiener filter
C (C + s^2 I)^-1 around the mean, where C is the covariance of x.
Differs from the papers: any encoder; AdamW; squared error for all data. The numeric columns of a table have no lowest
and highest value, so salt and pepper sets them to two standard deviations from the mean.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from annotated_types import Ge
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.errors import UserError
from salience.methods.autoencoders.autoencoder import reconstruction_error
from salience.methods.contract import Auto, Context, Method, settled
from salience.nets import Encoder, make_decoder
from salience.views.corruption import corrupted
from salience.views.random import Keys

LEVELS = {"masking": 0.25, "gaussian": 0.3, "salt-and-pepper": 0.1}


class DenoisingAutoencoder(Method):
    """Denoising autoencoder.

    dim: width of the code; it may exceed the number of values of an item, because the noise prevents copying
    noise: corruption: "masking" sets values to 0, "gaussian" adds noise, "salt-and-pepper" sets values to extremes
    level: share of the values that are replaced, or standard deviation of the Gaussian noise on the unit scale;
        default: 0.25 for masking, 0.3 for gaussian, 0.1 for salt-and-pepper
    """

    requires = ("vectors",)
    constrains_codes = "--level"

    def __init__(
        self,
        encoder: Encoder,
        decoder: nn.Module,
        *,
        dim: Annotated[int, Ge(1)] = 64,
        noise: Literal["masking", "gaussian", "salt-and-pepper"] = "masking",
        level: Annotated[float, Ge(0)] = Auto,
    ):
        super().__init__(encoder)
        self.decoder = decoder
        self.dim = dim
        self.noise = noise
        self.level = level

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        dim, noise = options.get("dim", 64), options.get("noise", "masking")
        options = settled(options, level=LEVELS[noise])
        if noise != "gaussian" and options["level"] > 1:
            raise UserError(f"level: {options['level']:g} is no share of the values; {noise} takes at most 1")
        return cls(context.make_encoder(dim=dim), make_decoder(context.encoder, context.spec, dim), **options)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        clean = self.encoder.input.unit(batch.x)
        keys = Keys.of(at.seed, at.epoch, batch.index).fold("corruption")
        noisy = corrupted(clean, keys, self.noise, self.level, self.encoder.input.spec)
        return {"loss": reconstruction_error(self.decode(self.encoder(noisy)), clean)}

    def decode(self, codes: Tensor) -> Tensor:
        """Reconstruct items from codes.  [n d] -> [n ...] on the unit scale"""
        return self.decoder(codes)
