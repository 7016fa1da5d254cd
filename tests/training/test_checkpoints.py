"""One process trains a run at a time, and weights that are lost or damaged are made again from the last checkpoint."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from salience.cli import main
from salience.errors import UserError
from salience.representation import Representation, load
from salience.run import Run
from salience.run_weights import save_weights, weights_match
from salience.training import fit, opened, resume
from salience.training.checkpoints import AtomicCheckpoints, Checkpointer, agree
from salience.training.metrics import read_metrics

SETTINGS: dict[str, Any] = {"encoder": "mlp", "dim": 3, "epochs": 2, "batch_size": 8, "progress": False}
pytestmark = pytest.mark.filterwarnings("ignore::salience.errors.Note")  # what the doctor says of so small a run


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    np.save(path, np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def done(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit("autoencoder", rows, out=tmp_path_factory.mktemp("done") / "run", **SETTINGS).run or Path()


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Run:
    return Run(shutil.copytree(done, tmp_path / "run"))


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], None]) -> None:
    """Does something while a run trains, when that many steps are done and the callbacks have yet to write of it."""
    plain, done = Checkpointer.on_train_batch_end, []

    def acting(self: Checkpointer, trainer: Any, *given: Any) -> None:
        if trainer.global_step == step and not done:
            done.append(step)
            act()
        plain(self, trainer, *given)

    monkeypatch.setattr(Checkpointer, "on_train_batch_end", acting)


@pytest.mark.parametrize("devices", [1, 2])
def test_a_second_resume_of_a_run_that_trains_is_refused(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], devices: int
) -> None:
    run, said = tmp_path / "run", []

    def again() -> None:
        capsys.readouterr()
        assert main(["fit", "--resume", str(run)]) == 2
        said.append(capsys.readouterr().err)

    at_step(monkeypatch, 3, again)
    fit("autoencoder", rows, out=run, devices=devices, **SETTINGS)
    assert said == [f"error: --resume: another process trains {run}; wait until it ends or stop it, then give the "
                    "command again\n"]  # fmt: skip
    steps = Run(run).config.plan.steps
    assert [int(row["step"]) for row in read_metrics(Run(run).metrics)] == list(range(1, steps + 1))
    assert not (run / ".training").exists()
    resume(run, progress=False)


def test_a_closed_form_that_is_solved_is_held_too(rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, refused = opened.save_weights, []

    def saving(*given: Any) -> None:
        with pytest.raises(UserError, match="another process trains"):
            resume(tmp_path / "pca", progress=False)
        refused.append(True)
        plain(*given)

    monkeypatch.setattr(opened, "save_weights", saving)
    fit("pca", rows, out=tmp_path / "pca", dim=2, progress=False)
    assert refused == [True]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_run_that_is_removed_while_it_trains_does_not_come_back(
    rows: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    run = tmp_path / "run"

    def remove() -> None:
        shutil.rmtree(run)
        if replaced:
            Run.create(run, Run(done).config, {})

    at_step(monkeypatch, 3, remove)
    with pytest.raises((UserError, FileNotFoundError), match=r"removed or replaced during the training|No such file"):
        fit("autoencoder", rows, out=run, checkpoint_every="1h", **SETTINGS)
    assert {entry.name for entry in run.rglob("*")} == ({"config.yaml"} if replaced else set())


def test_a_second_run_that_ends_first_is_told_apart_from_damage(copy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look for weights and the lock another process has finished: its weights stay."""
    kept = copy.weights.rename(copy.path / "kept")
    content = kept.read_bytes()
    plain = opened.training_alone

    def late(run: Run) -> Any:
        kept.rename(run.weights)
        return plain(run)

    monkeypatch.setattr(opened, "training_alone", late)
    monkeypatch.setattr(opened, "_resume", lambda *_: pytest.fail("trained again"))
    resume(copy.path, progress=False)
    assert copy.weights.read_bytes() == content


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"\xff" * 1000)


