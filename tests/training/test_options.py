"""Each option of `fit` does what its help says, and the training moves as it was planned."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from salience import processors
from salience.batch import Batch, Progress
from salience.data import open_data, permute
from salience.errors import Note, UserError
from salience.health.record import Collapsed
from salience.methods.autoencoders.autoencoder import Autoencoder
from salience.methods.contrastive.simclr import SimCLR
from salience.methods.lightning import LightningMethod, Plan
from salience.methods.schedules import warm_up_cosine
from salience.representation import Representation, load
from salience.run import Run
from salience.training import checkpoints, engine, fit, resume
from salience.training.metrics import read_metrics
from tests.contract import CLASSES, ROWS, build, structured_images
from tests.methods.proof import adapters

ARRAY = structured_images().x[:, 0]
LABELS = np.arange(ROWS) % CLASSES
PLAIN: dict[str, Any] = {"epochs": 2, "batch_size": 32, "progress": False, "encoder": "linear", "dim": 4}


def fitted(out: Path, name: str = "autoencoder", **changes: Any) -> Representation:
    source = changes.pop("source", ARRAY)
    settings = PLAIN | changes
    if name != "autoencoder":
        settings.pop("dim")
    return fit(name, source, out=out, **settings)


def weights(rep: Representation) -> bytes:
    return Run(rep.run or "").weights.read_bytes()


class Seen(NamedTuple):
    """What a step was given, and what training looked like meanwhile."""

    batch: Batch
    at: Progress
    rate: float
    threads: int


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    """Every training step of an autoencoder."""
    steps: list[Seen] = []
    whole = LightningMethod.training_step

    def step(self: LightningMethod, batch: Batch, batch_idx: int) -> torch.Tensor:
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        steps.append(Seen(batch, self.progress(), rate, torch.get_num_threads()))
        return whole(self, batch, batch_idx)

    monkeypatch.setattr(LightningMethod, "training_step", step)
    return steps


# --- how long, how fast, in which order


def test_epochs_are_passes_over_the_data_each_in_another_order(seen: list[Seen], tmp_path: Path) -> None:
    rep = fitted(tmp_path / "run", epochs=5, batch_size=24, seed=7)
    assert rep.config.plan.steps == len(seen) == 5 * ROWS // 24
    assert [step.at.step for step in seen] == list(range(20))
    assert [step.at.epoch for step in seen] == [number // 4 for number in range(20)]
    assert {(step.at.total, step.at.seed, step.at.rank, step.at.world) for step in seen} == {(20, 7, 0, 1)}
    epochs = np.stack([step.batch.index.numpy() for step in seen]).reshape(5, ROWS)
    assert all(np.array_equal(np.sort(order), np.arange(ROWS)) for order in epochs)
    assert len({tuple(order) for order in epochs}) == 5


def test_the_order_is_that_of_the_seed(seen: list[Seen], tmp_path: Path) -> None:
    orders = []
    for seed in (0, 1, 2):
        seen.clear()
        fitted(tmp_path / str(seed), epochs=1, seed=seed)
        orders.append(np.concatenate([step.batch.index.numpy() for step in seen]))
        np.testing.assert_array_equal(orders[-1], permute(np.arange(ROWS), ROWS, seed, 0))
    assert len({tuple(order) for order in orders}) == 3


def test_a_batch_has_as_many_rows_as_were_asked_for(seen: list[Seen], tmp_path: Path) -> None:
    rep = fitted(tmp_path / "run", batch_size=40)
    assert {len(step.batch) for step in seen} == {40}
    assert rep.config.plan.steps_per_epoch == 2  # full batches only: 16 of 96 rows wait for another epoch's order


def test_the_highest_learning_rate_is_what_was_asked_for_and_its_course_that_of_the_plan(
    seen: list[Seen], tmp_path: Path
) -> None:
    rep = fitted(tmp_path / "run", epochs=10, learning_rate=0.03)
    rates = [step.rate for step in seen]
    assert rates == pytest.approx([0.03 * warm_up_cosine(number, 30) for number in range(30)])
    assert max(rates) == pytest.approx(0.03)
    assert rates[:3] == pytest.approx([0.01, 0.02, 0.03])  # warm-up: a tenth of the steps
    logged = [float(row["learning_rate"]) for row in read_metrics(Run(rep.run or "").metrics)]
    assert logged == pytest.approx(rates, rel=1e-5)


def test_a_higher_learning_rate_moves_weights_further(tmp_path: Path) -> None:
    start = fitted(tmp_path / "none", learning_rate=1e-12).method.state_dict()["encoder.body.1.weight"]
    name = "encoder.body.1.weight"
    moved = []
    for rate in (1e-4, 1e-3):
        end = fitted(tmp_path / str(rate), learning_rate=rate).method.state_dict()[name]
        moved.append(float((end - start).norm()))
    assert 0 < 5 * moved[0] < moved[1]


def test_another_seed_gives_other_weights_and_the_same_one_the_same(tmp_path: Path) -> None:
    first, same, other = (fitted(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert weights(first) == weights(same) != weights(other)


# --- what is optimised


def test_weights_decay_and_biases_and_norms_do_not() -> None:
    """With gradients of zero, Adam moves nothing: what is left of a step is the decay."""
    method = build("simclr", structured_images())
    assert isinstance(method, SimCLR)
    plan = Plan(total=10, steps_per_epoch=3, learning_rate=0.1, weight_decay=0.5)
    optimiser = LightningMethod(method, plan).configure_optimizers()["optimizer"]
    for group in optimiser.param_groups:
        group["lr"] = 0.1
    before = {name: parameter.detach().clone() for name, parameter in method.named_parameters()}
    for parameter in method.parameters():
        nn.init.constant_(parameter, 1.0)
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    kinds = {name: parameter.ndim > 1 for name, parameter in method.named_parameters()}
    assert set(kinds.values()) == {True, False}
    for name, parameter in method.named_parameters():
        expected = 1 - 0.1 * 0.5 if kinds[name] else 1.0
        torch.testing.assert_close(parameter, torch.full_like(before[name], expected), msg=name)


def test_every_parameter_that_is_trained_is_given_to_the_optimiser_once() -> None:
    method = build("simclr", structured_images())
    given = [id(parameter) for group in method.param_groups() for parameter in group["params"]]
    assert sorted(given) == sorted(id(parameter) for parameter in method.parameters() if parameter.requires_grad)


def test_the_plan_of_a_run_decays_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[float] = []

    def look(self: Autoencoder, at: Progress) -> None:
        groups.extend(group["weight_decay"] for group in found[self].trainer.optimizers[0].param_groups)

    monkeypatch.setattr(Autoencoder, "before_step", look)
    with adapters() as found:
        rep = fitted(tmp_path / "run", epochs=1)
    assert set(groups) == {rep.config.plan.weight_decay, 0.0} == {1e-4, 0.0}


# --- what it learns from


def test_labels_are_seen_only_where_the_user_says_so(seen: list[Seen], tmp_path: Path) -> None:
    data = structured_images(labelled=True)
    fitted(tmp_path / "without", source=data)
    assert all(step.batch.y == {} for step in seen)
    seen.clear()
    fitted(tmp_path / "with", source=data, use_labels=True)
    for step in seen:
        assert data.labels is not None
        assert np.array_equal(step.batch.y["label"].numpy(), data.labels[step.batch.index.numpy()])
    with pytest.raises(UserError, match="label"):
        fitted(tmp_path / "none", use_labels=True)


def test_a_class_that_is_left_out_is_never_seen(seen: list[Seen], tmp_path: Path) -> None:
    data = open_data(ARRAY, labels=LABELS, progress=False)
    rep = fitted(tmp_path / "run", source=data, without=np.int64(1), batch_size=16)
    assert rep.config.data.rows == ROWS - ROWS // CLASSES
    assert rep.config.data.without == "1"
    left = data.without("1").x
    for step in seen:
        assert np.array_equal(step.batch.x.numpy(), left[step.batch.index.numpy()])


def test_images_are_brought_to_the_resolution(tmp_path: Path) -> None:
    assert fitted(tmp_path / "run", resolution=6).spec.shape == (1, 6, 6)


def test_views_encoder_and_start_are_as_given(tmp_path: Path) -> None:
    usual = fitted(tmp_path / "usual", "simclr", encoder=None)
    other = fitted(tmp_path / "views", "simclr", encoder=None, views="identity")
    wide = fitted(tmp_path / "encoder", "simclr", encoder="mlp")
    assert (usual.config.model.views, other.config.model.views) == ("grey", "identity")
    assert (usual.config.model.encoder, wide.config.model.encoder) == ("convnet", "mlp")
    assert weights(usual) != weights(other)
    assert not any(isinstance(part, nn.Conv2d) for part in wide.method.encoder.modules())
    started = fitted(tmp_path / "start", "simclr", encoder=None, init=usual.run, learning_rate=1e-12)
    name = "encoder.body.0.0.weight"
    assert started.config.training.init == str((tmp_path / "usual").resolve())
    torch.testing.assert_close(started.method.state_dict()[name], usual.method.state_dict()[name])
    assert not torch.equal(load(tmp_path / "views").method.state_dict()[name], usual.method.state_dict()[name])


# --- how it is done


@pytest.mark.parametrize(("every", "saves"), [("1h", 1), ("25s", 3), (10, 7), ("1s", 7)])
def test_the_state_is_saved_as_often_as_asked_and_at_the_end(
    every: str | float, saves: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Six steps of ten seconds, by a clock that only they move."""
    now, saved = [0.0], []
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(checkpoints, "write", lambda path, content: saved.append(path.write_bytes(content)))

    def step(self: Autoencoder, at: Progress) -> None:
        now[0] += 10.0

    monkeypatch.setattr(Autoencoder, "before_step", step)
    fitted(tmp_path / "run", checkpoint_every=every)
    assert len(saved) == saves  # the last at the end of the training


