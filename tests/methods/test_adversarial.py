"""Two players in one step: whose turn it is, what stays meanwhile as it is, resumed, counted, over two processes."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.errors import UserError
from salience.methods import Context
from salience.methods.adversarial import Adversarial
from salience.methods.lightning import LightningMethod
from salience.nets import Encoder
from salience.representation import Representation
from salience.run import Run
from salience.training import engine
from salience.training.flops import step_flops
from salience.training.metrics import read_metrics
from tests import contract
from tests.methods.proof import adapters, without_batch_norm
from tests.training.test_resume import config, table
from tests.two_processes import two_processes

NOISE, STEPS, KILLED = 3, 14, 9
GANS = ("gan", "conditional_gan")
PLAYERS = {"discriminator": ("encoder", "head"), "generator": ("generator",)}
pytestmark = pytest.mark.filterwarnings("ignore::salience.errors.Note")  # what the doctor says of so small a run
Left = dict[str, Tensor]


class Duel(Adversarial):
    """Two players with what is hard to keep apart and to resume: batch norm, dropout, noise, a count of the steps."""

    modalities = ("table",)
    betas = (0.5, 0.9)
    steps: Tensor

    def __init__(self, encoder: Encoder, width: int, *, hidden: bool = True):
        super().__init__(encoder)
        self.head = nn.Linear(encoder.dim, 1)
        between: list[nn.Module] = [nn.Linear(NOISE, 5), nn.BatchNorm1d(5), nn.Dropout(0.2)] if hidden else []
        self.generator = nn.Sequential(*between, nn.Linear(5 if hidden else NOISE, width))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        return cls(context.make_encoder(), context.width, **options)

    def player(self, turn: str) -> Iterable[nn.Module]:
        return [getattr(self, name) for name in PLAYERS[turn]]

    def turn_loss(self, turn: str, batch: Batch, at: Progress) -> dict[str, Tensor]:
        moment(self, turn, at)
        made = self.generator(torch.randn(len(batch), NOISE, device=batch.x.device))
        if turn == "generator":
            loss = F.softplus(-self.head(self.encoder(made))).mean()
            return {"loss": loss, "generator": loss}
        real = self.head(self.encoder(self.encoder.input.unit(batch.x)))
        loss = F.softplus(-real).mean() + F.softplus(self.head(self.encoder(made.detach()))).mean()
        return {"loss": loss, "discriminator": loss}

    def after_step(self, at: Progress) -> None:
        moment(self, "after", at)
        self.steps += 1


def moment(method: Duel, what: str, at: Progress) -> None:
    """Where the tests look on, or kill."""


def duel(encoder: str = "mlp", **options: Any) -> Duel:
    torch.manual_seed(3)
    return Duel.build(Context(table().spec, 50, encoder), **options)


def built(name: str, **options: Any) -> Adversarial:
    method = contract.build(name, contract.dataset_for(name), **options)
    assert isinstance(method, Adversarial)
    return method


def train(run: Run) -> Duel:
    method = duel()
    engine.train(run, method, table(), progress=False)
    return method


def training_step_state(method: Duel, trained: LightningMethod) -> dict[str, Tensor]:
    """Every parameter, and the optimiser's moments of it."""
    state = {name: p.detach().clone() for name, p in method.named_parameters()}
    kept = trained.trainer.optimizers[0].state
    for name, parameter in method.named_parameters():
        state |= {f"{name} {key}": value.clone() for key, value in kept.get(parameter, {}).items()}
    return state


def test_a_turn_moves_its_player_and_leaves_the_other_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int, dict[str, Tensor]]] = []

    def look(method: Duel, what: str, at: Progress) -> None:
        if torch.is_grad_enabled() or what == "after":  # not of the probe
            seen.append((what, at.step, training_step_state(method, found[method])))

    monkeypatch.setitem(globals(), "moment", look)
    with adapters() as found:
        train(Run.create(tmp_path / "run", config(), {}))
    order = [(what, step) for what, step, _ in seen]
    assert order == [(what, step) for step in range(STEPS) for what in ("discriminator", "generator", "after")]
    for (turn, step, before), (_, _, after) in pairwise(seen):
        for key, value in after.items():
            mine = key.split(".")[0] in PLAYERS.get(turn, ())
            same = key in before and torch.equal(value, before[key])
            assert same != mine, f"{key} in the turn {turn} of step {step}"


def test_what_is_frozen_stays_frozen_and_an_error_in_a_turn_sets_the_other_free() -> None:
    method = duel()
    wanted = {name: p.requires_grad for name, p in method.named_parameters()}
    assert not wanted["frozen"]
    with method.playing("generator"):
        learns = {name for name, p in method.named_parameters() if p.requires_grad}
        assert learns == {name for name in wanted if name.startswith("generator.")}
        assert method.turn == "generator"
    with pytest.raises(ZeroDivisionError), method.playing("generator"):
        raise ZeroDivisionError
    assert {name: p.requires_grad for name, p in method.named_parameters()} == wanted
    assert method.turn == "discriminator"


