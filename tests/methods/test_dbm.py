"""The DBM: its bound and its gradients against every state of small machines, and how its layers come together."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from salience.batch import Batch, Progress
from salience.methods import Context
from salience.methods.boltzmann._machine import Machine, shared_noise
from salience.methods.boltzmann._net import Net
from salience.methods.boltzmann.dbm import DBM
from salience.methods.boltzmann.rbm import contrastive_divergence
from salience.modalities.image.spec import ImageSpec
from salience.modalities.table.spec import Column, TableSpec
from tests import contract
from tests.methods.enumeration import CHANCE, all_states, energies, number_of, random_machine

TINY = ImageSpec((1, 2, 2), "float32", 0.0, 1.0)
TABLE = TableSpec((3,), "float32", columns=(Column("a", mean=1.0, std=2.0), Column("b"), Column("c")))


def random_net(*widths: int, seed: int = 0, passes: int = 200, gaussian: int = 0, scale: float = 0.8) -> Net:
    torch.manual_seed(seed)
    net = Net(list(widths), gaussian, passes).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64) * scale)
    return net


def score(net: Net, layers: list[Tensor]) -> Tensor:
    """-E of one state, by the paper's sums; a visible unit may be normal."""
    total = torch.zeros((), dtype=torch.float64)
    for i, x in enumerate(layers[0]):
        total = total + (-((x - net.biases[0][i]) ** 2) / 2 if i < net.gaussian else net.biases[0][i] * x)
    for bias, h in zip(list(net.biases)[1:], layers[1:], strict=True):
        total = total + (bias * h).sum()
    for number, weight in enumerate(net.weights):
        total = total + layers[number + 1] @ weight @ layers[number]
    return total


def hidden_states(net: Net) -> list[list[Tensor]]:
    """Every state of the hidden layers, layer by layer."""
    widths = [len(bias) for bias in net.biases][1:]
    return [list(state.split(widths)) for state in all_states(sum(widths))]


def log_of_sum(net: Net, v: Tensor) -> Tensor:
    """log p(v) + log Z, by every hidden state.  [n visible] -> [n]"""
    hidden = hidden_states(net)
    return torch.stack([torch.stack([score(net, [x, *h]) for h in hidden]).logsumexp(dim=0) for x in v])


SHAPES = [(3, 2, 2), (2, 2, 2, 2), (2, 1, 2, 1, 2)]


@pytest.mark.parametrize("widths", SHAPES)
def test_mean_field_ends_where_no_change_of_q_raises_the_bound(widths: tuple[int, ...]) -> None:
    net, v = random_net(*widths, seed=1), all_states(widths[0])
    q = [part.detach().requires_grad_() for part in net.mean_field(v)]
    slopes = torch.autograd.grad(net.bound(v, q).sum(), q)
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-8
    wrong = [part.detach().roll(1, dims=0).requires_grad_() for part in q]
    slopes = torch.autograd.grad(net.bound(v, wrong).sum(), wrong)
    assert max(float(slope.abs().max()) for slope in slopes) > 0.1


@pytest.mark.parametrize("widths", SHAPES)
def test_every_pass_raises_the_bound_which_stays_below_the_log_likelihood(widths: tuple[int, ...]) -> None:
    net, v = random_net(*widths, seed=2, scale=1.5), all_states(widths[0])
    exact, bounds = log_of_sum(net, v), []
    for passes in (0, 1, 2, 5, 50):
        net.passes = passes
        bounds.append(net.bound(v, net.mean_field(v)))
    for before, after in pairwise(bounds):
        assert (after >= before - 1e-12).all()
    assert (bounds[1] > bounds[0] + 1e-3).any()
    assert (bounds[-1] < exact - 1e-6).all()
    assert (bounds[-1] > exact - 2).all()


def test_mean_field_begins_with_a_pass_up_that_counts_double_what_is_not_there_yet() -> None:
    net, v = random_net(3, 2, 2, 2, seed=2, passes=0), all_states(3)
    below = v
    for layer, (q, factor) in enumerate(zip(net.mean_field(v), (2, 2, 1), strict=True)):
        below = 1 / (1 + (-factor * below @ net.weights[layer].T - net.biases[layer + 1]).exp())
        torch.testing.assert_close(q, below)


def test_the_bound_is_the_energy_and_entropy_of_q_by_every_state() -> None:
    net, v = random_net(3, 2, 2, seed=3), all_states(3)[2:5]
    generator = torch.Generator().manual_seed(0)
    q = [torch.rand(3, 2, generator=generator, dtype=torch.float64) for _ in range(2)]
    expected = torch.zeros(3, dtype=torch.float64)
    for n in range(3):
        for h in hidden_states(net):
            p = torch.stack([torch.where(s == 1, part[n], 1 - part[n]).prod() for s, part in zip(h, q, strict=True)])
            expected[n] += p.prod() * (score(net, [v[n], *h]) - p.prod().log())
    torch.testing.assert_close(net.bound(v, q), expected)


