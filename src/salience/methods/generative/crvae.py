"""CR-VAE: a VAE whose codes must also recognise the same item in another view, so that they cannot fall silent.

Lygerakis & Rueckert 2023, "CR-VAE: Contrastive Regularization on Variational Autoencoders for Preventing Posterior
Collapse", https://arxiv.org/abs/2309.02968. With z drawn for a view x, and z+ for another view of the item by a slowly
moving copy of the encoder, both unit vectors in l, per item in nats:

    loss = -log p(x|z) + beta KL(q(z|x), N(0, 1)) + gamma l(z)
    l(z) = -log  exp(z . z+ / temperature) / (exp(z . z+ / temperature) + sum_{i = 1..K} exp(z . z_i / temperature))

The z_i are the copy's codes of earlier items (the queue of MoCo, whose loss l is). The view that the code came from is
rebuilt, as in the authors' program: then gamma 0 is the VAE's bound for views, and the code is asked for nothing that
its input does not show. What is told of an item (codes, likelihoods) is of the item itself, without a view.
Differs from the paper: AdamW instead of SGD, a shorter queue for fewer rows; the weight of the first term is always 1,
for only the ratios matter. Batch norms see a batch's codes and keys in the same company, as in the authors' program.
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
from salience.methods.contrastive.moco import enqueue, moco_loss, queue_for
from salience.methods.generative._codes import code_width, decoder_for, with_likelihood, withheld_by
from salience.methods.generative.vae import (
    FEW_ACTIVE_UNITS,
    NO_INFORMATION,
    Density,
    cloud,
    code_vitals,
    drawn,
    importance_bound,
    noise_of,
    posterior,
)
from salience.methods.teachers import STILL_TEACHER
from salience.nets import Encoder, distance, follow, teacher_of
from salience.views import Views
from salience.warning_signs import Ordinary


class CRVAE(Method):
    """CR-VAE.

    dim: width of the code, at most the number of values of an item
    beta: weight of the KL divergence
    gamma: weight of the contrast between views (the authors' choices at beta 1: 1 and 10), which keeps codes awake
        where it outweighs beta; 0 leaves a VAE of views
    temperature: small values weigh the nearest keys most
    momentum: how much of the teacher stays at each step
    queue: how many old keys are the negatives; at most 65,536, and 4096 or a sixteenth of the rows, or half of few
    likelihood: how a view is compared with what is rebuilt: "bernoulli" for images of one channel, else "gaussian"
    autoregressive: whether the decoder also sees, for each pixel, those before it: it then tells images better, and its
        codes less, down to nothing; such a run embeds and rates, and does not rebuild
    """

    needs = ("vectors",)
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
        generator = torch.Generator().manual_seed(0)  # its own, so that the queue is the same on all processes
        self.register_buffer("old_keys", F.normalize(torch.randn(queue, dim, generator=generator), dim=1))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))
        self.shared_buffers = ("old_keys", "written")
        self._fresh: Tensor | None = None  # keys of the step under way, [m dim]

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        options = settled(with_likelihood(context, options), queue=queue_for(context.rows))
        options["dim"] = code_width(context, options)
        decoder = decoder_for(context, options["dim"], options["likelihood"])
        return cls(context.make_encoder(dim=2 * options["dim"]), decoder, context.make_views({"global": 2}), **options)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        x, other = (view.x for view in self.views(batch, at)["global"])
        z, divergence = cloud(self.encoder(x), noise_of(batch, at, self.dim))
        rebuild, kl = self.density(self.decoder(z), x).mean(), divergence.mean()
        self._fresh, mine_at = self.keys(other, batch, at)
        contrast = moco_loss(z, self._fresh[mine_at], self.old_keys, temperature=self.temperature)
        loss = rebuild + self.beta * kl + self.gamma * contrast
        return {"loss": loss, "rebuild": rebuild, "kl": kl, "contrast": contrast}

    @torch.no_grad()
    def keys(self, x: Tensor, batch: Batch, at: Progress) -> tuple[Tensor, Tensor]:
        """Everyone's keys, codes the teacher draws for views x, of length 1; and where mine are.  -> [m dim], [n]"""
        z = drawn(*posterior(self.teacher_encoder(x)), noise_of(batch, at, self.dim, "key"))
        return gather(F.normalize(z.to(self.old_keys.dtype), dim=1))

    def after_step(self, at: Progress) -> None:
        follow(self.teacher_encoder, self.encoder, self.momentum)
        if self._fresh is not None:
            enqueue(self.old_keys, self.written, self._fresh)
            self._fresh = None

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[n ...] -> [n dim], the means"""
        return posterior(self.encoder(x, mask))[0]

    @property
    def width(self) -> int:
        return self.dim

    @property
    def withheld(self) -> Mapping[str, str]:
        return withheld_by(self.autoregressive)

    def posterior(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean and log variance of each item's code.  -> [n dim], [n dim]"""
        return posterior(self.encoder(self.encoder.input.unit(batch.x)))

    def decode(self, codes: Tensor) -> Tensor:
        """[n dim] -> [n ...] on the unit scale, the mean of p(x|z)."""
        return self.density.mean(self.decoder(codes))

    def sample(self, n: int) -> Tensor:
        """The means of p(x|z) at n draws of z from the standard normal."""
        return self.decode(torch.randn(n, self.dim, device=self.device))

    def log_likelihood(self, batch: Batch, k: int = 50) -> Tensor:
        """Of each item, in nats, by the bound of k draws.  [n]"""
        x = self.encoder.input.unit(batch.x)
        return importance_bound(self.decoder, self.density, self.posterior(batch), x, batch.index, k)

    def vitals(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        """Of the codes;  queue_filled: the share of the queue that is keys"""
        return {
            **code_vitals(*self.posterior(batch)),
            "teacher_distance": distance(self.teacher_encoder, self.encoder),
            "queue_filled": (self.written / max(1, self.queue)).clamp(max=1.0),
        }
