"""Contractive autoencoder: reconstruct an item from a code that is insensitive to small changes of the item.

Rifai et al. 2011, https://icml.cc/2011/papers/455_icmlpaper.pdf, eq. 7. With h = sigmoid(f(x)), J = dh / dx, and v
the variance of the data's values:

    minimise  mean over items and values of (x - g(h))^2  +  weight v^2  mean over items of |J|_F^2

For d units, |J|_F^2 takes d backward passes ("exact") or one ("hutchinson"): with signs e of 1 and -1, drawn anew for
each item, the mean of |e' J|^2 is |J|_F^2 (Hutchinson 1990). For one layer it is sum_j (h_j (1 - h_j))^2 |W_j|^2.

The penalty alone has a trivial solution: the encoder makes the code small, and the decoder enlarges it again. The paper
prevents this by tying the decoder's weights to the encoder's. Here the encoder can be any network. Therefore g is
linear, and all its columns have the same length, the mean distance of an item from the mean item. A code with all units
at 1/2 decodes to the mean item. Otherwise training would first have to remove the sum of the columns, which is sixteen
such lengths for 256 units. With a linear code and orthogonal columns, the penalty equals the error that noise of
variance weight v in x adds. The code of an item must not depend on other items, so group norm replaces batch norm.
Differs from the paper: the changes above; AdamW; squared error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from salience.batch import Batch, Progress
from salience.methods.autoencoders.autoencoder import reconstruction_error
from salience.methods.contract import Auto, Context, Method, settled
from salience.methods.precision import full_precision
from salience.nets import Dictionary, Encoder, followed_by, item_by_item
from salience.views.random import Keys

EXACT = 16  # maximum number of units for which one backward pass per unit is the default


@full_precision
def contraction(x: Tensor, signs: Tensor | None, *, encode: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Compute the code and the squared Frobenius norm of its Jacobian per item, both differentiable.

    x: [n ...];  signs: [n d] of 1 and -1 for Hutchinson's estimate, None for the exact norm
    encode: [n ...] -> [n d], each item independently of the others  ->  [n d], [n]
    """
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        x = x.detach().requires_grad_().view_as(x)  # not a leaf, on which torch's counter of operations fails
        code = encode(x)
        wanted = [signs] if signs is not None else torch.eye(code.shape[1], dtype=code.dtype, device=code.device)
        norms = torch.zeros(len(x), dtype=code.dtype, device=code.device)
        for direction in wanted:
            pulled = torch.autograd.grad(code, x, direction.to(code).expand_as(code), create_graph=True)[0]
            norms = norms + pulled.square().flatten(1).sum(dim=1)
    return code, norms


class ContractiveAutoencoder(Method):
    """Contractive autoencoder.

    dim: number of units of the code, which may exceed the number of values of an item; default: twice that number, at
        most 256
    weight: weight of the penalty: the variance of the noise to which the code is made robust, as a share of the data's
    estimate: how the penalty is computed: "exact" takes one backward pass per unit, "hutchinson" takes one in total;
        default: exact up to 16 units
    """

    requires = ("vectors",)
    constrains_codes = "--weight"

    def __init__(
        self,
        encoder: Encoder,
        decoder: Dictionary,
        *,
        dim: Annotated[int, Ge(1)] = Auto,
        weight: Annotated[float, Ge(0)] = 0.1,
        estimate: Literal["exact", "hutchinson"] = Auto,
    ):
        super().__init__(encoder)
        self.decoder = decoder
        self.dim = dim
        self.weight = weight
        self.estimate = estimate
        self.rest: Tensor
        # The code of the mean item. It is saved with the weights, so that weights trained without it do not load.
        self.register_buffer("rest", torch.tensor(0.5))

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        options = settled(options, dim=min(256, 2 * context.width))
        options = settled(options, estimate="exact" if options["dim"] <= EXACT else "hutchinson")
        encoder = followed_by(item_by_item(context.make_encoder(dim=options["dim"])), nn.Sigmoid())
        return cls(encoder, Dictionary(options["dim"], context.spec), **options)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        original = self.encoder.input.unit(batch.x).to(self.decoder.directions.dtype)
        # `.forward`, because a compiled module has no second derivative
        code, norms = contraction(original, self._signs(batch, at), encode=self.encoder.forward)
        error, penalty = reconstruction_error(self.decode(code), original), norms.mean()
        weight = self.weight * self.decoder.variance**2
        return {"loss": error + weight * penalty, "error": error, "contraction": penalty}

    def _signs(self, batch: Batch, at: Progress) -> Tensor | None:
        """Return signs [n d] of 1 and -1 for Hutchinson's estimate, or None for the exact norm."""
        if self.estimate == "exact":
            return None
        return 1.0 - 2.0 * Keys.of(at.seed, at.epoch, batch.index).fold("contraction").chance(0.5, self.dim)

    def after_step(self, at: Progress) -> None:
        self.decoder.project()

    def decode(self, codes: Tensor) -> Tensor:
        """Reconstruct items from codes.  [n d] -> [n ...] on the unit scale"""
        return self.decoder(codes - self.rest)
