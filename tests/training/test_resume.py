"""A run killed at any moment and resumed ends with exactly the weights and metrics of the uninterrupted run.

The process is really killed: a forked child leaves by os._exit at the chosen moment, so nothing cleans up after it.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.config import Config
from salience.data import Dataset, open_data
from salience.health import probe
from salience.methods import Context, Method
from salience.nets import Encoder
from salience.run import Run
from salience.training import checkpoints, engine

STEPS, KILLED = 14, 9
pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process"),
    pytest.mark.filterwarnings("ignore::salience.errors.Note"),  # what the doctor says of so small a run
]


class Teacher(Method):
    """Has everything that is hard to resume: a queue and its pointer, an averaged teacher, dropout, batch norm."""

    modalities = ("table",)

    def __init__(self, encoder: Encoder):
        super().__init__(encoder)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(encoder.dim, 4))
        self.teacher = copy.deepcopy(self.head).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(40, 4))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        return cls(context.make_encoder())

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        h = self.encoder(self.encoder.input.unit(batch.x))
        with torch.no_grad():
            self.target = self.teacher(h)
        noise = 0.1 * torch.randn(len(h), 4)
        return {"loss": F.mse_loss(self.head(h), self.target + noise + self.queue.mean(dim=0) + at.fraction)}

    def after_step(self, at: Progress) -> None:
        moment("after_step", at.step)
        for mine, theirs in zip(self.teacher.parameters(), self.head.parameters(), strict=True):
            mine.lerp_(theirs.detach(), 1 - (0.9 + 0.1 * at.fraction))
        at_row = int(self.pointer)
        self.queue[at_row : at_row + 8] = self.target
        self.pointer.fill_((at_row + 8) % len(self.queue))


def moment(name: str, step: int) -> None:
    """A place where the test may kill the process."""


def table() -> Dataset:
    return open_data(np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32), progress=False)


def config(**changes: Any) -> Config:
    dataset = table()
    values = {
        "method": "teacher",
        "options": {},
        "source": None,
        "seed": 3,
        "rows": len(dataset),
        "spec": dataset.spec.to_dict(),
        "use_labels": False,
        "batch_size": 8,
        "steps_per_epoch": 6,
        "steps": STEPS,
        "learning_rate": 0.01,
        "weight_decay": 1e-4,
        "precision": "32-true",
        "compile": False,
        "threads": 1,
        "devices": 1,
        "logger": None,
        "checkpoint_every": "0.0001s",
        "flops_per_step": 1,
        **changes,
    }
    return Config.from_dict(values)


def train(run: Run) -> Teacher:
    dataset = table()
    torch.manual_seed(run.config.training.seed)
    method = Teacher.build(Context(dataset.spec, len(dataset)))
    engine.train(run, method, dataset, progress=False)
    return method


def killed(run: Run) -> None:
    """Trains in a child process that a hook kills."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        train(run)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 9, "the process was not killed where it should have been"


def kill_when(condition: bool) -> None:
    if condition:
        os._exit(9)


def in_step(patch: pytest.MonkeyPatch) -> None:
    whole = Teacher.loss

    def loss(self: Teacher, batch: Batch, at: Progress) -> dict[str, Tensor]:
        terms = whole(self, batch, at)
        kill_when(at.step == KILLED)
        return terms

    patch.setattr(Teacher, "loss", loss)


def before_after_step(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(globals(), "moment", lambda name, step: kill_when(step == KILLED))


def in_save(patch: pytest.MonkeyPatch) -> None:
    saves = []

    def half(path: Path, content: memoryview) -> None:
        saves.append(path)
        path.write_bytes(content if len(saves) < KILLED else content[: len(content) // 2])
        kill_when(len(saves) == KILLED)

    patch.setattr(checkpoints, "write", half)


def before_first_checkpoint(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checkpoints.Checkpointer, "on_train_batch_end", lambda *args: kill_when(args[1].global_step == 3))


def after_last_step(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(engine, "_cost", lambda *args: kill_when(True))


def in_metrics(patch: pytest.MonkeyPatch) -> None:
    append = engine.MetricsCSV._append

    def half(self: engine.MetricsCSV, cells: list[Any]) -> None:
        append(self, cells)
        if cells[0] == KILLED:
            os.truncate(self.path, self.path.stat().st_size - 5)
            os._exit(9)

    patch.setattr(engine.MetricsCSV, "_append", half)


def in_health(patch: pytest.MonkeyPatch) -> None:
    """In the third look at the probe: it is embedded, and nothing is written of it yet."""
    rank, looks = probe.effective_rank, []

    def measured(h: Tensor) -> Tensor:
        looks.append(h)
        kill_when(len(looks) == 3)
        return rank(h)

    patch.setattr(probe, "effective_rank", measured)


class Outcome(NamedTuple):
    """What a run ends with, and must end with after any interruption."""

    weights: dict[str, Tensor]
    metrics: str
    health: str


def outcome(run: Run) -> Outcome:
    return Outcome(train(run).state_dict(), run.metrics.read_text(), (run.path / "health.json").read_text())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return outcome(Run.create(tmp_path_factory.mktemp("whole") / "run", config(), {}))


@pytest.mark.parametrize(
    "kill", [in_step, before_after_step, in_save, in_health, before_first_checkpoint, after_last_step, in_metrics]
)
def test_killed_and_resumed_equals_uninterrupted(
    kill: Callable[[pytest.MonkeyPatch], None], uninterrupted: Outcome, tmp_path: Path
) -> None:
    run = Run.create(tmp_path / "run", config(), {})
    with pytest.MonkeyPatch.context() as patch:
        kill(patch)
        killed(run)
    resumed = outcome(run)
    for name, expected in uninterrupted.weights.items():
        assert torch.equal(resumed.weights[name], expected), name
    assert resumed.metrics == uninterrupted.metrics
    assert resumed.health == uninterrupted.health
    assert not list(run.path.rglob("*.part"))


def test_the_probe_is_looked_at_in_the_middle_of_the_training(uninterrupted: Outcome) -> None:
    steps = [probe["step"] for probe in json.loads(uninterrupted.health)["probes"]]
    assert steps == [0, 5, 10, STEPS]  # in_health kills in the third


def test_the_metrics_have_a_row_for_every_logged_step(uninterrupted: Outcome) -> None:
    lines = uninterrupted.metrics.splitlines()
    assert lines[0].startswith("step,")
    assert "loss" in lines[0].split(",")
    assert [int(line.split(",")[0]) for line in lines[1:]] == list(range(1, STEPS + 1))


def test_another_seed_gives_other_weights(uninterrupted: Outcome, tmp_path: Path) -> None:
    other = train(Run.create(tmp_path / "run", config(seed=4), {})).state_dict()
    assert not torch.equal(other["head.1.weight"], uninterrupted.weights["head.1.weight"])
