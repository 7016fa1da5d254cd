"""What each option of the Boltzmann machines does, seen in whole methods."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salience.batch import Progress
from salience.errors import UserError
from salience.methods import Context
from salience.methods.boltzmann import _machine, dbm
from salience.methods.boltzmann.dbn import DBN
from salience.modalities.table.spec import Column, TableSpec
from tests.methods.effects import Effects, batch_of, built, dataset_for, loss_of, options_of_family, widths

EFFECTS = Effects()
JOINT = Progress(9, 10, epoch=1, seed=2)  # a DBM's layers learn together


@EFFECTS.of("rbm.hidden", "dbm.hidden", "dbm.depth", "dbn.hidden", "dbn.depth", "dbn.dim")
def units_and_layers(name: str, option: str) -> None:
    for value in (3, 7):
        method: Any = built(name, **{"hidden": 5, option: value})
        hidden = value if option == "hidden" else 5
        depth = value if option == "depth" else {"rbm": 1}.get(name, 2)
        top = value if option == "dim" else 256
        layers = {"rbm": [hidden], "dbm": [hidden] * depth, "dbn": [hidden] * (depth - 1) + [top]}[name]
        if name == "dbm":
            assert [tuple(w.shape) for w in method.net.weights] == list(zip(layers, [64, *layers], strict=False))
        elif name == "dbn":
            assert [tuple(layer.weight.shape) for layer in method.layers] == list(
                zip(layers, [64, *layers], strict=False)
            )
            assert widths(method.encoder) == layers
            assert widths(method.decoder) == [*layers[-2::-1], 64]
        else:
            assert widths(method.encoder) == layers
        width = sum(layers) if name == "dbm" else layers[-1]
        assert method.embed(batch_of(name)).shape == (8, width)
        assert method.width == width


@EFFECTS.of("rbm.visible", "dbm.visible", "dbn.visible")
def kind_of_the_visible_units(name: str, option: str) -> None:
    """Binary ones are probabilities of pixels as they are, normal ones have any mean, of standardised pixels."""
    assert built(name).visible == "bernoulli"  # type: ignore[operator]
    for visible in ("bernoulli", "gaussian"):
        method: Any = built(name, visible=visible)
        x = method.encoder.input.unit(batch_of(name).x).double()
        values = method.values(batch_of(name))
        spec = dataset_for(name).spec
        seen = (x - spec.mean[0]) / spec.std[0] if visible == "gaussian" else x
        torch.testing.assert_close(values, seen.flatten(1).double(), rtol=1e-5, atol=1e-6)
        machine = {"rbm": "machine", "dbm": "layer", "dbn": "machine"}[name]
        built_machine = getattr(method, machine)(*([0] if name != "rbm" else []))
        assert built_machine.gaussian == (64 if visible == "gaussian" else 0)
    number = TableSpec((1,), "float32", columns=(Column("a"),))
    with pytest.raises(UserError, match="use 'gaussian'"):
        type(method).build(Context(number, 20), visible="bernoulli")


def asked_for(method: Any, name: str, at: Progress, patch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(states, steps) of the Gibbs sampling in one step of training."""
    asked: list[tuple[int, int]] = []
    own = _machine.Machine.gibbs
    patch.setattr(
        _machine.Machine, "gibbs",
        lambda self, h, steps, generator=None: asked.append((len(h), steps)) or own(self, h, steps, generator),
    )  # fmt: skip
    loss_of(method, name, at)
    patch.undo()
    return asked


