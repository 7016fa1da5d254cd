"""CR-VAE: a VAE with a contrastive loss between views of an item, which prevents posterior collapse.

Lygerakis & Rueckert 2023, "CR-VAE: Contrastive Regularization on Variational Autoencoders for Preventing Posterior
Collapse", https://arxiv.org/abs/2309.02968. z is sampled for a view x of an item, and z+ for another view of the item
by a slowly moving copy of the encoder; both are unit vectors in l. Per item, in nats:

    loss = -log p(x|z) + beta KL(q(z|x), N(0, 1)) + gamma l(z)
    l(z) = -log  exp(z . z+ / temperature) / (exp(z . z+ / temperature) + sum_{i = 1..K} exp(z . z_i / temperature))

The z_i are the copy's codes of earlier items (the queue of MoCo, whose loss l is). As in the authors' program, the
decoder reconstructs the view that was encoded. Therefore, with gamma 0, the loss is the VAE's bound for views, and the
code does not need information that its input lacks. Embeddings and likelihoods are computed for the item itself,
without a view.
Differs from the paper: AdamW replaces SGD; the queue is shorter for fewer rows; the weight of the first term is always
1, because only the ratios matter. As in the authors' program, batch norm uses the same batch for codes and keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.distributed import gather
from salience.methods.contract import Auto, Context, Method, settled
from salience.methods.contrastive.moco import moco_loss
from salience.methods.generative._codes import coder_and_decoder, withheld_by
from salience.methods.generative.vae import (
    FEW_ACTIVE_UNITS,
    NO_INFORMATION,
    Density,
    code_vitals,
    drawn,
    importance_bound,
    noise_of,
    posterior,
    posterior_of,
    terms,
)
from salience.methods.teachers import STILL_TEACHER
from salience.nets import Encoder, distance, follow, teacher_of
from salience.nets.queue import enqueue, queue_for, random_keys, share_filled
from salience.views import Views
from salience.warning_signs import Ordinary


class CRVAE(Method):
    """CR-VAE.

    dim: width of the code, at most the number of values of an item
    beta: weight of the KL divergence
    gamma: weight of the contrastive loss between views (the authors use 1 and 10 with beta 1); it prevents posterior
        collapse if it is large compared with beta; 0 gives a VAE of views
    temperature: divides the similarities; smaller values give more weight to the nearest keys
    momentum: momentum of the teacher (share of its weights kept at each step)
    queue: number of old keys, which are the negatives; default: 4096 or rows / 16, whichever is larger, but at most
        half the rows and 65,536
    likelihood: distribution of a view given its code; default: "bernoulli" for images of one channel, else "gaussian"
    autoregressive: whether the decoder also receives the pixels before each pixel; the likelihood is then higher, and
        the codes carry less information, possibly none; such a run cannot reconstruct or sample
    """

    requires = ("vectors",)
    signs = (NO_INFORMATION, FEW_ACTIVE_UNITS)
    ordinary = (Ordinary("temperature", 0.01, 5.0), STILL_TEACHER)
    constrains_codes = "--beta"

    old_keys: Tensor
    written: Tensor

    def __init__(
        self,
        encoder: Encoder,
        decoder: nn.Module,
        views: Views,
        *,
        dim: Annotated[int, Ge(1)] = 64,
        beta: Annotated[float, Ge(0)] = 1.0,
        gamma: Annotated[float, Ge(0)] = 10.0,
        temperature: Annotated[float, Gt(0)] = 0.1,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.99,
        queue: Annotated[int, Ge(0)] = Auto,
        likelihood: Literal["bernoulli", "gaussian"] = Auto,
        autoregressive: bool = False,
    ):
        super().__init__(encoder)
        self.decoder = decoder
        self.views = views
        self.dim = dim
        self.beta = beta
        self.gamma = gamma
        self.temperature = temperature
        self.momentum = momentum
        self.queue = queue
        self.likelihood = likelihood
        self.autoregressive = autoregressive
        self.density = Density(likelihood, encoder.input.spec, autoregressive=autoregressive)
        self.teacher_encoder = teacher_of(encoder)
        self.register_buffer("old_keys", random_keys(queue, dim))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))
        self.shared_buffers = ("old_keys", "written")
        self._fresh: Tensor | None = None  # keys of the step under way, [m dim]

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        encoder, decoder, options = coder_and_decoder(context, settled(options, queue=queue_for(context.rows)))
        return cls(encoder, decoder, context.make_views({"global": 2}), **options)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        x, other = (view.x for view in self.views(batch, at)["global"])
        z, rebuild, kl = terms(self.encoder(x), x, noise_of(batch, at, self.dim), self.decoder, self.density)
        self._fresh, mine_at = self.keys(other, batch, at)
        contrast = moco_loss(z, self._fresh[mine_at], self.old_keys, temperature=self.temperature)
        loss = rebuild + self.beta * kl + self.gamma * contrast
        return {"loss": loss, "rebuild": rebuild, "kl": kl, "contrast": contrast}

    @torch.no_grad()
    def keys(self, x: Tensor, batch: Batch, at: Progress) -> tuple[Tensor, Tensor]:
        """Return the keys of all processes (unit-length codes that the teacher samples for views x) and my positions.

        -> [m dim], [n]
        """
        z = drawn(*posterior(self.teacher_encoder(x)), noise_of(batch, at, self.dim, "key"))
        return gather(F.normalize(z.to(self.old_keys.dtype), dim=1))

    def after_step(self, at: Progress) -> None:
        follow(self.teacher_encoder, self.encoder, self.momentum)
        if self._fresh is not None:
            enqueue(self.old_keys, self.written, self._fresh)
            self._fresh = None

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the means of the codes.  [n ...] -> [n dim]"""
        return posterior(self.encoder(x, mask))[0]

    @property
    def width(self) -> int:
        return self.dim

    @property
    def withheld(self) -> Mapping[str, str]:
        return withheld_by(self.autoregressive)

    def posterior(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean and log variance of each item's code.  -> [n dim], [n dim]"""
        return posterior_of(self.encoder, batch)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the mean of p(x|z).  [n dim] -> [n ...] on the unit scale"""
        return self.density.mean(self.decoder(codes))

    def sample(self, n: int) -> Tensor:
        """Return the means of p(x|z) for n samples of z from the standard normal."""
        return self.decode(torch.randn(n, self.dim, device=self.device))

    def log_likelihood(self, batch: Batch, k: int = 50) -> Tensor:
        """Estimate the log likelihood of each item in nats, by the bound of k samples.  [n]"""
        return importance_bound(self.encoder, self.decoder, self.density, batch, k)

    def vitals(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        """Return the vitals of the codes, and queue_filled: the share of the queue that holds keys."""
        return {
            **code_vitals(*self.posterior(batch)),
            "teacher_distance": distance(self.teacher_encoder, self.encoder),
            "queue_filled": share_filled(self.written, self.queue),
        }
