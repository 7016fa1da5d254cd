"""A Boltzmann machine with two sides and no connections within a side: what RBMs, DBNs and DBMs are made of.

With visible units v, hidden units h in {0, 1}, weights W, biases b and c:

    E(v, h) = -b . v - c . h - h . W v        where v is binary;  |v - b|^2 / 2 in place of -b . v where it is normal
    p(h_j = 1 | v) = sigmoid((W v + c)_j)     p(v_i = 1 | h) = sigmoid((h W + b)_i),  or v_i | h ~ N((h W + b)_i, 1)
    F(v) = -log sum_h exp(-E(v, h)) = -b . v - sum_j softplus((W v + c)_j)

A side may stand for k equal copies of itself that share their weights: its state is then their sum.
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

    gaussian: so many visible units, the first ones, are normal with variance 1, the others binary
    visible_copies, hidden_copies: equal copies of a side
    """

    weight: Tensor
    visible_bias: Tensor
    hidden_bias: Tensor
    gaussian: int = 0
    visible_copies: int = 1
    hidden_copies: int = 1

    def detached(self) -> Machine:
        """The same without gradients, for sampling.

        Needed under no_grad too: autocast would keep a copy of the weights made there, and the loss get no gradient.
        """
        parts = (self.weight, self.visible_bias, self.hidden_bias)
        weight, visible_bias, hidden_bias = (part.detach() for part in parts)
        return replace(self, weight=weight, visible_bias=visible_bias, hidden_bias=hidden_bias)

    def into_hidden(self, v: Tensor) -> Tensor:
        """W v + c, in the precision autocast gives products.  [n visible] -> [n hidden]"""
        return F.linear(v, self.weight, self.hidden_bias)

    def hidden(self, v: Tensor) -> Tensor:
        """p(h = 1 | v).  [n visible] -> [n hidden]"""
        return self.into_hidden(v).to(self.weight.dtype).sigmoid()

    def visible(self, h: Tensor) -> Tensor:
        """The mean of a visible copy given the hidden units.  [n hidden] -> [n visible]"""
        return self.visible_mean(torch.addmm(self.visible_bias, h, self.weight).to(self.weight.dtype))

    def visible_mean(self, inputs: Tensor) -> Tensor:
        """h W + b -> the mean of a visible copy.  [n visible] -> [n visible]"""
        if self.gaussian == 0:
            return inputs.sigmoid()
        return torch.cat([inputs[:, : self.gaussian], inputs[:, self.gaussian :].sigmoid()], dim=1)

    def draw_hidden(self, p: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """[n hidden] probabilities -> 0 or 1, or the sum of the copies"""
        return drawn(p, self.hidden_copies, generator)

    def draw_visible(self, mean: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """[n visible] means -> states, or the sum of the copies"""
        k, normal = self.visible_copies, mean[:, : self.gaussian]
        if not self.gaussian:
            return drawn(mean, k, generator)
        noise = torch.randn(normal.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return torch.cat([k * normal + math.sqrt(k) * noise, drawn(mean[:, self.gaussian :], k, generator)], dim=1)

    def gibbs(self, h: Tensor, steps: int, generator: torch.Generator | None = None) -> Tensor:
        """Visible states after `steps` times v given h, with h given v in between.  [n hidden] -> [n visible]"""
        v = self.draw_visible(self.visible(h), generator)
        for _ in range(steps - 1):
            h = self.draw_hidden(self.hidden(v), generator)
            v = self.draw_visible(self.visible(h), generator)
        return v

    def free_energy(self, v: Tensor, inputs: Tensor | None = None) -> Tensor:
        """[n visible] -> [n].  inputs: their W v + c [n hidden], where it is known already"""
        inputs = self.into_hidden(v) if inputs is None else inputs
        return self.visible_energy(v) - self.hidden_copies * log_of_sum(inputs)

    def visible_energy(self, v: Tensor) -> Tensor:
        """What E(v, h) has without h.  [n visible] -> [n]"""
        return visible_energy(v, self.visible_bias, gaussian=self.gaussian, copies=self.visible_copies)


@full_precision
def log_of_sum(inputs: Tensor) -> Tensor:
    """log sum_h exp(h . inputs).  [n hidden] -> [n]"""
    return F.softplus(inputs).sum(dim=1)


@full_precision
def visible_energy(v: Tensor, bias: Tensor, *, gaussian: int, copies: int) -> Tensor:
    """-b . v, but |v - b|^2 / 2 over the first `gaussian` units; |v - k b|^2 / 2k for a sum of k copies.

    [n visible] -> [n]
    """
    if not gaussian:
        return -(v @ bias)
    squares = (v[:, :gaussian] - copies * bias[:gaussian]).square().sum(dim=1) / (2 * copies)
    return squares - v[:, gaussian:] @ bias[gaussian:]


def drawn(p: Tensor, copies: int = 1, generator: torch.Generator | None = None) -> Tensor:
    """How many of `copies` independent units are on, each with probability p."""
    on = torch.rand(p.shape, generator=generator, dtype=p.dtype, device=p.device).lt_(p)
    for _ in range(copies - 1):
        on += torch.rand(p.shape, generator=generator, dtype=p.dtype, device=p.device).lt_(p)
    return on


def shared_noise(at: Progress, device: torch.device) -> torch.Generator | None:
    """Noise of a step that all processes draw alike, so that each moves all chains and none need send any."""
    if device.type == "meta":  # where operations are counted, nothing is drawn
        return None
    generator = torch.Generator(device)
    generator.manual_seed(mix_int(mix_int(at.seed) + at.step))
    return generator


def first_states(chains: int, hidden: int) -> Tensor:
    """Where persistent chains begin: hidden units on or off at random, the same on all processes."""
    return drawn(torch.full((chains, hidden), 0.5), generator=torch.Generator().manual_seed(0))


def moved(chains: int, rows: int, at: Progress) -> slice:
    """Which chains a step moves: all, or where it has fewer rows on all processes at most as many, part after part."""
    parts = math.ceil(chains / (rows * at.world))
    part = at.step % parts
    return slice(part * chains // parts, (part + 1) * chains // parts)


class Layer(nn.Module):
    """The parameters of a binary machine with its own biases on both sides, weights as Glorot and Bengio draw them."""

    def __init__(self, visible: int, hidden: int):
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(hidden, visible)))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))

    def machine(self, *, gaussian: int = 0) -> Machine:
        return Machine(self.weight, self.visible_bias, self.hidden_bias, gaussian)
