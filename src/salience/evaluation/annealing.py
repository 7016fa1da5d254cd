"""Annealed importance sampling: an estimate of log Z, what a Boltzmann machine's likelihood lacks.

Neal 2001, https://arxiv.org/abs/physics/9803008; for RBMs Salakhutdinov & Murray 2008,
https://doi.org/10.1145/1390156.1390266. Between a machine without weights, whose Z is known, and the one in question:

    log p_t(v) = -F_t(v) - log Z_t,    W_t = t W,  c_t = t c,  b_t = (1 - t) base + t b,    0 = t_0 < .. < t_K = 1
    v_1 ~ p_0,   v_{k+1} ~ Gibbs sampling of p_{t_k} from v_k,   w = prod_k exp(F_{t_{k-1}}(v_k) - F_{t_k}(v_k))

E[w] = Z / Z_0 for any K. The logarithm of a mean of w is below log Z on average, and less so the more chains and steps.
A DBM is an RBM as well: even layers on one side, odd ones on the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from salience.errors import UserError
from salience.methods.boltzmann._machine import Machine, drawn, log_of_sum, visible_energy
from salience.methods.boltzmann.dbm import DBM
from salience.methods.boltzmann.rbm import RBM

COLDEST = 1e-4  # the first temperature above 0 where they grow by a factor


@dataclass(frozen=True)
class LogPartition:
    """log_z: the estimate, in nats;  error: its standard error, from how much the chains' weights differ"""

    log_z: float
    error: float


def machine_of(method: RBM | DBM) -> Machine:
    """The method's distribution over its visible units, or over those of its even layers."""
    machine = method.net.machine() if isinstance(method, DBM) else method.machine()
    return machine.detached()


@torch.no_grad()
def log_partition(
    machine: Machine,
    *,
    chains: int = 256,
    steps: int = 1000,
    spacing: Literal["linear", "geometric"] = "linear",
    base: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> LogPartition:
    """log Z of a machine, which is log sum_v exp(-F(v)), an integral over normal units.

    steps: K, from the base to the machine;  spacing: of t, evenly or by a factor from 0.0001 on
    base: [visible] biases to start from, best those of the data's means; otherwise the machine's own
    Errors: UserError where one chain or no step would tell nothing.
    """
    if chains < 2 or steps < 1:
        raise UserError(f"chains, steps: {chains} and {steps} give no estimate with an error; at least 2 and 1")
    base = machine.visible_bias if base is None else base
    v = first_draw(machine, base, chains, generator)
    log_w = v.new_zeros(chains, dtype=torch.float64)
    for before, t in pairwise(temperatures(steps, spacing)):
        inputs = machine.into_hidden(v)
        log_w += (energy(machine, base, v, inputs, before) - energy(machine, base, v, inputs, t)).double()
        if t < 1:
            v = gibbs_step(machine, base, inputs, t, generator)
    ratio = (log_w - log_w.max()).exp()
    log_z = log_partition_of_base(machine, base) + float(torch.logsumexp(log_w, dim=0)) - math.log(chains)
    return LogPartition(log_z, float(ratio.std() / ratio.mean() / math.sqrt(chains)))


def temperatures(steps: int, spacing: Literal["linear", "geometric"]) -> list[float]:
    """t_0 = 0 .. t_K = 1"""
    if spacing == "linear" or steps == 1:
        return [step / steps for step in range(steps + 1)]
    return [0.0, *(COLDEST ** ((steps - step) / (steps - 1)) for step in range(1, steps + 1))]


def bias_at(machine: Machine, base: Tensor, t: float) -> Tensor:
    return torch.lerp(base, machine.visible_bias, t)


def energy(machine: Machine, base: Tensor, v: Tensor, inputs: Tensor, t: float) -> Tensor:
    """F_t(v).  v: [n visible];  inputs: [n hidden], W v + c -> [n]"""
    return visible_energy(v, bias_at(machine, base, t), gaussian=machine.gaussian, copies=1) - log_of_sum(t * inputs)


def gibbs_step(machine: Machine, base: Tensor, inputs: Tensor, t: float, generator: torch.Generator | None) -> Tensor:
    """One step of Gibbs sampling of p_t.  inputs: [n hidden], W v + c -> v, [n visible]"""
    h = drawn((t * inputs).sigmoid(), generator=generator)
    return machine.draw_visible(machine.visible_mean(t * (h @ machine.weight) + bias_at(machine, base, t)), generator)


def first_draw(machine: Machine, base: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """v ~ p_0, [n visible]"""
    return machine.draw_visible(machine.visible_mean(base.expand(n, -1)), generator)


def log_partition_of_base(machine: Machine, base: Tensor) -> float:
    """log Z_0: independent units; hidden ones contribute log 2 each."""
    normal, binary = machine.gaussian, base[machine.gaussian :].double()
    of_binary = float(torch.nn.functional.softplus(binary).sum())
    return of_binary + normal / 2 * math.log(2 * math.pi) + len(machine.hidden_bias) * math.log(2)