def test_the_state_that_is_saved_holds_optimiser_schedule_and_callbacks(tmp_path: Path) -> None:
    run = Run(fitted(tmp_path / "run").run or "")
    state = torch.load(run.checkpoint, weights_only=True)
    moments = state["optimizer_states"][0]["state"]
    assert all(float(entry["exp_avg_sq"].abs().sum()) > 0 for entry in moments.values())
    assert {int(entry["step"]) for entry in moments.values()} == {6}
    assert state["lr_schedulers"][0]["last_epoch"] == 6
    assert {"CostMeter", "Health"} <= {name.partition("{")[0] for name in state["callbacks"]}


def test_collapse_stops_a_training_only_where_that_was_asked_for(tmp_path: Path) -> None:
    same = structured_images().subset([0] * 80)
    settings: dict[str, Any] = {"source": same, "epochs": 12, "batch_size": 16}
    with pytest.raises(Collapsed, match="training has collapsed by step"):
        fitted(tmp_path / "stops", **settings, stop_when_collapsed=True)
    assert not Run(tmp_path / "stops").finished
    rep = fitted(tmp_path / "goes-on", **settings)
    assert Run(rep.run or "").finished


def test_what_somebody_watches_is_warned_of(tmp_path: Path) -> None:
    same = structured_images().subset([0] * 80)
    with pytest.warns(Note, match=r"^step \d+: "):
        fitted(tmp_path / "run", source=same, epochs=12, batch_size=16, progress=True)