def of_another_run(path: Path) -> None:
    save_weights(torch.nn.Linear(3, 2), path)


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncated, emptied, garbage, of_another_run, one_bit, Path.unlink])
def test_lost_weights_are_made_again_from_the_checkpoint(
    copy: Run, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content, metrics = copy.weights.read_bytes(), copy.metrics.read_bytes()
    damage(copy.weights)
    at_step(monkeypatch, 1, lambda: pytest.fail("trained again"))
    resume(copy.path)
    assert copy.weights.read_bytes() == content
    assert copy.metrics.read_bytes() == metrics
    told = "written again" in capsys.readouterr().err
    assert told is (damage is not Path.unlink)
    resume(copy.path)
    assert "is finished; nothing to do" in capsys.readouterr().err


def test_lost_weights_without_a_checkpoint_are_trained_again(copy: Run) -> None:
    content = copy.weights.read_bytes()
    truncated(copy.weights)
    shutil.rmtree(copy.checkpoint.parent)
    resume(copy.path, progress=False)
    assert copy.weights.read_bytes() == content


def test_lost_weights_of_a_closed_form_are_solved_again(rows: Path, tmp_path: Path) -> None:
    run = Run(fit("pca", rows, out=tmp_path / "pca", dim=2, progress=False).run or "")
    content = run.weights.read_bytes()
    truncated(run.weights)
    with pytest.raises(UserError, match="make them again with"):
        load(run.path)
    resume(run.path, progress=False)
    assert run.weights.read_bytes() == content


@pytest.mark.parametrize("damage", [truncated, emptied, garbage, of_another_run])
def test_load_says_how_damaged_weights_are_made_again(copy: Run, damage: Callable[[Path], None]) -> None:
    damage(copy.weights)
    remedy = rf"make them again with: salience fit --resume {copy.path}$"
    with pytest.raises(UserError, match=rf"^run: the weights in .*run are damaged or do not fit.*; {remedy}"):
        load(copy.path)


@pytest.mark.parametrize("damage", ["name", "shape", "kind"])
def test_a_checkpoint_of_another_network_is_refused_by_resume_in_one_line(copy: Run, damage: str) -> None:
    kept = torch.load(copy.checkpoint, weights_only=True)
    name = next(name for name in kept["state_dict"] if name.endswith("weight"))
    tensor = kept["state_dict"].pop(name)
    damaged = {"name": {f"{name}3": tensor}, "shape": {name: tensor[:1]}, "kind": {name: 3.0}}[damage]
    kept["state_dict"] |= damaged
    torch.save(kept, copy.checkpoint)
    copy.weights.unlink()
    with pytest.raises(
        UserError, match=r"^run: .*last.ckpt is damaged or does not fit .*; delete it to start"
    ) as refused:
        resume(copy.path, progress=False)
    assert "\n" not in str(refused.value)


def test_a_damaged_checkpoint_does_not_question_whole_weights(copy: Run) -> None:
    content = copy.weights.read_bytes()
    copy.checkpoint.write_bytes(b"garbage")
    assert weights_match(copy)
    resume(copy.path, progress=False)
    copy.checkpoint.unlink()
    assert isinstance(resume(copy.path, progress=False), Representation)
    assert copy.weights.read_bytes() == content


def test_a_checkpoint_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saver, path = AtomicCheckpoints(), tmp_path / "last.ckpt"
    saver.save_checkpoint({"global_step": 1, "state_dict": {"w": torch.ones(3)}}, path)
    from salience.training import checkpoints

    def half(place: Path, content: memoryview) -> None:
        place.write_bytes(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write", half)
    with pytest.raises(OSError, match="No space"):
        saver.save_checkpoint({"global_step": 2, "state_dict": {"w": torch.zeros(3)}}, path)
    assert saver.load_checkpoint(path)["global_step"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]
    with pytest.raises(FileNotFoundError):
        saver.save_checkpoint({}, tmp_path / "gone" / "last.ckpt")
    saver.remove_checkpoint(path)
    assert not path.exists()


class FakeTrainer:
    """What a callback asks of Lightning's trainer, and where it saved."""

    def __init__(self, world_size: int = 1):
        self.world_size, self.global_step, self.should_stop, self.saved = world_size, 0, False, []

    def save_checkpoint(self, path: Path) -> None:
        self.saved.append((path, self.global_step))


def steps(saver: Checkpointer, trainer: FakeTrainer, count: int) -> None:
    for _ in range(count):
        trainer.global_step += 1
        saver.on_train_batch_end(trainer, None)  # type: ignore[arg-type]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, as a list of one."""
    now = [1000.0]
    monkeypatch.setattr("salience.training.checkpoints.time.monotonic", lambda: now[0])
    return now


def test_a_checkpoint_is_saved_when_it_is_due_and_at_the_end(clock: list[float], tmp_path: Path) -> None:
    saver, trainer = Checkpointer(tmp_path / "last", every=10.0, ask_every=1), FakeTrainer()
    for step in range(1, 26):
        clock[0] = 1000.0 + step
        steps(saver, trainer, 1)
    assert trainer.saved == [(tmp_path / "last", 10), (tmp_path / "last", 20)]
    saver.on_train_end(trainer, None)  # type: ignore[arg-type]
    assert trainer.saved[2:] == [(tmp_path / "last", 25)]
    assert not trainer.should_stop
    assert not saver.stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_at_the_next_step_with_one_checkpoint(
    clock: list[float], tmp_path: Path, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    saver, trainer = Checkpointer(tmp_path / "last", every=10.0, ask_every=1), FakeTrainer()
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    saver.on_train_start(trainer, None)  # type: ignore[arg-type]
    steps(saver, trainer, 3)
    signal.raise_signal(number)
    assert not trainer.should_stop
    steps(saver, trainer, 1)
    assert (trainer.should_stop, saver.stopped, trainer.saved) == (True, True, [(tmp_path / "last", 4)])
    assert ("Ctrl-C again stops at once" in capfd.readouterr().err) is (number == signal.SIGINT)
    saver.on_train_end(trainer, None)  # type: ignore[arg-type]
    assert len(trainer.saved) == 1
    assert {one: signal.getsignal(one) for one in before} == before


def test_a_second_ctrl_c_stops_at_once_and_another_sigterm_does_not(tmp_path: Path) -> None:
    saver, trainer = Checkpointer(tmp_path / "last", every=10.0, ask_every=1), FakeTrainer()
    saver.on_train_start(trainer, None)  # type: ignore[arg-type]
    try:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)  # the first
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        saver.on_exception(trainer, None, KeyboardInterrupt())  # type: ignore[arg-type]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_several_processes_agree_every_few_steps_and_one_that_wishes_is_enough(
    clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def others(said: torch.Tensor, how: Any) -> None:
        """The other process wishes to stop at step 8."""
        asked.append((trainer.global_step, said.tolist()))
        theirs = torch.tensor([int(trainer.global_step >= 8), 0], dtype=said.dtype)
        both = torch.stack([said, theirs])
        said.copy_({dist.ReduceOp.MAX: both.amax(0), dist.ReduceOp.MIN: both.amin(0)}[how])

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "get_backend", lambda: "gloo")
    monkeypatch.setattr(dist, "all_reduce", others)
    saver, trainer = Checkpointer(tmp_path / "last", every=10.0, ask_every=4), FakeTrainer(world_size=2)
    steps(saver, trainer, 3)
    clock[0] += 11.0
    steps(saver, trainer, 5)
    assert asked == [(4, [0, 1]), (8, [0, 0])]
    assert trainer.saved == [(tmp_path / "last", 4), (tmp_path / "last", 8)]
    assert trainer.should_stop
    assert agree([False, True]) == [True, True]
