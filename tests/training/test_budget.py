"""A time budget, by a clock that only moves when something is done: no test here knows how fast the machine is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from salience.config import TrainingPlan
from salience.data import Loader
from salience.errors import UserError
from salience.health.probe import SIZE, Probe
from salience.health.record import PROBES
from salience.run import Run
from salience.training import budget, fit, plan, timing
from salience.training.budget import LOOK, MEASURED_STEPS, MEASURING_SHARE, Look, most_probes
from salience.training.metrics import read_metrics
from tests.contract import build, structured_images

ARRAY = structured_images().x[:, 0]
SETTINGS: dict[str, Any] = {"batch_size": 32, "encoder": "linear", "progress": False}


class Machine:
    """Seconds pass as told: before anything is measured, in each step, in each look at the health."""

    def __init__(self, patch: pytest.MonkeyPatch, *, start: float, step: float, look: float):
        self.now, self.steps, self.looks = 100.0, 0, 0
        flops, batch_at, looked = plan.step_flops, Loader.batch_at, Probe.look

        def slow_flops(*args: Any) -> int:
            self.now += start
            return flops(*args)

        def slow_batch(*args: Any) -> Any:
            self.now += step
            self.steps += 1
            return batch_at(*args)

        def slow_look(*args: Any, **how: Any) -> Any:
            self.now += look
            self.looks += 1
            return looked(*args, **how)

        patch.setattr(timing, "clock", lambda: self.now)
        patch.setattr(plan, "step_flops", slow_flops)
        patch.setattr(Loader, "batch_at", slow_batch)
        patch.setattr(Probe, "look", slow_look)
        self.planned: tuple[int, int, float] = (0, 0, 0.0)
        whole = budget.steps_within

        def planning(*args: Any) -> tuple[int, int, float]:
            self.planned = whole(*args)
            self.measured = self.now - 100.0 - start
            self.measured_steps, self.measured_looks = self.steps, self.looks
            return self.planned

        patch.setattr(budget, "steps_within", planning)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Machine]:
    return lambda **seconds: Machine(monkeypatch, **{"start": 1.0, "step": 0.5, "look": 0.25, **seconds})


def trained(out: Path, seconds: float, labels: Any = None) -> Run:
    rep = fit("autoencoder", ARRAY, out=out, budget=seconds, dim=2, labels=labels, **SETTINGS)
    return Run(rep.run or "")


def test_it_becomes_steps_once_and_they_fit(machine: Callable[..., Machine], tmp_path: Path) -> None:
    here = machine(start=5.0, step=0.5, look=0.25)
    run = trained(tmp_path / "run", 100.0)
    each, look = 0.5 + budget.TRAINER, 0.25
    left = 95.0 - here.measured
    assert run.config.plan.steps == int((0.85 * left - (PROBES + 1) * look) / each)
    assert run.config.training.budget == "100.0"
    assert run.config.plan.probes is None
    assert int(read_metrics(run.metrics)[-1]["step"]) <= run.config.plan.steps
    assert here.now <= 100.0 + 100.0


@pytest.mark.parametrize("labels", [None, np.arange(len(ARRAY)) % 2])
@pytest.mark.parametrize(
    ("start", "step", "look"),
    [
        (20.0, 15.0, 20.0),  # 200,000 images on a busy machine
        (40.0, 19.0, 1.0),
        (10.0, 0.01, 30.0),
        (1.0, 3.0, 0.1),
        (0.0, 0.5, 3.0),
        (59.0, 0.9, 0.1),
        (0.0, 59.0, 0.1),
    ],
)
def test_any_step_that_fits_is_taken_and_measuring_is_a_small_part(
    machine: Callable[..., Machine], start: float, step: float, look: float, labels: Any, tmp_path: Path
) -> None:
    here = machine(start=start, step=step, look=look)
    run = trained(tmp_path / "run", 60.0, labels)
    left = 60.0 - start
    assert run.config.plan.steps >= 1
    assert here.measured_steps == 1 or here.measured_steps * step <= 1.5 * MEASURING_SHARE * left
    assert here.measured_looks <= 1 or here.measured_looks * look <= 2 * MEASURING_SHARE * left
    assert here.now - 100.0 <= 60.0 or run.config.plan.steps == 1 or here.measured_looks * look > MEASURING_SHARE * left


def test_a_start_up_that_takes_all_of_it_is_told_before_anything_is_measured(
    machine: Callable[..., Machine], tmp_path: Path
) -> None:
    here = machine(start=70.0)
    with pytest.raises(UserError, match="budget: 1 min ended before the first step; the start-up took 1 min 1"):
        trained(tmp_path / "run", 60.0)
    assert here.steps == here.looks == 0
    assert not (tmp_path / "run").exists()


def test_a_step_that_does_not_fit_is_measured_once_and_told(machine: Callable[..., Machine], tmp_path: Path) -> None:
    here = machine(start=10.0, step=3600.0)
    told = r"^budget: 10 min ended before the first step; a step takes 1 h and the start-up took 10 s; .*--batch-size$"
    with pytest.raises(UserError, match=told):
        trained(tmp_path / "run", 600.0)
    assert (here.steps, here.looks) == (1, 0)


def test_looks_that_take_long_are_fewer_and_the_run_says_so(
    machine: Callable[..., Machine], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(start=0.0, step=0.5, look=5.0)
    rep = fit("autoencoder", ARRAY, out=tmp_path / "run", budget=60, dim=2, **SETTINGS | {"progress": True})
    run = Run(rep.run or "")
    assert run.config.plan.probes == 1
    assert "probes         1            checks its health, for which there is time" in capsys.readouterr().err
    seen = [probe["step"] for probe in json.loads((run.path / "health.json").read_text())["probes"]]
    assert seen == [0, run.config.plan.steps]


@pytest.mark.parametrize(
    ("most", "compiles", "steps"),
    [
        (1e9, False, 1 + 2 * MEASURED_STEPS),
        (41.0, False, 1 + 1 + 1),  # 20 s are half of it: one step each to warm up and to be timed
        (39.0, False, 1),
        (39.0, True, 1 + 1 + 1),  # the first has compiled
        (221.0, False, 1 + MEASURED_STEPS + MEASURED_STEPS),  # 201 s are left, and half of them are five steps
        (140.0, False, 1 + 3 + 3),
    ],
)
def test_steps_are_timed_within_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, most: float, compiles: bool, steps: int
) -> None:
    clock, taken = [0.0], []
    monkeypatch.setattr(timing, "clock", lambda: clock[0])

    def step(number: int) -> None:
        clock[0] += 20.0
        taken.append(number)

    assert budget._timed(step, most, compiles=compiles) == 20.0
    assert len(taken) == steps


def test_the_first_step_does_not_count_where_there_is_time_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(timing, "clock", lambda: clock[0])
    seconds = iter([10.0, *[2.0] * MEASURED_STEPS, *[1.0] * MEASURED_STEPS])

    def step(number: int) -> None:
        clock[0] += next(seconds)

    assert budget._timed(step, 1000.0, compiles=False) == 1.0


def test_measuring_leaves_weights_statistics_and_gradients_as_they_were() -> None:
    """A convnet has running statistics, which every step in training mode changes."""
    data = structured_images()
    method = build("simclr", data, encoder="convnet")
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    assert any(name.endswith("running_mean") for name in before)
    plan = TrainingPlan(batch_size=32, learning_rate=1e-3, precision="32-true", steps=1, steps_per_epoch=1)
    assert budget.seconds_per_step(method, data.loader(32), plan, 1e-6) > 0
    for name, tensor in method.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in method.parameters())


def test_as_many_looks_as_there_is_time_for() -> None:
    look = Look(plain=1.0, knn=3.0)
    assert look.seconds(1) == 2 + 2  # only the first asks, at the very beginning
    assert look.seconds(PROBES) == 13 + 2 * 7  # 0, 1, 2, 3, 6, 9, 12
    assert most_probes(look, 27.0) == PROBES
    assert most_probes(look, 26.9) == PROBES - 1
    assert most_probes(look, 0.0) == 1


def test_a_look_too_slow_to_be_timed_is_reckoned_from_a_step(machine: Callable[..., Machine]) -> None:
    machine(look=1.0)
    data = structured_images(labelled=True)
    plan = TrainingPlan(batch_size=32, learning_rate=1e-3, precision="32-true", steps=1, steps_per_epoch=1)
    reckoned = LOOK * SIZE / 32 * 0.7
    method = build("autoencoder", data)
    assert budget.seconds_of_look(method, data, plan, 0.7, 0.9 * reckoned) == Look(reckoned, 2 * reckoned)
    assert budget.seconds_of_look(method, data, plan, 1e-6, 1e9) == Look(1.0, 1.0)
    half = budget.seconds_of_look(method, data, plan, 1e-6, 1.0)  # no time to ask for neighbours
    assert half == Look(1.0, 1.0 + 84 / SIZE)  # of 96 items, 84 have a label
