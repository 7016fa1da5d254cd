"""Annealed importance sampling against log Z by every state, and by numeric integration."""

from __future__ import annotations

import math

import pytest
import torch

from salience.errors import UserError
from salience.evaluation.annealing import (
    energy,
    first_draw,
    gibbs_step,
    log_partition,
    log_partition_of_base,
    machine_of,
    temperatures,
)
from salience.methods import Context
from salience.methods.boltzmann.dbm import DBM
from salience.methods.boltzmann.rbm import RBM
from salience.modalities.image.spec import ImageSpec
from tests.methods.enumeration import all_states, log_z, random_machine

TINY = ImageSpec((1, 2, 2), "float32", 0.0, 1.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("spacing", ["linear", "geometric"])
@pytest.mark.parametrize("own_base", [True, False])
def test_the_log_z_of_an_rbm(spacing: str, own_base: bool) -> None:
    machine = random_machine(5, 4, seed=1, scale=1.5).detached()
    base = None if own_base else torch.linspace(-1, 2, 5, dtype=torch.float64)
    found = log_partition(machine, chains=500, steps=300, spacing=spacing, base=base, generator=seeded())  # type: ignore[arg-type]
    exact = float(log_z(machine))
    assert abs(found.log_z - exact) < min(3 * found.error, 0.1)
    assert 0 < found.error < 0.05


@pytest.mark.parametrize("depth", [2, 3])
def test_the_log_z_of_a_dbm_by_all_states_of_all_its_layers(depth: int) -> None:
    torch.manual_seed(2)
    method = DBM.build(Context(TINY, 10), hidden=2, depth=depth).double()
    with torch.no_grad():
        for parameter in method.net.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64) * 1.2)
    weights, biases = list(method.net.weights), list(method.net.biases)
    layers = all_states(4 + 2 * depth).split([4] + [2] * depth, dim=1)
    scores = sum(layer @ bias for layer, bias in zip(layers, biases, strict=True))
    for number, weight in enumerate(weights):
        scores = scores + ((layers[number + 1] @ weight) * layers[number]).sum(dim=1)
    found = log_partition(machine_of(method), chains=500, steps=300, generator=seeded())
    assert abs(found.log_z - scores.logsumexp(dim=0).item()) < min(3 * found.error, 0.1)


def test_the_log_z_of_normal_units_by_numeric_integration() -> None:
    machine = random_machine(2, 3, seed=3, gaussian=2).detached()
    axis = torch.linspace(-14, 14, 561, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    exact = float((-machine.free_energy(points)).logsumexp(dim=0)) + 2 * math.log(float(axis[1] - axis[0]))
    base = torch.tensor([0.5, -0.5], dtype=torch.float64)
    found = log_partition(machine, chains=500, steps=500, base=base, generator=seeded())
    assert abs(found.log_z - exact) < min(3 * found.error, 0.1)
    nothing = machine.__class__(0 * machine.weight, machine.visible_bias, 0 * machine.hidden_bias, 2)
    assert log_partition(nothing, chains=9, steps=1).log_z == pytest.approx(math.log(2 * math.pi) + 3 * math.log(2))


def test_one_step_is_plain_importance_sampling_whose_weights_mean_z_over_z_0() -> None:
    machine = random_machine(4, 3, seed=4).detached()
    base, v = torch.tensor([0.3, -1.0, 0.0, 2.0], dtype=torch.float64), all_states(4)
    inputs = machine.into_hidden(v)
    start, end = energy(machine, base, v, inputs, 0.0), energy(machine, base, v, inputs, 1.0)
    log_z_0 = log_partition_of_base(machine, base)
    assert float((-start).logsumexp(dim=0)) == pytest.approx(log_z_0)
    torch.testing.assert_close(end, machine.free_energy(v))
    chance = torch.where(v == 1, base.sigmoid(), 1 - base.sigmoid()).prod(dim=1)
    torch.testing.assert_close(chance, (-start).softmax(dim=0))
    mean_weight = float((chance * (start - end).exp()).sum())
    assert log_z_0 + math.log(mean_weight) == pytest.approx(float(log_z(machine)))
    found = log_partition(machine, chains=50, steps=1, base=base, generator=seeded(5))
    drawn = first_draw(machine, base, 50, seeded(5))
    weights = (energy(machine, base, drawn, machine.into_hidden(drawn), 0.0) - machine.free_energy(drawn)).exp()
    assert found.log_z == pytest.approx(log_z_0 + math.log(float(weights.mean())))
    assert found.error == pytest.approx(float(weights.std() / weights.mean() / math.sqrt(50)))


@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_a_move_at_a_temperature_leaves_its_distribution_as_it_is(t: float) -> None:
    machine = random_machine(3, 3, seed=6, scale=1.5).detached()
    base, v = torch.tensor([0.3, -1.0, 0.6], dtype=torch.float64), all_states(3)
    p = (-energy(machine, base, v, machine.into_hidden(v), t)).softmax(dim=0)
    generator, many = seeded(7), 200_000
    states = v[torch.multinomial(p, many, replacement=True, generator=generator)]
    after = gibbs_step(machine, base, machine.into_hidden(states), t, generator)
    shares = torch.bincount((after @ torch.tensor([4.0, 2.0, 1.0]).double()).long(), minlength=8) / many
    torch.testing.assert_close(shares.double(), p, rtol=0, atol=0.005)


def test_temperatures_rise_from_0_to_1() -> None:
    assert temperatures(4, "linear") == [0, 0.25, 0.5, 0.75, 1]
    assert temperatures(3, "geometric") == pytest.approx([0, 1e-4, 1e-2, 1])
    assert temperatures(1, "geometric") == temperatures(1, "linear") == [0, 1]


def test_an_rbm_is_its_own_machine_and_too_few_chains_are_refused() -> None:
    method = RBM.build(Context(TINY, 10), hidden=3)
    found = log_partition(machine_of(method), chains=50, steps=50, generator=seeded())
    states = torch.tensor(all_states(4).numpy(), dtype=torch.float32)
    exact = (-method.machine().free_energy(states)).logsumexp(dim=0).item()
    assert found.log_z == pytest.approx(exact, abs=0.02)  # hardly any weights: exact at once
    with pytest.raises(UserError, match=r"^chains, steps: 1 and 5"):
        log_partition(machine_of(method), chains=1, steps=5)
