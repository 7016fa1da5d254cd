"""VAE: encode each item as a normal distribution close to a standard normal, and reconstruct the item from a sample.

Kingma & Welling 2013, "Auto-Encoding Variational Bayes", https://arxiv.org/abs/1312.6114, eq. 10. The encoder gives the
mean m and the variance s^2 of q(z|x), the decoder p(x|z). With noise e ~ N(0, 1) and z = m + s e, per item in nats:

    loss = -log p(x|z) + beta KL        KL = 1/2 sum_j (m_j^2 + s_j^2 - 1 - log s_j^2)

beta = 1 is the paper's bound on -log p(x) (others: Higgins et al. 2017, https://openreview.net/forum?id=Sy2fzU9gl).
p(x|z) is a Bernoulli per value, or a Gaussian with one learned variance for all values (sigma-VAE, Rybkin et al. 2020,
https://arxiv.org/abs/2006.13202), with which a linear VAE is probabilistic PCA. With `autoregressive` it is the product
of p(x_i | x_1 .. x_{i-1}, z) over pixels, row by row (PixelVAE, Gulrajani et al. 2016,
https://arxiv.org/abs/1611.05013). Such a decoder is so strong that it can ignore the code. The likelihood of an item is
estimated by the tighter bound of k samples (Burda et al. 2015, https://arxiv.org/abs/1509.00519, eq. 8):

    log p(x) >= E log 1/k sum_i p(x|z_i) p(z_i) / q(z_i|x)

Differs from the papers: AdamW; a tanh keeps log variances between -12 and 12; the likelihood estimate uses the same
samples every time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.methods.contract import Auto, Context, Method
from salience.methods.generative._codes import coder_and_decoder, withheld_by
from salience.methods.precision import full_precision
from salience.modalities import Spec
from salience.nets import Encoder
from salience.views.random import Keys
from salience.warning_signs import Sign

WIDEST = 12.0  # maximum absolute value of a log variance
SPEED = 10.0  # speeds up the learned deviation: AdamW changes a parameter by a learning rate per step
ACTIVE = 0.01  # minimum variance of the posterior mean of an active dimension (Burda et al.)


@full_precision
def posterior(output: Tensor) -> tuple[Tensor, Tensor]:
    """Split the encoder's output into mean and log variance of q(z|x).  [n 2d] -> [n d], [n d]"""
    mean, log_variance = output.chunk(2, dim=1)
    return mean, bounded(log_variance)


def bounded(log_variance: Tensor) -> Tensor:
    return WIDEST * torch.tanh(log_variance / WIDEST)


@full_precision
def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Compute the KL divergence of q(z|x) from the standard normal, in nats.  [n d], [n d] -> [n]"""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


def drawn(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Sample z ~ q(z|x).  [n d] each -> [n d]"""
    return mean + (0.5 * log_variance).exp() * noise


