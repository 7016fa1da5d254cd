"""Sparse autoencoder: reconstruct an item from a code of many units, of which only a few are active for each item.

Olshausen & Field 1996, https://doi.org/10.1038/381607a0 (l1), and Ng 2011, CS294A lecture notes,
https://web.stanford.edu/class/cs294a/sparseAutoencoder.pdf (kl). With v the variance of the data's values:

    l1   error + weight v  mean over items of sum_j |h_j|,                           h = relu(f(x))
    kl   error + weight v  sum_j  r log(r / m_j) + (1 - r) log((1 - r) / (1 - m_j)),  h = sigmoid(f(x))

error is the mean over items and values of (x - g(h))^2, m_j is the mean of h_j over the items of all processes, and r
is the target sparsity. The factor v makes the same weight suitable for low-contrast images and for tables.

The penalty alone has a trivial solution: the encoder makes the code small, and a later layer enlarges it again.
Therefore g(h) is linear, and after every step all its columns have the same length, the mean distance of an item from
the mean item.
Differs from the texts: the encoder is any network; Ng limits the weights by weight decay; AdamW. The weight of the
penalty rises from 0 over the first 30 % of the steps, because untrained columns of g would not be worth the penalty.
The zeros of relu get a share of softplus's gradient, which falls to 0 during training; without it, most units of a
large network stay inactive from the start.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.distributed import gather
from salience.methods.autoencoders.autoencoder import reconstruction_error
from salience.methods.contract import Auto, Context, Method, settled
from salience.methods.precision import full_precision
from salience.nets import Dictionary, Encoder, followed_by, last_layer
from salience.warning_signs import Sign

ACTIVE = {"l1": 0.0, "kl": 0.1}  # a unit above this value is active; a sigmoid is never 0
EPSILON = 1e-6
RISE = 0.3  # share of the steps over which the weight of the penalty rises from 0


@full_precision
def l1_penalty(code: Tensor) -> Tensor:
    """Compute the sum of the absolute values of a code, mean over items.  [n d] -> []"""
    return code.abs().sum(dim=1).mean()


@full_precision
def kl_penalty(mean: Tensor, *, sparsity: float) -> Tensor:
    """Compute the KL divergence of activity `mean` from the target `sparsity`, in nats, sum over units.  [d] -> []"""
    mean = EPSILON + (1 - 2 * EPSILON) * mean  # gives a unit that is never active a gradient
    on, off = sparsity * (sparsity / mean).log(), (1 - sparsity) * ((1 - sparsity) / (1 - mean)).log()
    return (on + off).sum()


class _Rectified(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, leak: Tensor) -> Tensor:
        ctx.save_for_backward(x, leak)
        return x.relu()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, leak = ctx.saved_tensors
        return gradient * torch.where(x > 0, 1.0, leak * x.sigmoid()).to(gradient.dtype), None


class Rectifier(nn.Module):
    """relu whose zeros receive `leak` times the gradient of a softplus.

    Adam's first steps can make a unit inactive for all items. Without a gradient it would stay inactive.
    """

    leak: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("leak", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return _Rectified.apply(x, self.leak)


class SparseAutoencoder(Method):
    """Sparse autoencoder.

    dim: number of units of the code, which may exceed the number of values of an item; default: twice that number, at
        most 512
    penalty: "l1" penalises the sum of an item's activations; "kl" keeps each unit's mean activation near `sparsity`
    weight: weight of the penalty, relative to the variance of the data
    sparsity: target mean activation of a unit, for "kl"
    """

    requires = ("vectors",)
    signs = (
        Sign(
            ("dead_units",),
            "most units are dead",
            "{dead_units:.0%} of the code's units are never active",
            "a smaller --weight, or a lower --learning-rate",
            "units",
            above=0.5,
        ),
    )
    constrains_codes = "--weight"

    def __init__(
        self,
        encoder: Encoder,
        decoder: Dictionary,
        *,
        dim: Annotated[int, Ge(1)] = Auto,
        penalty: Literal["l1", "kl"] = "l1",
        weight: Annotated[float, Ge(0)] = 0.05,
        sparsity: Annotated[float, Gt(0), Lt(1)] = 0.05,
    ):
        super().__init__(encoder)
        self.decoder = decoder
        self.dim = dim
        self.penalty = penalty
        self.weight = weight
        self.sparsity = sparsity

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        options = settled(options, dim=min(512, 2 * context.width))
        dim, penalty = options["dim"], options.get("penalty", "l1")
        encoder = context.make_encoder(dim=dim)
        start_small(last_layer(encoder), penalty, options.get("sparsity", 0.05))
        encoder = followed_by(encoder, Rectifier() if penalty == "l1" else nn.Sigmoid())
        return cls(encoder, Dictionary(dim, context.spec), **options)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        original = self.encoder.input.unit(batch.x)
        code = self.encoder(original)
        error = reconstruction_error(self.decode(code), original)
        penalty = l1_penalty(code) if self.penalty == "l1" else self._kl(code)
        weight = self.weight * min(1.0, at.fraction / RISE) * self.decoder.variance
        return {"loss": error + weight * penalty, "error": error, "penalty": penalty}

    def before_step(self, at: Progress) -> None:
        for layer in self.encoder.modules():
            if isinstance(layer, Rectifier):
                layer.leak.fill_(1.0 - at.fraction)

    def _kl(self, code: Tensor) -> Tensor:
        """Compute the penalty of the mean over all processes, which have equally many items."""
        mean = code.to(torch.promote_types(code.dtype, torch.float32)).mean(dim=0, keepdim=True)
        return kl_penalty(gather(mean)[0].mean(dim=0), sparsity=self.sparsity)

    def after_step(self, at: Progress) -> None:
        self.decoder.project()

    def decode(self, codes: Tensor) -> Tensor:
        """Reconstruct items from codes.  [n d] -> [n ...] on the unit scale"""
        return self.decoder(codes)

    def vitals(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        """dead_units: share of units that are active for no item;  active: mean share of units active for an item."""
        active = self.embed(batch) > ACTIVE[self.penalty]
        return {"dead_units": (~active.any(dim=0)).float().mean(), "active": active.float().mean()}


@torch.no_grad()
def start_small(layer: nn.Linear, penalty: str, sparsity: float) -> None:
    """Initialise the last layer so that the sum of a code is small; the columns of g are as long as an item."""
    if penalty == "l1":
        layer.weight.mul_(layer.out_features**-0.5)
    assert layer.bias is not None
    layer.bias.fill_(0.0 if penalty == "l1" else math.log(sparsity / (1 - sparsity)))
