"""A Boltzmann machine with two sides and no connections within a side: the common part of RBM, DBN and DBM.

With visible units v, hidden units h in {0, 1}, weights W, biases b and c:

    E(v, h) = -b . v - c . h - h . W v        if v is binary;  |v - b|^2 / 2 replaces -b . v if v is normal
    p(h_j = 1 | v) = sigmoid((W v + c)_j)     p(v_i = 1 | h) = sigmoid((h W + b)_i),  or v_i | h ~ N((h W + b)_i, 1)
    F(v) = -log sum_h exp(-E(v, h)) = -b . v - sum_j softplus((W v + c)_j)

A side can represent k equal copies of itself that share their weights. Its state is then the sum of the copies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from salience.batch import Progress
from salience.methods.precision import full_precision
from salience.views.random import mix_int


@dataclass(frozen=True)
class Machine:
    """weight: [hidden visible];  visible_bias: [visible];  hidden_bias: [hidden]

    gaussian: number of visible units, from the first, that are normal with variance 1; the others are binary
    visible_copies, hidden_copies: number of equal copies of a side
    """

    weight: Tensor
    visible_bias: Tensor
    hidden_bias: Tensor
    gaussian: int = 0
    visible_copies: int = 1
    hidden_copies: int = 1

    def detached(self) -> Machine:
        """Return the same machine without gradients, for sampling.

        This is needed under no_grad too: autocast would cache a copy of the weights without a gradient for the loss.
        """
        parts = (self.weight, self.visible_bias, self.hidden_bias)
        weight, visible_bias, hidden_bias = (part.detach() for part in parts)
        return replace(self, weight=weight, visible_bias=visible_bias, hidden_bias=hidden_bias)

    def into_hidden(self, v: Tensor) -> Tensor:
        """Compute W v + c, in autocast's precision.  [n visible] -> [n hidden]"""
        return F.linear(v, self.weight, self.hidden_bias)

    def hidden(self, v: Tensor) -> Tensor:
        """Compute p(h = 1 | v).  [n visible] -> [n hidden]"""
        return self.into_hidden(v).to(self.weight.dtype).sigmoid()

    def visible(self, h: Tensor) -> Tensor:
        """Compute the mean of a visible copy given the hidden units.  [n hidden] -> [n visible]"""
        return self.visible_mean(torch.addmm(self.visible_bias, h, self.weight).to(self.weight.dtype))

    def visible_mean(self, inputs: Tensor) -> Tensor:
        """Compute the mean of a visible copy from its inputs h W + b.  [n visible] -> [n visible]"""
        if self.gaussian == 0:
            return inputs.sigmoid()
        return torch.cat([inputs[:, : self.gaussian], inputs[:, self.gaussian :].sigmoid()], dim=1)

    def draw_hidden(self, p: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Sample hidden states (0 or 1, or the sum of the copies) from probabilities [n hidden]."""
        return drawn(p, self.hidden_copies, generator)

    def draw_visible(self, mean: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Sample visible states (or the sum of the copies) from means [n visible]."""
        k, normal = self.visible_copies, mean[:, : self.gaussian]
        if not self.gaussian:
            return drawn(mean, k, generator)
        noise = torch.randn(normal.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return torch.cat([k * normal + math.sqrt(k) * noise, drawn(mean[:, self.gaussian :], k, generator)], dim=1)

    def gibbs(self, h: Tensor, steps: int, generator: torch.Generator | None = None) -> Tensor:
        """Sample v given h, `steps` times, with h given v in between.  [n hidden] -> [n visible]"""
        v = self.draw_visible(self.visible(h), generator)
        for _ in range(steps - 1):
            h = self.draw_hidden(self.hidden(v), generator)
            v = self.draw_visible(self.visible(h), generator)
        return v

    def free_energy(self, v: Tensor, inputs: Tensor | None = None) -> Tensor:
        """Compute F(v).  [n visible] -> [n].  inputs: W v + c [n hidden], if it is already computed"""
        inputs = self.into_hidden(v) if inputs is None else inputs
        return self.visible_energy(v) - self.hidden_copies * log_of_sum(inputs)

    def visible_energy(self, v: Tensor) -> Tensor:
        """Compute the part of E(v, h) that does not depend on h.  [n visible] -> [n]"""
        return visible_energy(v, self.visible_bias, gaussian=self.gaussian, copies=self.visible_copies)


@full_precision
def log_of_sum(inputs: Tensor) -> Tensor:
    """Compute log sum_h exp(h . inputs).  [n hidden] -> [n]"""
    return F.softplus(inputs).sum(dim=1)


@full_precision
def visible_energy(v: Tensor, bias: Tensor, *, gaussian: int, copies: int) -> Tensor:
    """Compute -b . v, or for the first `gaussian` units |v - b|^2 / 2 (|v - k b|^2 / 2k for a sum of k copies).

    [n visible] -> [n]
    """
    if not gaussian:
        return -(v @ bias)
    squares = (v[:, :gaussian] - copies * bias[:gaussian]).square().sum(dim=1) / (2 * copies)
    return squares - v[:, gaussian:] @ bias[gaussian:]


def drawn(p: Tensor, copies: int = 1, generator: torch.Generator | None = None) -> Tensor:
    """Sample how many of `copies` independent units are on, each with probability p."""
    on = torch.rand(p.shape, generator=generator, dtype=p.dtype, device=p.device).lt_(p)
    for _ in range(copies - 1):
        on += torch.rand(p.shape, generator=generator, dtype=p.dtype, device=p.device).lt_(p)
    return on


def shared_noise(at: Progress, device: torch.device) -> torch.Generator | None:
    """Return a generator that is equal on all processes in a step, so that chains need no communication."""
    if device.type == "meta":  # counting operations needs no samples
        return None
    generator = torch.Generator(device)
    generator.manual_seed(mix_int(mix_int(at.seed) + at.step))
    return generator


def first_states(chains: int, hidden: int) -> Tensor:
    """Return the initial states of persistent chains: random hidden units, equal on all processes."""
    return drawn(torch.full((chains, hidden), 0.5), generator=torch.Generator().manual_seed(0))


def moved(chains: int, rows: int, at: Progress) -> slice:
    """Return which chains a step updates: at most as many as it has rows over all processes, in turn."""
    parts = math.ceil(chains / (rows * at.world))
    part = at.step % parts
    return slice(part * chains // parts, (part + 1) * chains // parts)


class Layer(nn.Module):
    """The parameters of a binary machine with separate biases on both sides and Glorot's initial weights."""

    def __init__(self, visible: int, hidden: int):
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(hidden, visible)))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))

    def machine(self, *, gaussian: int = 0) -> Machine:
        return Machine(self.weight, self.visible_bias, self.hidden_bias, gaussian)