@full_precision
def cloud(output: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Sample z ~ q(z|x) and compute its KL divergence from the standard normal.

    output: the encoder's, [n 2d];  noise: [n d] -> [n d], [n]
    """
    mean, log_variance = posterior(output)
    return drawn(mean, log_variance, noise), kl_divergence(mean, log_variance)


def noise_of(batch: Batch, at: Progress, dim: int, role: str = "latent") -> Tensor:
    """Return standard normal noise [n dim], which depends on the item and the epoch."""
    return Keys.of(at.seed, at.epoch, batch.index).fold(role).normal(dim)


@full_precision
def bernoulli(logits: Tensor, x: Tensor) -> Tensor:
    """Compute -log p(x|z), the cross-entropy summed over values; x in [0, 1].  [n ...], [n ...] -> [n]"""
    errors = F.binary_cross_entropy_with_logits(logits, x.to(logits.dtype), reduction="none")
    return errors.flatten(1).sum(dim=1)


@full_precision
def gaussian(centre: Tensor, x: Tensor, log_variance: Tensor) -> Tensor:
    """Compute -log p(x|z) with one variance for all values.  [n ...], [n ...], [] -> [n]"""
    squares = (x - centre).square().flatten(1)
    return 0.5 * (squares.sum(dim=1) / log_variance.exp() + squares.shape[1] * (log_variance + math.log(2 * math.pi)))


@full_precision
def iwae(log_weights: Tensor) -> Tensor:
    """Compute the bound of k samples on log p(x).  [k n] -> [n]"""
    return log_weights.logsumexp(dim=0) - math.log(len(log_weights))


@full_precision
def log_weight(error: Tensor, mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Compute log p(x|z) p(z) / q(z|x) at the z of this noise; error: -log p(x|z).  [n], [n d] three times -> [n]"""
    z = drawn(mean, log_variance, noise)
    return 0.5 * (noise.square() + log_variance - z.square()).sum(dim=1) - error


def active(mean: Tensor, threshold: float = ACTIVE) -> Tensor:
    """Find the dimensions whose posterior mean varies between items.  mean: [n d] -> [d] bool"""
    return mean.var(dim=0, correction=0) > threshold


def code_vitals(mean: Tensor, log_variance: Tensor) -> dict[str, Tensor]:
    """Compute the mean KL divergence, and the share of active dimensions, which is 0 after a posterior collapse.

    [n d], [n d] -> [] each
    """
    return {"kl": kl_divergence(mean, log_variance).mean(), "active_units": active(mean).float().mean()}


class Density(nn.Module):
    """p(x|z), from the decoder's output: logits of Bernoullis, or the centre of a Gaussian with learned variance.

    autoregressive: the output of each pixel is corrected by the pixels before it
    """

    log_scale: nn.Parameter | None

    def __init__(self, likelihood: str, spec: Spec, *, autoregressive: bool = False) -> None:
        super().__init__()
        modality = spec.modality
        self.raster = modality.make_raster(spec) if autoregressive else None
        spread = modality.typical_std(spec)  # standard deviation of the error of the mean item
        start = WIDEST * math.atanh(2 * math.log(spread) / WIDEST) / 2 / SPEED
        self.log_scale = nn.Parameter(torch.tensor(start)) if likelihood == "gaussian" else None

    def forward(self, output: Tensor, x: Tensor) -> Tensor:
        """Compute -log p(x|z) in nats.  [n ...], [n ...] -> [n]"""
        if self.raster is not None:
            output = self.raster(output, x)
        if self.log_scale is None:
            return bernoulli(output, x)
        return gaussian(output, x, bounded(2 * SPEED * self.log_scale))

    def mean(self, output: Tensor) -> Tensor:
        """Return the mean of p(x|z).  [n ...] -> items on the unit scale [n ...]

        Not available for an autoregressive decoder, for which it would take one pass per pixel.
        """
        return output.sigmoid() if self.log_scale is None else output


TOO_LITTLE_IN_CODES = "a smaller --beta, a weaker decoder, or crvae, which keeps codes apart"
NO_INFORMATION = Sign(
    ("kl",),
    "the posterior has collapsed",
    "the divergence from the prior is {kl:.2g} nats",
    TOO_LITTLE_IN_CODES,
    "kl",
    below=0.5,
    of="collapse",
)
FEW_ACTIVE_UNITS = Sign(
    ("active_units",),
    "most of the code is silent",
    "{active_units:.1%} of the code's dimensions vary from item to item",
    TOO_LITTLE_IN_CODES,
    "units",
    below=0.25,
    of="collapse",
)


class VAE(Method):
    """VAE.

    dim: width of the code, at most the number of values of an item
    beta: weight of the KL divergence; above 1, codes carry less information and more of their dimensions are inactive
    likelihood: distribution of an item given its code; default: "bernoulli" for images of one channel, else "gaussian"
    autoregressive: whether the decoder also receives the pixels before each pixel; the likelihood is then higher, and
        the codes carry less information, possibly none; such a run cannot reconstruct or sample
    """

    requires = ("vectors",)
    signs = (NO_INFORMATION, FEW_ACTIVE_UNITS)
    constrains_codes = "--beta"

    def __init__(
        self,
        encoder: Encoder,
        decoder: nn.Module,
        *,
        dim: Annotated[int, Ge(1)] = 64,
        beta: Annotated[float, Ge(0)] = 1.0,
        likelihood: Literal["bernoulli", "gaussian"] = Auto,
        autoregressive: bool = False,
    ):
        super().__init__(encoder)
        self.decoder = decoder
        self.dim = dim
        self.beta = beta
        self.likelihood = likelihood
        self.autoregressive = autoregressive
        self.density = Density(likelihood, encoder.input.spec, autoregressive=autoregressive)

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        encoder, decoder, options = coder_and_decoder(context, options)
        return cls(encoder, decoder, **options)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        x = self.encoder.input.unit(batch.x)
        _, rebuild, kl = terms(self.encoder(x), x, noise_of(batch, at, self.dim), self.decoder, self.density)
        return {"loss": rebuild + self.beta * kl, "rebuild": rebuild, "kl": kl}

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
        return code_vitals(*self.posterior(batch))


def posterior_of(encoder: Encoder, batch: Batch) -> tuple[Tensor, Tensor]:
    """Mean and log variance of each item's code.  -> [n d], [n d]"""
    return posterior(encoder(encoder.input.unit(batch.x)))


def terms(
    output: Tensor, x: Tensor, noise: Tensor, decoder: nn.Module, density: Density
) -> tuple[Tensor, Tensor, Tensor]:
    """The draw z, and means over items of -log p(x|z) and of the KL divergence.

    output: of the encoder, [n 2d];  x: what is rebuilt, [n ...];  noise: [n d] -> [n d], [], []
    """
    z, divergence = cloud(output, noise)
    return z, density(decoder(z), x).mean(), divergence.mean()


@torch.no_grad()
def importance_bound(encoder: Encoder, decoder: nn.Module, density: Density, batch: Batch, k: int) -> Tensor:
    """Compute the bound on log p(x) of k samples.  code: mean and log variance, [n d] each;  index: [n] -> [n]"""
    x, code = encoder.input.unit(batch.x), posterior_of(encoder, batch)
    keys, weights = Keys.of(0, 0, batch.index), []
    for draw in range(k):
        noise = keys.fold("bound", draw).normal(code[0].shape[1])
        weights.append(log_weight(density(decoder(drawn(*code, noise)), x), *code, noise))
    return iwae(torch.stack(weights))
