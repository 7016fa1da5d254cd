"""What moves in a step of each method, and what stays as it is to the bit: weights, teachers, queues, states, counters.

Every tensor that a checkpoint holds is either trained, or moves as the tables below say, or stands still. What none of
them names is expected to stand still.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salience import catalogue
from salience.batch import Progress
from salience.methods import Method
from tests.methods.effects import batch_of, built

NAMES = [entry.name for entry in catalogue.entries() if entry.kind != "ClosedForm"]
TOTAL = 40
ROWS = 32
State = dict[str, Tensor]


def rising(first: float) -> Callable[[Progress], float]:
    """From `first` to 1 along half a cosine: the schedule of BYOL and DINO."""
    return lambda at: 1 - (1 - first) * (math.cos(math.pi * at.step / at.total) + 1) / 2


TEACHERS: dict[str, tuple[dict[str, str], Callable[[Progress], float]]] = {  # teacher -> student, and what stays
    "byol": ({"teacher_encoder": "encoder", "teacher_projector": "projector"}, rising(0.996)),
    "dino": ({"teacher_encoder": "encoder", "teacher_projector": "projector"}, rising(0.996)),
    "moco": ({"teacher_encoder": "encoder", "teacher_projector": "projector"}, lambda at: 0.999),
    "crvae": ({"teacher_encoder": "encoder"}, lambda at: 0.99),
}
BUFFERS: dict[str, set[str]] = {  # buffers that move in every step, beside what batch norms remember
    "moco": {"old_keys", "written"},
    "crvae": {"old_keys", "written"},
    "dino": {"centre"},
    "swav": {"earlier", "usage"},
    "rbm": {"states"},
    "dbm": {"states"},  # once all layers learn together
}
MIRRORS = {  # copies of an RBM's parameters in the unrolled network of a DBN of two layers: copy -> source
    0: {"encoder.body.1.weight": "layers.0.weight", "encoder.body.1.bias": "layers.0.hidden_bias",
        "decoder.2.weight": "layers.0.weight", "decoder.2.bias": "layers.0.visible_bias"},
    1: {"encoder.body.3.weight": "layers.1.weight", "encoder.body.3.bias": "layers.1.hidden_bias",
        "decoder.0.weight": "layers.1.weight", "decoder.0.bias": "layers.1.visible_bias"},
    2: {},
}  # fmt: skip
TINY = 1e-9  # of a gradient that is 0 but for rounding: biases before a batch norm
NORMS = ("running_mean", "running_var", "num_batches_tracked")
FIXED_NORMS = ("perceive.",)  # of a network that never changes
CANCELLED = {  # biases that make no difference: a batch norm follows, or the loss looks at deviations alone
    "autoencoder": {"encoder.body.1.bias"},
    "deep_autoencoder": {"encoder.body.1.bias"},
    "denoising_autoencoder": {"encoder.body.1.bias"},
    "byol": {"projector.3.bias"},
    "barlowtwins": {"projector.6.bias"},
    "vicreg": {"projector.6.bias"},
}
SMALL: dict[str, dict[str, Any]] = {
    "dino": {"local_crops": 1},
    "swav": {"frozen": 0.0},
    "gan": {"channels": 4},
    "conditional_gan": {"channels": 4},
}


def snapshot(method: nn.Module) -> State:
    return {key: value.clone() for key, value in method.state_dict().items()}


def phases(name: str) -> list[int]:
    """A step of each kind that the training has."""
    method = built(name, **SMALL.get(name, {}))
    return [round(at.fraction * TOTAL) for _, at in method.phases()]


CASES = [(name, step) for name in NAMES for step in phases(name)]


@cache
def stepped(name: str, step: int) -> tuple[Method, State, State, State, dict[str, Tensor | None]]:
    """The method, its state before the step, after the optimiser and after all, and the gradients.

    Two steps are taken, as a last layer may begin at 0 and let no gradient through; the second is looked at.
    """
    method = built(name, **SMALL.get(name, {})).train()
    optimiser = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.05)
    for number in (0, 1):
        at = Progress(min(step + number, TOTAL - 1), TOTAL, epoch=1, seed=2)
        method.before_step(at)
        before, gradients = snapshot(method), {}
        for loss in method.losses(batch_of(name, ROWS), at):
            optimiser.zero_grad()
            loss.backward()
            gradients |= {key: p.grad.clone() for key, p in method.named_parameters() if p.grad is not None}
            optimiser.step()
        optimised = snapshot(method)
        method.after_step(at)
    return method, before, optimised, snapshot(method), gradients


def parts(state: State, prefix: str) -> Iterator[tuple[str, Tensor]]:
    return ((key.removeprefix(prefix + "."), value) for key, value in state.items() if key.startswith(prefix + "."))


def stage_of(method: Any, step: int) -> int:
    return method.stage(Progress(step + 1, TOTAL))[0] if hasattr(method, "stages") else 0


def moving(method: Any, name: str, step: int) -> set[str]:
    """What has no gradient and moves all the same."""
    state, parameters = method.state_dict(), dict(method.named_parameters())
    norms = {key for key in state if key.endswith(NORMS) and not key.startswith(FIXED_NORMS)}
    teachers = tuple(TEACHERS.get(name, ({},))[0])
    followers = {key for key in parameters if key.startswith(teachers)} if teachers else set()
    mirrors = set(MIRRORS[stage_of(method, step)]) if name == "dbn" else set()
    alone = name == "dbm" and stage_of(method, step) < method.depth
    return norms | followers | mirrors | (set() if alone else BUFFERS.get(name, set()))


@pytest.mark.parametrize(("name", "step"), CASES)
def test_what_should_move_moves_and_nothing_else(name: str, step: int) -> None:
    method, before, _, after, gradients = stepped(name, step)
    moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
    tiny = {key for key, gradient in gradients.items() if gradient.abs().max() < TINY}
    tiny |= {f"teacher_{key}" for key in tiny}
    expected = (gradients.keys() - tiny) | moving(method, name, step)
    assert moved - tiny == expected - tiny, (sorted(moved - expected), sorted(expected - moved))


@pytest.mark.parametrize("step", phases("dbn")[:2])
def test_the_unrolled_network_follows_the_layer_that_learns(step: int) -> None:
    method, _, _, after, _ = stepped("dbn", step)
    for copy, source in MIRRORS[stage_of(method, step)].items():
        expected = after[source].T if copy.startswith("decoder") and after[source].ndim > 1 else after[source]
        assert torch.equal(after[copy], expected), copy


@pytest.mark.parametrize("name", NAMES)
def test_every_trained_parameter_learns_in_some_stage(name: str) -> None:
    learnt: set[str] = set()
    for step in phases(name):
        method, _, _, _, gradients = stepped(name, step)
        learnt |= {key for key, gradient in gradients.items() if gradient.abs().max() > TINY}
    trained = {key for key, p in method.named_parameters() if p.requires_grad}
    assert trained - learnt == CANCELLED.get(name, set())


@pytest.mark.parametrize(("name", "step"), CASES)
def test_gradients_reach_what_is_trained_and_no_teacher(name: str, step: int) -> None:
    method, _, _, _, gradients = stepped(name, step)
    for key, parameter in method.named_parameters():
        assert parameter.requires_grad or key not in gradients, key
    frozen = {key.split(".")[0] for key, p in method.named_parameters() if not p.requires_grad}
    assert frozen == {*TEACHERS.get(name, ({},))[0], *({"perceive"} if name == "dfcvae" else ())}


@pytest.mark.parametrize(("name", "step"), [case for case in CASES if case[0] in TEACHERS])
def test_teachers_follow_by_the_papers_momentum(name: str, step: int) -> None:
    """Every weight of the encoder and of the head, after the optimiser's step; not what batch norms remember."""
    method, _, optimised, after, _ = stepped(name, step)
    parameters = dict(method.named_parameters())
    pairs, schedule = TEACHERS[name]
    stays = schedule(Progress(step + 1, TOTAL))
    for teacher, student in pairs.items():
        for key, value in parts(after, teacher):
            if f"{teacher}.{key}" in parameters:
                expected = stays * optimised[f"{teacher}.{key}"] + (1 - stays) * optimised[f"{student}.{key}"]
                torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
            else:
                torch.testing.assert_close(value, optimised[f"{teacher}.{key}"], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["moco", "crvae", "rbm", "dbm"])