def test_threads_are_those_asked_for_and_the_callers_come_back(
    seen: list[Seen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(processors, "machine_cores", lambda: before + 1)
    rep = fitted(tmp_path / "run", threads=before + 1)
    assert {step.threads for step in seen} == {before + 1} == {rep.config.training.threads}
    assert torch.get_num_threads() == before


def test_a_fit_has_at_most_as_many_threads_as_the_machine_has_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processors, "machine_cores", lambda: 2)
    with pytest.warns(Note, match=r"^threads: 1,000 requested, but the machine has 2 cores; using 2$"):
        rep = fitted(tmp_path / "run", threads=1000)
    assert rep.config.training.threads == 2


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_networks_compute_in_the_precision_asked_for(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    types = []
    whole = Autoencoder.loss

    def loss(self: Autoencoder, batch: Batch, at: Progress) -> dict[str, torch.Tensor]:
        if torch.is_grad_enabled() and not batch.x.is_meta:  # a step: no look at the health, no count of operations
            types.append(nn.functional.linear(torch.ones(1, 2), torch.ones(2, 2)).dtype)
        return whole(self, batch, at)

    monkeypatch.setattr(Autoencoder, "loss", loss)
    rep = fitted(tmp_path / "run", precision=precision)
    assert rep.config.plan.precision == precision
    assert types.count(torch.bfloat16 if precision == "bf16-mixed" else torch.float32) == rep.config.plan.steps


@pytest.mark.parametrize("compiled", [True, False])
def test_networks_are_compiled_where_that_is_asked_for(
    compiled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(engine.machine, "has_compiler", lambda: True)
    monkeypatch.setattr(nn.Module, "compile", lambda self, **how: asked.append(how))
    assert fitted(tmp_path / "run", compile=compiled).config.plan.compile is compiled
    assert (asked == []) is not compiled
    assert all(how == {"dynamic": False} for how in asked)


def test_a_logger_is_told_what_the_metrics_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.pytorch.loggers import CSVLogger

    monkeypatch.setattr(engine, "logger_class", lambda name: {"tensorboard": CSVLogger}[name])
    rep = fitted(tmp_path / "run", logger="tensorboard")
    lines = [path for path in (tmp_path / "run").rglob("metrics.csv") if path != Run(rep.run or "").metrics]
    assert len(lines) == 1
    assert "loss" in lines[0].read_text().splitlines()[0]


def test_what_it_cost_is_of_the_whole_training(tmp_path: Path) -> None:
    cost = Run(fitted(tmp_path / "run", epochs=3).run or "").cost
    assert cost["items_seen"] == 3 * ROWS
    assert 0 < cost["seconds"] < 600
    assert cost["peak_memory_bytes"] > 0


def test_what_it_cost_is_of_all_sittings(tmp_path: Path) -> None:
    run = Run(fitted(tmp_path / "run").run or "")
    state = torch.load(run.checkpoint, weights_only=True)
    [meter] = [name for name in state["callbacks"] if name.startswith("CostMeter")]
    state["callbacks"][meter] = {"seconds": 1000.0, "peak": 2**50}
    torch.save(state, run.checkpoint)
    run.weights.unlink()
    resume(run.path, ARRAY, progress=False)
    assert 1000 <= run.cost["seconds"] < 1600
    assert run.cost["peak_memory_bytes"] == 2**50


# --- all of it again


def test_a_resumed_run_keeps_to_its_own_options(seen: list[Seen], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ARRAY)
    rep = fitted(tmp_path / "run", source=tmp_path / "x.npy", epochs=4, learning_rate=0.02, seed=5, threads=1)
    begun = Run.create(tmp_path / "again", rep.config, {})
    seen.clear()
    assert weights(resume(begun.path, progress=False)) == weights(rep)
    assert max(step.rate for step in seen) == pytest.approx(0.02)
    assert {(step.at.seed, step.at.total) for step in seen} == {(5, 12)}
