"""Boltzmann machines of a few units, taken apart: every state in turn, in float64, from the energy alone."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from salience.methods.boltzmann._machine import Machine

CHANCE = 6.3e-5  # that something random is farther off than four standard errors


def all_states(units: int) -> Tensor:
    """[2^units units], 0 or 1, float64"""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=units)), dtype=torch.float64).reshape(-1, units)


def random_machine(visible: int, hidden: int, *, seed: int = 0, scale: float = 1.0, gaussian: int = 0) -> Machine:
    """Parameters that want gradients."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((hidden, visible), (visible,), (hidden,))
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) * scale for shape in shapes]
    weight, visible_bias, hidden_bias = (part.requires_grad_() for part in drawn)
    return Machine(weight, visible_bias, hidden_bias, gaussian)


def parameters(machine: Machine) -> tuple[Tensor, Tensor, Tensor]:
    return machine.weight, machine.visible_bias, machine.hidden_bias


def energies(machine: Machine, v: Tensor, h: Tensor) -> Tensor:
    """E(v, h) of all pairs, unit by unit.  [n visible], [m hidden] -> [n m]"""
    weight, b, c = parameters(machine)
    rows = []
    for x in v:
        row = []
        for y in h:
            energy = torch.zeros((), dtype=v.dtype)
            for i in range(len(b)):
                energy = energy + ((x[i] - b[i]) ** 2 / 2 if i < machine.gaussian else -b[i] * x[i])
            for j in range(len(c)):
                energy = energy - c[j] * y[j] - sum(y[j] * weight[j, i] * x[i] for i in range(len(b)))
            row.append(energy)
        rows.append(torch.stack(row))
    return torch.stack(rows)


def log_joint(machine: Machine) -> Tensor:
    """log p(v, h) of a binary machine, [2^visible 2^hidden]"""
    scores = -energies(machine, all_states(len(machine.visible_bias)), all_states(len(machine.hidden_bias)))
    return scores - scores.logsumexp(dim=(0, 1))


def log_z(machine: Machine) -> Tensor:
    v, h = all_states(len(machine.visible_bias)), all_states(len(machine.hidden_bias))
    return (-energies(machine, v, h)).logsumexp(dim=(0, 1))


def flat(gradients: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])


def gradient(value: Tensor, machine: Machine) -> Tensor:
    return flat(torch.autograd.grad(value, parameters(machine), retain_graph=True))


def number_of(states: Tensor) -> Tensor:
    """Where each state stands in `all_states`.  [n units] -> [n] int64"""
    places = 2 ** torch.arange(states.shape[1] - 1, -1, -1)
    return (states.long() * places).sum(dim=1)