@pytest.mark.parametrize("gaussian", [0, 3])
def test_with_one_hidden_layer_the_bound_is_exact(gaussian: int) -> None:
    net = random_net(3, 4, seed=4, gaussian=gaussian)
    v = all_states(3) * 1.3 - 0.2
    torch.testing.assert_close(net.bound(v, net.mean_field(v)), log_of_sum(net, v))
    torch.testing.assert_close(net.bound(v, net.mean_field(v)), -net.machine().free_energy(v))


def even_and_odd(layers: list[Tensor]) -> tuple[Tensor, Tensor]:
    return torch.cat(layers[::2]), torch.cat(layers[1::2])


@pytest.mark.parametrize(("widths", "gaussian"), [((2, 2, 2), 0), ((2, 2, 1, 2), 2), ((1, 2, 1, 2, 1), 0)])
def test_even_and_odd_layers_are_the_two_sides_of_an_rbm(widths: tuple[int, ...], gaussian: int) -> None:
    net = random_net(*widths, seed=5, gaussian=gaussian)
    machine = net.machine()
    for state in all_states(sum(widths)):
        layers = list(state.split(list(widths)))
        even, odd = even_and_odd(layers)
        torch.testing.assert_close(energies(machine, even[None], odd[None])[0, 0], -score(net, layers))


def joint_of(net: Net) -> tuple[Tensor, Tensor]:
    """Scores of all states of a binary net, and the states.  [states], [states units]"""
    widths = [len(bias) for bias in net.biases]
    states = all_states(sum(widths))
    return torch.stack([score(net, list(state.split(widths))) for state in states]), states


def tiny_method(seed: int = 6, **options: object) -> DBM:
    torch.manual_seed(seed)
    method = DBM.build(Context(TINY, 100), **{"hidden": 2, "passes": 100, **options}).double()
    with torch.no_grad():
        for parameter in method.net.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64) * 0.8)
    return method


def test_the_joint_gradient_is_that_of_mean_field_energy_minus_model_energy() -> None:
    method = tiny_method(chains=16)
    v, at = all_states(4), Progress(3, 10)
    net, parts = method.net, list(method.net.parameters())
    ours = torch.autograd.grad(method.joint_loss(v, at)["loss"], parts)
    q = [part.detach() for part in net.mean_field(v)]
    data = -torch.stack([score(net, [v[n], *(part[n] for part in q)]) for n in range(16)]).mean()
    machine = net.machine().detached()
    even = machine.gibbs(method.states, method.steps, shared_noise(at, v.device))
    odd = machine.hidden(even)
    model = -torch.stack([score(net, [x[:4], y, x[4:]]) for x, y in zip(even, odd, strict=True)]).mean()
    for one, other in zip(ours, torch.autograd.grad(data - model, parts), strict=True):
        torch.testing.assert_close(one, other)


