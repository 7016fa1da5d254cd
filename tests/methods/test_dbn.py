"""The DBN: its bound taken apart, what each stage trains and leaves alone, and the network it becomes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from salience.batch import Batch, Progress
from salience.data import Dataset
from salience.errors import UserError
from salience.methods import Context
from salience.methods.boltzmann._machine import Machine
from salience.methods.boltzmann.dbn import DBN
from salience.methods.boltzmann.rbm import contrastive_divergence
from salience.modalities.image.spec import ImageSpec
from salience.modalities.table.spec import Column, TableSpec
from salience.training import fit
from tests import contract
from tests.methods.enumeration import CHANCE, all_states, energies, log_joint, random_machine

TINY = ImageSpec((1, 2, 2), "float32", 0.0, 1.0)
TABLE = TableSpec((3,), "float32", columns=(Column("a", mean=1.0, std=2.0), Column("b"), Column("c")))


def built(dataset: Dataset, classes: int = 0, **options: object) -> DBN:
    torch.manual_seed(0)
    return DBN.build(Context(dataset.spec, len(dataset), classes=classes), **options)


def small(dataset: Dataset, classes: int = 0, **options: object) -> DBN:
    return built(dataset, classes, **{"hidden": 12, "depth": 3, "dim": 7, **options})


def bound(first: Machine, log_prior: Tensor) -> Tensor:
    """E_q [log p(h) + log p(v | h)] + H(q) with q = p(h | v) of the first layer, by every state.  -> [2^visible]"""
    joint = log_joint(first)
    posterior = joint.log_softmax(dim=1)
    given_h = joint.log_softmax(dim=0)
    return (posterior.exp() * (log_prior + given_h - posterior)).sum(dim=1)


def test_a_second_layer_that_is_the_first_turned_around_leaves_the_bound_as_it_is() -> None:
    first = random_machine(4, 3, seed=1).detached()
    log_p = log_joint(first).logsumexp(dim=1)
    second = Machine(first.weight.T, first.hidden_bias, first.visible_bias)
    log_prior = log_joint(second).logsumexp(dim=1)
    torch.testing.assert_close(bound(first, log_prior), log_p)
    straight = Machine(first.weight.T, first.hidden_bias, torch.zeros(4).double())  # without the biases swapped
    assert (bound(first, log_joint(straight).logsumexp(dim=1)) - log_p).abs().max() > 0.01


def test_layers_of_the_method_turned_around_leave_its_bound_as_it_is() -> None:
    """The same by the method's own layers; what the second one learns from is q of the first, by every state."""
    method = DBN.build(Context(TINY, 16), hidden=3, depth=2, dim=4, visible="bernoulli").double()
    first, second = method.layers
    for part in first.parameters():
        torch.nn.init.normal_(part)
    with torch.no_grad():
        second.weight.copy_(first.weight.T)
        second.visible_bias.copy_(first.hidden_bias)
        second.hidden_bias.copy_(first.visible_bias)
    joint = log_joint(method.machine(0))
    log_prior = log_joint(method.machine(1)).logsumexp(dim=1)
    torch.testing.assert_close(bound(method.machine(0), log_prior), joint.logsumexp(dim=1))
    q = joint.softmax(dim=1) @ all_states(3)
    torch.testing.assert_close(method.below(all_states(4), 1), q)
    torch.testing.assert_close(method.below(all_states(4), 0), all_states(4))


def test_a_second_layer_that_fits_the_codes_better_raises_what_the_data_is_given() -> None:
    """The bound of the mean, by the paper's argument, after gradient steps of the second RBM on exact statistics."""
    first = random_machine(4, 3, seed=1, scale=2.0).detached()
    data = torch.tensor([3, 3, 12, 12])  # unlike what this first layer makes of nothing
    posterior = log_joint(first).log_softmax(dim=1).exp()[data].mean(dim=0)
    parts = [first.weight.T, first.hidden_bias, first.visible_bias]
    weight, below, above = (part.clone().requires_grad_() for part in parts)

    def log_prior() -> Tensor:
        return (-Machine(weight, below, above).free_energy(all_states(3))).log_softmax(dim=0)

    torch.testing.assert_close(log_prior(), log_joint(first).logsumexp(dim=0))
    before = bound(first, log_prior())[data].mean()
    for _ in range(20):
        loss = -posterior @ log_prior()
        for part, slope in zip((weight, below, above), torch.autograd.grad(loss, (weight, below, above)), strict=True):
            part.data -= slope
    after = bound(first, log_prior())[data].mean()
    assert after > before + 0.01