def test_what_a_step_has_made_is_kept_once(name: str) -> None:
    _, _, _, after, _ = stepped(name, phases(name)[-1])
    twice: Any = built(name, **SMALL.get(name, {}))
    twice.load_state_dict(after)
    twice.after_step(Progress(1, TOTAL))
    for key in BUFFERS[name]:
        assert torch.equal(twice.state_dict()[key], after[key]), key


def optimisers_groups(name: str) -> list[dict[str, Any]]:
    return list(built(name, **SMALL.get(name, {})).param_groups())


@pytest.mark.parametrize("name", NAMES)
def test_every_trained_parameter_is_in_one_group_and_biases_and_norms_do_not_decay(name: str) -> None:
    method = built(name, **SMALL.get(name, {}))
    groups = list(method.param_groups())
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in method.parameters() if p.requires_grad)
    for group in groups:
        if group.get("weight_decay") != 0.0:
            assert all(p.ndim > 1 for p in group["params"])
    decaying = {id(p) for group in groups if group.get("weight_decay") != 0.0 for p in group["params"]}
    weights = {id(p) for p in method.parameters() if p.requires_grad and p.ndim > 1}
    assert decaying == (set() if name in ("gan", "conditional_gan") else weights)  # DCGAN has none


@pytest.mark.parametrize("name", ["swav", "sparse_autoencoder", "contractive_autoencoder"])
def test_prototypes_and_atoms_have_length_1_again_after_a_step(name: str) -> None:
    _, _, optimised, after, _ = stepped(name, 0)
    key, dim = ("scorer.weight", 1) if name == "swav" else ("decoder.atoms.0.weight", 0)
    assert (optimised[key].norm(dim=dim) - 1).abs().max() > 1e-6  # the optimiser leaves them longer or shorter
    torch.testing.assert_close(after[key].norm(dim=dim), torch.ones(after[key].shape[1 - dim]).double())
