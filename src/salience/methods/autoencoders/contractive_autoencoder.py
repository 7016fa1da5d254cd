"""Contractive autoencoder: rebuild an item from a code that changes little when the item does.

Rifai et al. 2011, https://icml.cc/2011/papers/455_icmlpaper.pdf, eq. 7. With h = sigmoid(f(x)), J = dh / dx, and v
the variance of the data's values:

    minimise  mean over items and values of (x - g(h))^2  +  weight v^2  mean over items of |J|_F^2

For d units |J|_F^2 takes d backward passes (exact), or one (hutchinson): with signs e of 1 and -1 drawn anew for each
item, the mean of |e' J|^2 is |J|_F^2 (Hutchinson 1990). For one layer it is sum_j (h_j (1 - h_j))^2 |W_j|^2.

Small codes would cost nothing if the decoder could enlarge them. The paper ties its weights to the encoder's; here the
encoder is any network, so g is linear with columns of one length, a typical item's distance from the mean, and units
half on stand for the mean: else their sum, sixteen such lengths for 256 units, would have to be unlearnt first. With a
linear code and orthogonal columns the penalty would be what noise of variance weight v in x adds to the error. An
item's code must be its own, so group norms take the places of batch norms.
Differs from the paper: these, AdamW, squared error.
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

EXACT = 16  # units, up to which their backward passes are worth it


@full_precision
def contraction(x: Tensor, signs: Tensor | None, *, encode: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The code and its Jacobian's squared Frobenius norm, item by item, ready for another backward pass.

    x: [n ...];  signs: [n d] of 1 and -1 for Hutchinson's estimate, None for the norm itself
    encode: [n ...] -> [n d], each item on its own  ->  [n d], [n]
    """
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        x = x.detach().requires_grad_().view_as(x)  # not a leaf, at which torch's counter of operations gives up
        code = encode(x)
        wanted = [signs] if signs is not None else torch.eye(code.shape[1], dtype=code.dtype, device=code.device)
        norms = torch.zeros(len(x), dtype=code.dtype, device=code.device)
        for direction in wanted:
            pulled = torch.autograd.grad(code, x, direction.to(code).expand_as(code), create_graph=True)[0]
            norms = norms + pulled.square().flatten(1).sum(dim=1)
    return code, norms


class ContractiveAutoencoder(Method):
    """Contractive autoencoder.

    dim: units of the code, which may be more than an item has values; twice as many, at most 256
    weight: of the penalty: the variance of the noise a code is to withstand, as a share of the data's
    estimate: "exact" takes a backward pass a unit, "hutchinson" one in all; by default exact up to 16 units
    """

    needs = ("vectors",)
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
        # The code of the mean item: all units half on. With the weights, as those of before it would rebuild nonsense.
        self.register_buffer("rest", torch.tensor(0.5))

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        options = settled(options, dim=min(256, 2 * context.width))
        options = settled(options, estimate="exact" if options["dim"] <= EXACT else "hutchinson")
        encoder = followed_by(item_by_item(context.make_encoder(dim=options["dim"])), nn.Sigmoid())
        return cls(encoder, Dictionary(options["dim"], context.spec), **options)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        original = self.encoder.input.unit(batch.x).to(self.decoder.directions.dtype)
        # `.forward`, as a compiled module has no second derivative
        code, norms = contraction(original, self._signs(batch, at), encode=self.encoder.forward)
        error, penalty = reconstruction_error(self.decode(code), original), norms.mean()
        weight = self.weight * self.decoder.variance**2
        return {"loss": error + weight * penalty, "error": error, "contraction": penalty}

    def _signs(self, batch: Batch, at: Progress) -> Tensor | None:
        """[n d] of 1 and -1, or None where each unit has its turn."""
        if self.estimate == "exact":
            return None
        return 1.0 - 2.0 * Keys.of(at.seed, at.epoch, batch.index).fold("contraction").chance(0.5, self.dim)

    def after_step(self, at: Progress) -> None:
        self.decoder.project()

    def decode(self, codes: Tensor) -> Tensor:
        """[n d] -> [n ...] on the unit scale."""
        return self.decoder(codes - self.rest)