@EFFECTS.of("rbm.steps", "dbm.steps", "rbm.chains", "dbm.chains", "rbm.persistent")
def chains_and_their_steps(name: str, option: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for steps, chains in ((1, 4), (3, 4), (3, 6)):
            method: Any = built(name, steps=steps, chains=chains, hidden=5)
            before = method.states.clone()
            assert len(before) == chains
            assert asked_for(method, name, JOINT, patch) == [(chains, steps)]
            method.after_step(JOINT)
            assert not torch.equal(method.states, before)
        if name == "rbm":
            method = built(name, persistent=False, steps=2, hidden=5)
            assert asked_for(method, name, JOINT, patch) == [(8, 2)]  # from the data
            method.after_step(JOINT)
            assert len(method.states) == 0


@EFFECTS.of("dbm.passes")
def passes_of_mean_field(name: str, option: str) -> None:
    """Each pass raises the bound; the first guess is a pass upwards alone."""
    bounds = []
    for passes in (1, 2, 20):
        method: Any = built(name, passes=passes, hidden=6, depth=3)
        torch.manual_seed(0)
        with torch.no_grad():
            for weight in method.net.weights:
                weight.copy_(torch.randn(weight.shape))
        v = method.values(batch_of(name))
        bounds.append(method.net.bound(v, method.net.mean_field(v)).mean().item())
    assert bounds[0] < bounds[1] < bounds[2]


@EFFECTS.of("dbn.fine_tune")
def what_the_unrolled_network_learns(name: str, option: str) -> None:
    spec = dataset_for(name).spec
    for choice, decodes in (("rebuild", True), ("labels", False), ("none", True)):
        method = DBN.build(Context(spec, 96, classes=3), hidden=5, dim=4, fine_tune=choice)
        assert (method.classifier is not None) == (choice == "labels")
        assert ("decode" not in method.withheld) == decodes
        assert [stage.name for stage in method.stages][2:] == ([] if choice == "none" else ["fine-tuning"])
        trained = {part: next(getattr(method, part).parameters()).requires_grad for part in ("encoder", "decoder")}
        assert trained == {"encoder": choice != "none", "decoder": choice == "rebuild"}
    assert [DBN.build(Context(spec, 96, classes=n)).fine_tune for n in (0, 3)] == ["rebuild", "labels"]
    with pytest.raises(UserError, match="use_labels=True"):
        DBN.build(Context(spec, 96), fine_tune="labels")


@pytest.mark.parametrize("key", sorted(EFFECTS))
def test_the_option_does_what_its_help_says(key: str) -> None:
    EFFECTS.run(key)


def test_no_option_is_left_out() -> None:
    assert set(EFFECTS) == options_of_family("boltzmann")


# --- no gradient enters what is sampled or guessed --------------------------------------------------------------------


def test_no_gradient_of_the_dbm_flows_through_mean_field() -> None:
    """After one pass q is far from its fixed point, where a gradient through it would show."""
    method: Any = built("dbm", hidden=6, depth=3, passes=1, chains=4)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in method.net.weights:
            weight.copy_(torch.randn(weight.shape))
    net, parts = method.net, list(method.net.parameters())
    v = method.values(batch_of("dbm"))
    ours = torch.autograd.grad(method.joint_loss(v, JOINT)["loss"], parts)
    machine = net.machine()
    states = machine.detached().gibbs(method.states, method.steps, dbm.shared_noise(JOINT, v.device))

    def gradient(q: list[Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(-net.bound(v, q).mean() - net.machine().free_energy(states).mean(), parts)

    kept, through = gradient([part.detach() for part in net.mean_field(v)]), gradient(net.mean_field(v))
    for one, other in zip(ours, kept, strict=True):
        torch.testing.assert_close(one, other)
    assert max((one - other).abs().max() for one, other in zip(ours, through, strict=True)) > 0.01


@pytest.mark.parametrize(("name", "default"), [("rbm", 200), ("dbm", 200), ("dbn", 1000)])
def test_a_sample_is_so_many_steps_of_gibbs_sampling_away(
    name: str, default: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    own = _machine.Machine.gibbs
    monkeypatch.setattr(
        _machine.Machine, "gibbs",
        lambda self, h, steps, generator=None: asked.append(steps) or own(self, h, 1, generator),
    )  # fmt: skip
    method: Any = built(name, hidden=5)
    method.sample(2)
    method.sample(2, steps=7)
    assert asked == [default, 7]


def test_layers_of_a_stack_are_linear_maps_with_a_sigmoid() -> None:
    method: Any = built("dbn", hidden=5, dim=4)
    assert [type(part) for part in method.encoder.body] == [nn.Flatten, nn.Linear, nn.Sigmoid, nn.Linear, nn.Sigmoid]