def test_with_the_models_own_states_the_gradient_is_that_of_the_bound_on_the_log_likelihood() -> None:
    """d/dtheta of mean bound - log Z by autograd through mean field and all states: at its fixed point q may move."""
    method = tiny_method(seed=7)
    net, v = method.net, all_states(4)[[1, 6, 6, 11]]
    parts = list(net.parameters())
    exact = net.bound(v, net.mean_field(v)).mean() - joint_of(net)[0].logsumexp(dim=0)
    expected = torch.autograd.grad(-exact, parts)
    even_states = all_states(6)
    p = (-net.machine().free_energy(even_states)).softmax(dim=0).detach()
    q = [part.detach() for part in net.mean_field(v)]
    ours = -net.bound(v, q).mean() - p @ net.machine().free_energy(even_states)
    for one, other in zip(torch.autograd.grad(ours, parts), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_persistent_states_and_samples_come_from_the_models_distribution() -> None:
    method = tiny_method(chains=4000, steps=1)
    scores, states = joint_of(method.net)
    p = scores.softmax(dim=0).detach()
    batch = Batch(all_states(4).repeat(250, 1).reshape(-1, 1, 2, 2), torch.arange(4000))
    for step in range(40):
        before = method.states.clone()
        method.joint_loss(method.values(batch), Progress(step, 40))
        assert torch.equal(method.states, before)
        method.after_step(Progress(step, 40))
    of_h1 = torch.zeros(4, dtype=torch.float64).index_add(0, number_of(states[:, 4:6]), p)
    counts = torch.bincount(number_of(method.states), minlength=4).numpy()
    assert stats.chisquare(counts, of_h1.numpy() * 4000).pvalue > CHANCE
    torch.manual_seed(0)
    items = method.sample(4000, steps=3).flatten(1)
    torch.testing.assert_close(items.mean(dim=0), p @ states[:, :4], rtol=0, atol=0.02)


def test_copies_of_a_side_are_an_rbm_that_has_them_all() -> None:
    once = random_machine(3, 2, seed=8)
    weight, b, c = once.weight, once.visible_bias, once.hidden_bias
    below = Machine(weight, b, c, visible_copies=2)
    both = Machine(torch.cat([weight, weight], dim=1), torch.cat([b, b]), c)
    v = all_states(6)
    together = v[:, :3] + v[:, 3:]
    torch.testing.assert_close(below.free_energy(together), both.free_energy(v))
    torch.testing.assert_close(below.hidden(together), both.hidden(v))
    h = all_states(2)
    torch.testing.assert_close(below.visible(h).repeat(1, 2), both.visible(h))
    above = Machine(weight, b, c, hidden_copies=2)
    both = Machine(torch.cat([weight, weight]), b, torch.cat([c, c]))
    torch.testing.assert_close(above.free_energy(v[:, :3]), both.free_energy(v[:, :3]))
    h = all_states(4)
    torch.testing.assert_close(above.visible(h[:, :2] + h[:, 2:]), both.visible(h))
    torch.manual_seed(0)
    for machine, draw in ((below, below.draw_visible), (above, above.draw_hidden)):
        p = torch.full((60_000, machine.weight.shape[0]), 0.3, dtype=torch.float64)
        shares = torch.bincount(draw(p).flatten().long(), minlength=3) / p.numel()
        torch.testing.assert_close(shares, torch.tensor([0.49, 0.42, 0.09]), rtol=0, atol=0.01)


def test_copies_of_normal_units_by_numeric_integration() -> None:
    """The sum s of two copies, their difference integrated out: e^-F(s) up to a factor that no parameter changes."""
    once = random_machine(1, 2, seed=9, gaussian=1).detached()
    machine = Machine(once.weight, once.visible_bias, once.hidden_bias, 1, visible_copies=2)
    axis, s = torch.linspace(-12, 12, 961, dtype=torch.float64), torch.tensor([[-1.0], [0.5], [2.0]]).double()
    first = axis[None].expand(3, -1)
    second = s - first
    squares = ((first - once.visible_bias) ** 2 + (second - once.visible_bias) ** 2) / 2
    inputs = (first + second)[:, :, None] * once.weight[:, 0] + once.hidden_bias
    density = (-squares + torch.nn.functional.softplus(inputs).sum(dim=2)).exp().sum(dim=1) * float(axis[1] - axis[0])
    gap = -density.log() - machine.free_energy(s)
    torch.testing.assert_close(gap, torch.full((3,), -np.log(np.pi) / 2, dtype=torch.float64))
    torch.manual_seed(0)
    drawn = machine.draw_visible(torch.full((100_000, 1), 0.7, dtype=torch.float64))
    assert (drawn.mean().item(), drawn.var().item()) == pytest.approx((1.4, 2.0), abs=0.03)


def layer_method(depth: int) -> DBM:
    torch.manual_seed(10)
    method = DBM.build(Context(TINY, 100), hidden=3, depth=depth).double()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64))
    return method


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_layers_learnt_one_by_one_meet_in_the_geometric_mean_of_what_each_says(depth: int) -> None:
    """What a unit of h_l does given both sides: the mean of the logits that the RBMs below and above it give."""
    method = layer_method(depth)
    v, states = all_states(4)[:8], all_states(3)
    rbms = [
        replace(m, weight=m.weight.clone(), hidden_bias=m.hidden_bias.clone()) for m in map(method.layer, range(depth))
    ]
    assert [m.visible_copies for m in rbms] == [2] + [1] * (depth - 1)
    assert [m.hidden_copies for m in rbms] == [1] * (depth - 1) + [2]
    with torch.no_grad():
        method.begin(depth)
    net = method.net
    for layer in range(1, depth):
        below = v if layer == 1 else states
        from_below = rbms[layer - 1].hidden(rbms[layer - 1].visible_copies * below).logit()
        from_above = rbms[layer].visible(rbms[layer].hidden_copies * states).logit()
        expected = (from_below + from_above) / 2
        inputs = below @ net.weights[layer - 1].T + states @ net.weights[layer] + net.biases[layer]
        torch.testing.assert_close(inputs, expected)
    torch.testing.assert_close(method.visible_of(states), rbms[0].visible(states))
    top = (states @ net.weights[-1].T + net.biases[-1]).sigmoid()
    torch.testing.assert_close(top, rbms[-1].hidden(states))


