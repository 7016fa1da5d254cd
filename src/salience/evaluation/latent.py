"""What codes drawn from a posterior q(z|x) know of their items, and how likely the items are, in nats.

active units         dimensions whose posterior mean varies over items by more than 0.01 (Burda et al. 2015,
                     https://arxiv.org/abs/1509.00519)
mutual information   E[log q(z|x) - log q(z)] with q(z) the mean of all n posteriors, each item's own among them
                     (Hoffman & Johnson 2016, "ELBO surgery"): 0 where all posteriors are the same, log n where none
                     meets another's; so log n also limits what n items can show
bound                on log p(x), from k draws of each item (Burda et al. 2015)
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from salience.batch import Batch
from salience.data import Dataset
from salience.measures.intervals import Metric
from salience.measures.intervals import mean as mean_of
from salience.methods.generative.vae import ACTIVE, active

ROWS = 256  # items that pass a network, or are compared with all others, at once


class Codes(Protocol):
    """A method whose codes are clouds."""

    device: torch.device

    def posterior(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean and log variance, [n d] each."""


class Rates(Protocol):
    """A method that bounds the likelihood of items."""

    device: torch.device

    def log_likelihood(self, batch: Batch, k: int) -> Tensor:
        """Of each item, in nats, [n]."""


@torch.no_grad()
def posteriors(method: Codes, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Mean and log variance of every item's code, [n d] each. The method is in eval mode."""
    means, log_variances = zip(
        *(method.posterior(batch.to(method.device)) for batch in dataset.chunks(ROWS)), strict=True
    )
    return torch.cat(means), torch.cat(log_variances)


def active_units(mean: Tensor, threshold: float = ACTIVE) -> int:
    """How many dimensions of a code are in use.  mean: [n d] of the posteriors"""
    return int(active(mean, threshold).sum())


def mutual_information(mean: Tensor, log_variance: Tensor, noise: Tensor | None = None) -> Tensor:
    """Between items and codes, estimated from draws of each item's code.  [n d], [n d] -> [], in nats, at most log n"""
    return information(mean, log_variance, noise).mean()


def information(mean: Tensor, log_variance: Tensor, noise: Tensor | None = None) -> Tensor:
    """log q(z|x) - log q(z) of each draw, whose mean is the mutual information.  [n d], [n d] -> [draws·n]

    noise: [draws n d] standard normals that make the draws; by default one draw of each item, always the same
    """
    mean, log_variance = mean.double(), log_variance.double()
    if noise is None:
        noise = torch.randn(1, *mean.shape, generator=torch.Generator().manual_seed(0)).to(mean)
    z = (mean + (0.5 * log_variance).exp() * noise.double()).flatten(0, 1)  # [draws n d]
    own = -0.5 * (noise.double().square() + log_variance).sum(dim=2).flatten()  # log q(z|x), without the constant
    all_of = [log_densities(part, mean, log_variance).logsumexp(dim=1) for part in z.split(ROWS)]
    return own - torch.cat(all_of) + math.log(len(mean))


def log_densities(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Of each z under each posterior, without the constant d/2 log 2 pi.  [m d], [n d], [n d] -> [m n]"""
    precision = (-log_variance).exp()
    squares = z.square() @ precision.T - 2 * z @ (mean * precision).T + (mean.square() * precision).sum(dim=1)
    return -0.5 * (squares + log_variance.sum(dim=1))


@torch.no_grad()
def bound(method: Rates, dataset: Dataset, k: int = 50) -> Metric:
    """On the mean log-likelihood of the items, in nats each, with its 95 % interval. The method is in eval mode."""
    rated = torch.cat([method.log_likelihood(batch.to(method.device), k) for batch in dataset.chunks(ROWS)])
    return mean_of(rated.double().cpu().numpy())