def test_each_layer_learns_by_cd_1_from_the_probabilities_below() -> None:
    dataset = contract.dataset_for("dbn")
    method, batch = small(dataset), dataset.batch(np.arange(32))
    values = method.encoder.input.unit(batch.x).flatten(1)
    for layer in range(3):
        torch.manual_seed(4)
        loss = method.stage_loss(layer, batch, Progress())["loss"]
        torch.manual_seed(4)
        torch.testing.assert_close(loss, contrastive_divergence(values, method.machine(layer), 1))
        weight, bias = method.machine(layer).weight, method.machine(layer).hidden_bias
        values = (1 / (1 + (-values @ weight.T - bias).exp())).detach()


def trained(method: DBN, dataset: Dataset, steps: int) -> list[dict[str, Tensor]]:
    """The parameters after every step of a training with AdamW and weight decay."""
    optimiser = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=0.01, weight_decay=0.1)
    left = [{name: value.clone() for name, value in method.state_dict().items()}]
    for step in range(steps):
        at = Progress(step, steps)
        method.before_step(at)
        optimiser.zero_grad()
        method.loss(dataset.batch(np.arange(step, step + 32) % len(dataset)), at)["loss"].backward()
        optimiser.step()
        method.after_step(at)
        left.append({name: value.clone() for name, value in method.state_dict().items()})
    return left


@pytest.mark.parametrize("fine_tune", ["rebuild", "labels", "none"])
def test_each_stage_trains_its_layer_and_leaves_all_others_to_the_bit(fine_tune: str) -> None:
    dataset = contract.structured_images(labelled=True)
    method = small(dataset, 3, fine_tune=fine_tune)
    count = len(method.stages)
    left = trained(method, dataset, 4 * count)
    places = {f"layers.{layer}.": layer for layer in range(3)}
    places |= {f"encoder.body.{1 + 2 * layer}.": layer for layer in range(3)}
    places |= {f"decoder.{4 - 2 * layer}.": layer for layer in range(3)}
    tuned = {"rebuild": ("encoder.", "decoder."), "labels": ("encoder.", "classifier."), "none": ()}[fine_tune]
    for stage in range(count):
        before, after = left[4 * stage], left[4 * stage + 4]
        for name in before:
            layer = next((layer for start, layer in places.items() if name.startswith(start)), None)
            own = layer == stage if stage < 3 else name.startswith(tuned)
            assert torch.equal(before[name], after[name]) == (not own or "input" in name), (stage, name)


def test_the_unrolled_network_gives_the_stacks_codes_and_goes_its_way_down() -> None:
    dataset = contract.dataset_for("dbn")
    method = small(dataset, fine_tune="none")
    trained(method, dataset, 9)
    batch = dataset.batch(np.arange(20))
    values = method.encoder.input.unit(batch.x).flatten(1)
    for layer in range(3):
        values = method.machine(layer).hidden(values)
    torch.testing.assert_close(method.embed(batch), values)
    for layer in (2, 1, 0):
        values = method.machine(layer).visible(values)
    torch.testing.assert_close(method.decode(method.embed(batch)).flatten(1), values)


def test_fine_tuning_goes_down_the_error_of_rebuilding_in_encoder_and_decoder() -> None:
    """By a short way down the slope, the error falls by what the slope says, which is to the square of it."""
    dataset = contract.dataset_for("dbn")
    method, batch, at = small(dataset), dataset.batch(np.arange(96)), Progress(59, 60)
    trained(method, dataset, 8)
    method.double()
    loss = method.loss(batch, at)["loss"]
    learning = [*method.encoder.body.parameters(), *method.decoder.parameters()]
    slopes = torch.autograd.grad(loss, learning)
    assert all(slope.abs().max() > 0 for slope in slopes)
    rate = 1e-4
    with torch.no_grad():
        for parameter, slope in zip(learning, slopes, strict=True):
            parameter.sub_(rate * slope)
        fall = loss - method.yardstick(batch, at)
    torch.testing.assert_close(fall, rate * sum(slope.square().sum() for slope in slopes), rtol=0.01, atol=0)
    values = method.encoder.input.unit(batch.x).flatten(1)
    rebuilt = method.decode(method.embed(batch)).flatten(1)
    expected = -(values * rebuilt.log() + (1 - values) * (1 - rebuilt).log()).mean()
    torch.testing.assert_close(method.stage_loss(3, batch, Progress())["loss"], expected)


