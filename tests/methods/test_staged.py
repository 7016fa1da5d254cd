"""Stages: they cover all steps, each with a rate of its own; what one does not train stays, also across a resume."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.config import Config
from salience.data import Dataset, open_data
from salience.health.probe import FIXED_VIEWS
from salience.methods import Context
from salience.methods.staged import Stage, Staged
from salience.nets import Encoder
from salience.run import Run
from salience.training import engine
from tests.methods.proof import adapters

pytestmark = pytest.mark.filterwarnings("ignore::salience.errors.Note")  # what the doctor says of so small a run
SHARES = (1.0, 2.0, 1.0)
STEPS = 20  # 5, 10 and 5


class Killed(Exception):  # noqa: N818 - not an error of the program
    pass


class Toy(Staged):
    """Stage k draws its own vector to the mean code; `begin` counts, and starts from the vector before."""

    modalities = ("table",)
    die_at: int | None = None
    optimiser: Callable[[], torch.optim.Optimizer]

    def __init__(self, encoder: Encoder, shares: tuple[float, ...] = SHARES):
        super().__init__(encoder)
        self.shares = shares
        self.vectors = nn.ParameterList(torch.full((2, 2), float(k)) for k in range(len(shares)))
        self.register_buffer("begun", torch.zeros(len(shares), dtype=torch.int64))
        self.rates: list[float] = []
        self.asked: list[tuple[int, Progress]] = []

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        return cls(context.make_encoder(dim=2), **options)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return tuple(Stage(f"vector {k}", share) for k, share in enumerate(self.shares))

    def begin(self, stage: int) -> None:
        self.begun[stage] += 1
        if stage:
            self.vectors[stage].add_(self.vectors[stage - 1])  # twice would be too much

    def stage_loss(self, stage: int, batch: Batch, at: Progress) -> dict[str, Tensor]:
        self.asked.append((stage, at))
        with torch.no_grad():
            target = self.encoder(self.encoder.input.unit(batch.x)).mean(dim=0)
        return {"loss": (self.vectors[stage] - target).square().sum()}

    def after_step(self, at: Progress) -> None:
        self.rates.append(self.optimiser().param_groups[0]["lr"])
        if at.step == self.die_at:
            raise Killed


def table() -> Dataset:
    return open_data(np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32), progress=False)


def toy(*shares: float) -> Toy:
    dataset = table()
    torch.manual_seed(0)
    return Toy.build(Context(dataset.spec, len(dataset), "linear"), shares=shares or SHARES)


def run_at(path: Path) -> Run:
    config = {"method": "toy", "options": {}, "source": None, "seed": 3, "rows": 40, "spec": table().spec.to_dict()}
    config |= {"use_labels": False, "batch_size": 8, "steps_per_epoch": 5, "steps": STEPS, "learning_rate": 0.01}
    config |= {"weight_decay": 0.1, "precision": "32-true", "compile": False, "threads": 1, "devices": 1}
    return Run.create(path, Config.from_dict(config | {"checkpoint_every": "0.00001s", "flops_per_step": 1}), {})


def train(run: Run, *, die_at: int | None = None) -> Toy:
    method = toy()
    method.die_at = die_at
    with adapters() as found:
        method.optimiser = lambda: found[method].trainer.optimizers[0]
        engine.train(run, method, table(), progress=False)
    return method


@pytest.mark.parametrize(
    "shares", [(1.0,), (1.0, 1.0), SHARES, (1.0, 0.001, 1.0), (1.0, 1e-4, 1e-4), (1e-4, 1.0, 1e-4, 1.0), (0.1,) * 7]
)
def test_stages_cover_all_steps_in_order_each_with_one_at_least(shares: tuple[float, ...]) -> None:
    method = toy(*shares)
    for total in (*range(len(shares), 40), 1000):
        found = [method.stage(Progress(step, total, epoch=4, seed=9)) for step in range(total)]
        assert [stage for stage, _ in itertools.groupby(number for number, _ in found)] == list(range(len(shares)))
        for stage in range(len(shares)):
            inside = [within for number, within in found if number == stage]
            assert [within.step for within in inside] == list(range(len(inside)))
            assert {within.total for within in inside} == {len(inside)}
            assert {(within.epoch, within.seed) for within in inside} == {(4, 9)}
            wished = total * shares[stage] / sum(shares)
            assert abs(len(inside) - wished) <= len(shares)
        assert method.stage(Progress(total, total))[0] == len(shares) - 1  # a finished training asks for its rate


def test_a_stage_has_its_share_of_the_steps() -> None:
    lengths = [
        len(list(group)) for _, group in itertools.groupby(toy().stage(Progress(s, STEPS))[0] for s in range(20))
    ]
    assert lengths == [5, 10, 5]


def test_the_rate_rises_from_little_to_its_peak_and_falls_to_nothing_in_every_stage() -> None:
    method, total = toy(), 400
    factors = np.array([method.rate_factor(step, total) for step in range(total)])
    for stage in np.split(factors, [100, 300]):
        rise = len(stage) // 10
        np.testing.assert_allclose(stage[:rise], np.arange(1, rise + 1) / rise)
        assert (np.diff(stage[rise:]) < 0).all()
        assert stage[rise] == 1
        assert stage[-1] < 0.001
    assert method.rate_factor(total, total) == pytest.approx(0, abs=1e-12)


def test_phases_are_one_moment_of_each_stage_with_its_share() -> None:
    method = toy(1.0, 1e-6, 3.0)
    shares, moments = zip(*method.phases(), strict=True)
    assert shares == pytest.approx([0.25, 0.25e-6, 0.75], rel=1e-5)
    assert [method.stage(at)[0] for at in moments] == [0, 1, 2]


def test_training_goes_through_the_stages_and_leaves_the_others_alone(tmp_path: Path) -> None:
    method = train(run_at(tmp_path / "run"))
    trained = [entry for entry in method.asked if entry[1].epoch < FIXED_VIEWS]  # the probe asks too
    assert [stage for stage, _ in trained] == [0] * 5 + [1] * 10 + [2] * 5
    assert method.begun.tolist() == [1, 1, 1]
    states = [method.optimiser().state[vector] for vector in method.vectors]
    assert [int(state["step"]) for state in states] == [5, 10, 5]  # AdamW's moments have seen no other stage
    assert not any(p in method.optimiser().state for p in method.encoder.parameters())
    fresh = toy()
    for one, other in zip(method.encoder.parameters(), fresh.encoder.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    np.testing.assert_allclose(method.rates, [0.01 * fresh.rate_factor(step, STEPS) for step in range(STEPS)])


def test_what_a_stage_has_learnt_stays_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Tensor]] = []
    after = Toy.after_step

    def noted(self: Toy, at: Progress) -> None:
        after(self, at)
        seen.append([vector.detach().clone() for vector in self.vectors])

    monkeypatch.setattr(Toy, "after_step", noted)
    train(run_at(tmp_path / "run"))
    for step in range(1, STEPS):
        stage, within = toy().stage(Progress(step, STEPS))
        for number, (now, before) in enumerate(zip(seen[step], seen[step - 1], strict=True)):
            moved = number == stage
            assert torch.equal(now, before) != moved, (step, within, number)


@pytest.mark.parametrize("die_at", [0, 4, 5, 6, 14, 15, 19])  # first, last and later steps of stages
def test_a_stage_begins_once_also_when_it_is_resumed(tmp_path: Path, die_at: int) -> None:
    whole = train(run_at(tmp_path / "whole"))
    run = run_at(tmp_path / "run")
    with pytest.raises(Killed):
        train(run, die_at=die_at)
    resumed = train(run)
    assert resumed.begun.tolist() == [1, 1, 1]
    for name, expected in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], expected), name


def test_stages_without_a_step_begin_before_the_next() -> None:
    method = toy()
    for step in range(2):
        method.before_step(Progress(step, 2))
    assert method.begun.tolist() == [1, 1, 1]