def test_each_layer_learns_from_the_probabilities_of_doubled_inputs() -> None:
    method = layer_method(3)
    batch = Batch(all_states(4).reshape(-1, 1, 2, 2), torch.arange(16))
    data = all_states(4)
    for stage in range(3):
        machine = method.layer(stage)
        torch.manual_seed(1)
        loss = method.stage_loss(stage, batch, Progress())["loss"]
        torch.manual_seed(1)
        torch.testing.assert_close(loss, contrastive_divergence(data * (1, 2)[stage == 0], machine, 1))
        twice = 2 if stage == 0 else 1
        data = (1 / (1 + (-twice * data @ machine.weight.T - machine.hidden_bias).exp())).detach()


def test_a_stage_leaves_the_other_layers_to_the_bit_until_all_learn_together() -> None:
    dataset = contract.dataset_for("dbm")
    torch.manual_seed(0)
    method = DBM.build(Context(dataset.spec, len(dataset)), hidden=6, depth=3)
    optimiser = torch.optim.AdamW(method.parameters(), lr=0.01, weight_decay=0.1)
    own = [
        {"encoder.body.weights.0", "encoder.body.biases.0", "encoder.body.biases.1"},
        {"encoder.body.weights.1", "lower_biases.0", "encoder.body.biases.2"},
        {"encoder.body.weights.2", "lower_biases.1", "encoder.body.biases.3"},
    ]
    all_layers = {f"encoder.body.weights.{layer}" for layer in range(3)}
    own.append({*all_layers, *(f"encoder.body.biases.{layer}" for layer in range(4)), "states"})
    for step in range(12):
        stage, _ = method.stage(Progress(step, 12))
        assert stage == min(step // 2, 3)
        before = {name: value.clone() for name, value in method.state_dict().items()}
        method.before_step(Progress(step, 12))
        optimiser.zero_grad()
        method.loss(dataset.batch(np.arange(step, step + 32)), Progress(step, 12))["loss"].backward()
        optimiser.step()
        method.after_step(Progress(step, 12))
        changed = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == own[stage]


def test_what_it_says_of_items() -> None:
    method = tiny_method(seed=11)
    v = all_states(4)
    batch = Batch(v.reshape(-1, 1, 2, 2), torch.arange(16))
    scores, _ = joint_of(method.net)
    log_p = log_of_sum(method.net, v) - scores.logsumexp(dim=0)
    torch.testing.assert_close(log_p.exp().sum(), torch.ones((), dtype=torch.float64))
    found = method.log_likelihood(batch) - scores.logsumexp(dim=0)
    assert (found < log_p).all()
    assert (found > log_p - 0.5).all()
    codes = method.embed(batch)
    assert codes.shape == (16, method.width) == (16, 4)
    first = method.net.mean_field(v)[0]
    torch.testing.assert_close(codes[:, :2], first)
    rebuilt = 1 / (1 + (-first @ method.net.weights[0] - method.net.biases[0]).exp())
    torch.testing.assert_close(method.decode(codes).flatten(1), rebuilt)
    expected = -(v * rebuilt.log() + (1 - v) * (1 - rebuilt).log()).mean()
    torch.testing.assert_close(method.yardstick(batch, Progress()), expected)


def test_tables_and_colour_have_normal_units_below_and_binary_ones_above() -> None:
    colour = ImageSpec((3, 2, 2), "uint8", 0, 255, (0.2, 0.5, 0.7), (0.1, 0.2, 0.3))
    generator = torch.Generator().manual_seed(0)
    for spec in (colour, TABLE):
        method = DBM.build(Context(spec, 10), hidden=5, depth=3)
        assert method.layer(0).gaussian == method.net.machine().gaussian == method.net.weights[0].shape[1]
        assert method.layer(1).gaussian == 0
        x = torch.randint(0, 255, (6, *spec.shape), generator=generator).to(getattr(torch, spec.dtype))
        batch = Batch(x, torch.arange(6))
        for stage in range(4):
            assert torch.isfinite(method.stage_loss(stage, batch, Progress())["loss"])
        assert method.decode(method.embed(batch)).shape == (6, *spec.shape)
        assert method.sample(70, steps=3).shape == (70, *spec.shape)
        assert torch.isfinite(method.log_likelihood(batch)).all()


def test_in_bf16_the_joint_gradient_is_nearly_the_same() -> None:
    dataset = contract.dataset_for("dbm")
    torch.manual_seed(0)
    method = DBM.build(Context(dataset.spec, len(dataset)), hidden=32)
    batch, gradients = dataset.batch(np.arange(32)), []
    for half in (False, True):
        method.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = method.loss(batch, Progress(9, 10))["loss"]
        loss.backward()
        assert loss.dtype == torch.float32
        gradients.append(torch.cat([p.grad.flatten() for p in method.net.parameters() if p.grad is not None]))
    assert len(gradients[0]) == sum(p.numel() for p in method.net.parameters())
    assert torch.cosine_similarity(gradients[0], gradients[1], dim=0) > 0.98