# --- one training ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=GANS)
def rep(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Representation:
    return contract.fitted(request.param, tmp_path_factory.mktemp(request.param) / "run")


def test_a_fit_counts_batches_and_both_players_step_once_a_batch(rep: Representation) -> None:
    run, batches = Run(rep.run or ""), 3 * (contract.ROWS // 32)
    last = torch.load(run.checkpoint, weights_only=True)
    assert last["global_step"] == run.config.plan.steps == batches
    moments = last["optimizer_states"][0]["state"]
    assert [float(moment["step"]) for moment in moments.values()] == [batches] * len(list(rep.method.parameters()))
    rows = read_metrics(run.metrics)
    assert [int(row["step"]) for row in rows] == list(range(1, batches + 1))
    assert all(np.isfinite([float(value) for value in row.values()]).all() for row in rows)
    assert {"loss", "discriminator", "generator", "judged_real", "judged_fake"} <= rows[0].keys()


def in_turn(turn: str) -> Callable[[Duel, str, Progress], None]:
    def kill(method: Duel, what: str, at: Progress) -> None:
        if what == turn and at.step == KILLED:
            os._exit(9)

    return kill


def outcome(run: Run) -> tuple[Left, str, str]:
    return train(run).state_dict(), run.metrics.read_text(), (run.path / "health.json").read_text()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Left, str, str]:
    return outcome(Run.create(tmp_path_factory.mktemp("whole") / "run", config(), {}))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
@pytest.mark.parametrize("what", ["discriminator", "generator", "after"])
def test_killed_in_a_turn_and_resumed_equals_uninterrupted(
    what: str, uninterrupted: tuple[Left, str, str], tmp_path: Path
) -> None:
    run = Run.create(tmp_path / "run", config(), {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "moment", in_turn(what))
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            train(run)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert 0 < run.step <= KILLED
    weights, metrics, health = outcome(run)
    assert weights["steps"] == STEPS
    for name, expected in uninterrupted[0].items():
        assert torch.equal(weights[name], expected), name
    assert (metrics, health) == uninterrupted[1:]


def trainer(**options: Any) -> L.Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return L.Trainer(max_epochs=2, accelerator="cpu", enable_model_summary=False, **quiet, **options)


@pytest.mark.parametrize("name", GANS)
def test_it_trains_under_a_users_own_trainer(name: str) -> None:
    data = contract.dataset_for(name)
    method = built(name)
    before = copy.deepcopy(method.state_dict())
    own = trainer(gradient_clip_val=1.0)
    own.fit(LightningMethod(method), data.loader(32))
    assert own.global_step == 6
    assert own.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-4)
    for key, _ in method.named_parameters():
        assert not torch.equal(before[key], method.state_dict()[key]), key


def test_gradients_of_several_batches_are_refused() -> None:
    with pytest.raises(UserError, match=r"^accumulate_grad_batches: 4 was given, .*; use 1$"):
        trainer(accumulate_grad_batches=4).fit(LightningMethod(built("gan")), contract.dataset_for("gan").loader(32))


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_the_operations_of_both_turns_are_counted() -> None:
    """Linear nets: 3 -> 6 makes an item, 6 -> 6 -> 1 judges it. Nothing is computed for who is not learning."""
    method = duel(encoder="linear", hidden=False)
    n, body = 8, method.encoder.dim
    make, look, say = 2 * n * NOISE * 6, 2 * n * 6 * body, 2 * n * body
    discriminator = make + 2 * (look + say) + 2 * (say + say + look)  # real and made; back to head, features and body
    generator = make + look + say + (say + look + make)  # back through features and item to what made it
    assert step_flops(method, table().batch(np.arange(n))) == discriminator + generator


# --- over two processes -----------------------------------------------------------------------------------------------

ROWS = 16
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gan": ("gan", {"channels": 4}),
    "gan of dense layers": ("gan", {"channels": 4, "encoder": "mlp", "smoothing": 0.1}),
    "gan with r1": ("gan", {"channels": 4, "penalty": "r1"}),
    "gan with one_centred": ("gan", {"channels": 4, "penalty": "one_centred"}),
    "conditional_gan": ("conditional_gan", {"channels": 4, "blocks": 1, "adversarial_weight": 0.5}),
}


def one_step(case: str, rows: slice, *, rank: int = 0, world: int = 1) -> Left:
    """Losses and gradients of both turns on these rows."""
    name, options = CASES[case]
    batch, at = contract.dataset_for(name).batch(np.arange(ROWS)[rows]), Progress(3, 10, 1, 2, rank, world)
    method = without_batch_norm(built(name, **options)).double()
    assert isinstance(method, Adversarial)
    for p in method.parameters():
        if p.ndim > 1 and not p.any():
            nn.init.normal_(p, std=0.1)  # a layer that begins at 0 would hide those before it
    left: Left = {}
    for turn, loss in zip(method.turns, method.losses(batch, at), strict=True):
        method.zero_grad()
        loss.backward()
        left |= {f"{turn}: {key}": p.grad.clone() for key, p in method.named_parameters() if p.grad is not None}
        left[turn] = loss.detach()
    return left


def on_half(rank: int) -> dict[str, Left]:
    half = slice(rank * ROWS // 2, (rank + 1) * ROWS // 2)
    return {case: one_step(case, half, rank=rank, world=2) for case in CASES}


@pytest.fixture(scope="module")
def halves() -> list[dict[str, Left]]:
    return two_processes(on_half)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_with_different_data_equal_one_with_all(case: str, halves: list[dict[str, Left]]) -> None:
    whole, (first, second) = one_step(case, slice(None)), (half[case] for half in halves)
    moved = {tuple(key.split(".")[0].split(": ")) for key in whole if ":" in key}
    assert moved == {(turn, player) for turn, players in PLAYERS.items() for player in players}
    for key, expected in whole.items():
        assert not torch.equal(first[key], second[key]), key
        mean = (first[key] + second[key]) / 2
        torch.testing.assert_close(mean, expected, rtol=1e-9, atol=1e-11, msg=f"{case}, {key}")