def test_with_labels_it_names_the_classes(tmp_path: Path) -> None:
    dataset = contract.structured_images(labelled=True)
    rep = fit(
        "dbn", dataset, out=tmp_path / "run", use_labels=True, **{**contract.QUICK, "epochs": 60, "learning_rate": 0.02}
    )
    assert isinstance(rep.method, DBN)
    assert rep.method.fine_tune == "labels"
    p = rep.method.predict(dataset.batch(np.arange(96)))
    torch.testing.assert_close(p.sum(dim=1), torch.ones(96))
    assert (p.argmax(dim=1).numpy() == contract.structured_labels()).mean() > 0.95
    assert rep.method.yardstick(dataset.batch(np.arange(96)), Progress(99, 100)) is None
    assert rep.capabilities == ("samples", "predicts")
    with pytest.raises(UserError, match=r"^run: this dbn cannot reconstruct: it was fine-tuned with labels; fit a run"):
        rep.reconstruct(dataset)


def test_without_labels_it_says_so() -> None:
    dataset = contract.dataset_for("dbn")
    with pytest.raises(UserError, match=r"^fine_tune: this fit does not use labels"):
        built(dataset, fine_tune="labels")
    assert built(dataset).withheld == {"predict": "it was trained without labels; fit a run with use_labels=True"}
    with pytest.raises(UserError, match=r"^fine_tune: the batches have no labels"):
        built(dataset, classes=3).loss(dataset.batch(np.arange(4)), Progress(99, 100))


def test_what_auto_becomes_and_how_the_stages_follow() -> None:
    dataset = contract.dataset_for("dbn")
    assert [built(dataset, classes).fine_tune for classes in (0, 3)] == ["rebuild", "labels"]
    assert [stage.name for stage in built(dataset).stages] == ["layer 1", "layer 2", "fine-tuning"]
    assert [stage.name for stage in built(dataset, fine_tune="none", depth=1).stages] == ["layer 1"]
    method = built(dataset)
    gentle, full = method.rate_factor(2200, 3000), method.rate_factor(1200, 3000)
    assert gentle == pytest.approx(full / 3)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_samples_come_from_the_stack(depth: int) -> None:
    """Down to the layer above the visible one; what decides about the pixels is then known in closed form."""
    torch.manual_seed(depth)
    method = DBN.build(Context(TINY, 10), hidden=3, depth=depth, dim=3).double()
    with torch.no_grad():
        for parameters in method.layers:
            for parameter in parameters.parameters():
                parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64) * 1.5)
    top = log_joint(method.machine(depth - 1)).exp()
    p = top.sum(dim=0) if depth == 1 else top.sum(dim=1)
    for layer in range(depth - 2, 0, -1):
        machine = method.machine(layer)
        given = (-energies(machine, all_states(3), all_states(3))).softmax(dim=0)  # p(v | h), [v h]
        p = given @ p
    items = method.sample(4000, steps=30).flatten(1)
    possible = method.machine(0).visible(all_states(3))
    which = torch.cdist(items, possible).argmin(dim=1)
    assert torch.allclose(items, possible[which])
    counts = torch.bincount(which, minlength=8).numpy()
    assert stats.chisquare(counts, p.detach().numpy() * 4000).pvalue > CHANCE


def test_tables_and_colour_have_normal_units_below_and_binary_ones_above() -> None:
    colour = ImageSpec((3, 2, 2), "uint8", 0, 255, (0.2, 0.5, 0.7), (0.1, 0.2, 0.3))
    generator = torch.Generator().manual_seed(0)
    for spec in (colour, TABLE):
        method = DBN.build(Context(spec, 10), hidden=5, dim=4)
        assert (method.machine(0).gaussian, method.machine(1).gaussian) == (method.machine(0).weight.shape[1], 0)
        x = torch.randint(0, 255, (6, *spec.shape), generator=generator).to(getattr(torch, spec.dtype))
        batch = Batch(x, torch.arange(6))
        for stage in range(3):
            assert torch.isfinite(method.stage_loss(stage, batch, Progress())["loss"])
        assert method.decode(method.embed(batch)).shape == (6, *spec.shape)
        assert method.sample(2, steps=3).shape == (2, *spec.shape)
    rebuilt = method.decoder(method.embed(batch))
    expected = (rebuilt - method.encoder.input.unit(batch.x)).square().mean()
    torch.testing.assert_close(method.yardstick(batch, Progress()), expected)
