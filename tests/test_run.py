"""A run's folder has one writer at a time, and one that was removed or replaced gets nothing more."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from salience.config import Config
from salience.errors import UserError
from salience.run import Run, dump_config, next_free, read_config

CONFIG = Config.from_dict({"method": "pca", "options": {}, "spec": {}, "source": None, "seed": 0, "rows": 3})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", CONFIG, {"bad_items.csv": "item,reason\n"})


def test_a_run_is_held_by_one_at_a_time(run: Run) -> None:
    with run.hold():
        run.require_held()
        with (
            pytest.raises(UserError, match=r"^run: another process trains .*run; wait until it ends or stop it"),
            Run(run.path).hold(),
        ):
            raise AssertionError("held twice")
    with Run(run.path).hold():
        pass
    assert {entry.name for entry in run.path.iterdir()} == {"config.yaml", "bad_items.csv"}


def test_an_error_lets_go_of_the_run(run: Run) -> None:
    with pytest.raises(KeyError), run.hold():
        raise KeyError
    with Run(run.path).hold():
        pass


HOLDER = """
import sys, time
from salience.run import Run
with Run(sys.argv[1]).hold():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_refused_until_the_holder_dies(run: Run) -> None:
    command = [sys.executable, "-c", HOLDER, str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process trains"), run.hold():
            pass
        holder.kill()
        holder.wait()
        assert (run.path / ".training").exists()  # the file of a dead process is no lock
        with run.hold():
            pass
    assert not (run.path / ".training").exists()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_was_removed_or_replaced_is_no_longer_held(run: Run, replaced: bool) -> None:
    with run.hold():
        shutil.rmtree(run.path)
        if replaced:
            other = Run.create(run.path, CONFIG, {})
            with (
                other.hold(),
                pytest.raises(UserError, match=r"^run: .*removed or replaced during the training"),
            ):
                run.require_held()
        with pytest.raises(UserError, match="removed or replaced"):
            run.require_held()
    assert run.path.exists() is replaced


def test_the_lock_of_another_is_not_removed_at_the_end(run: Run) -> None:
    with run.hold():
        shutil.rmtree(run.path)
        other = Run.create(run.path, CONFIG, {})
        held = other.hold()
        held.__enter__()
    with pytest.raises(UserError, match="another process trains"), Run(run.path).hold():
        pass
    held.__exit__(None, None, None)


def test_without_a_lock_nothing_is_asked(run: Run) -> None:
    shutil.rmtree(run.path)
    run.require_held()  # it is not ours to miss
    assert not run.path.exists()


def test_a_run_appears_with_all_its_files_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from salience import run as module

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        Run.create(tmp_path / "run", CONFIG, {"a.csv": "x"})
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    made = Run.create(tmp_path / "deep" / "run", CONFIG, {"a.csv": "x"})
    assert (made.path / "a.csv").read_text() == "x"
    assert made.config == CONFIG
    assert made.path.stat().st_mode & 0o777 == 0o755
    with pytest.raises(UserError, match=r"^out: .*run exists; .*--resume"):
        Run.create(made.path, CONFIG, {})


def test_the_next_free_name_is_above_all_there_are(tmp_path: Path) -> None:
    assert next_free(tmp_path, "pca-digits").name == "pca-digits-1"
    for name in ("pca-digits-2", "pca-digits-10", "pca-digits-x", "pca-other-50", "pca-digits-3"):
        (tmp_path / name).mkdir()
    assert next_free(tmp_path, "pca-digits").name == "pca-digits-11"


def test_a_config_comes_back_as_it_went(tmp_path: Path) -> None:
    config = CONFIG.but(source="/data/ü b", options={"dim": 3, "rate": 1e-05, "auto": None}, more={"later": [1]})
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    assert read_config(tmp_path / "config.yaml") == config
    assert list(read_config(tmp_path / "config.yaml").to_dict()) == list(config.to_dict())


def test_where_its_files_are(run: Run) -> None:
    names = {"weights": "model.safetensors", "checkpoint": "checkpoints/last.ckpt", "metrics": "metrics.csv"}
    assert {name: getattr(run, name).relative_to(run.path).as_posix() for name in names} == names
    assert (run.finished, run.step, run.health, run.cost) == (False, 0, None, {})
    run.write_json("cost.json", {"flops": 3})
    run.write_json("health.json", {"probes": []})
    np.save(run.path / "other.npy", np.zeros(1))
    assert (run.cost, run.health) == ({"flops": 3}, {"probes": []})
    run.weights.touch()
    assert run.finished
