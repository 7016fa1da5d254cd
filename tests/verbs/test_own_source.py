"""Without a source, a verb takes the one the run was trained on, and says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import salience
from salience.cli import main
from salience.errors import Note, UserError
from salience.verbs import table

SAID = "no source was given; using digits, which the run was trained on"
PYTHON: dict[str, Callable[..., Any]] = {
    "embed": lambda run, *source, out: salience.embed_to(run, *source, out=out / "x.parquet"),
    "evaluate": lambda run, *source, out: salience.evaluate(run, *source, write=False),
    "predict": lambda run, *source, out: salience.predict(run, *source, labels=out / "few.csv"),
    "reconstruct": lambda run, *source, out: salience.reconstruct(run, *source),
    "denoise": lambda run, *source, out: salience.denoise(run, *source),
    "interpolate": lambda run, *source, out: salience.interpolate(run, *source),
    "arithmetic": lambda run, *source, out: salience.arithmetic(run, *source, add="1", subtract="2"),
    "anomalies": lambda run, *source, out: salience.anomalies(run, *source),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "run"
    salience.fit("pca", "digits", out=path, dim=4, progress=False)
    return path


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("memory") / "run"
    images = np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8)
    salience.fit("pca", images, out=path, dim=4, progress=False)
    return path


def test_all_verbs_with_a_source_of_their_own_are_tried() -> None:
    assert set(PYTHON) == {verb.name for verb in table.TABLE if verb.own_source} - {"super-resolve"}


@pytest.mark.parametrize("verb", PYTHON)
def test_python_takes_the_runs_own_source_and_says_so(run: Path, verb: str, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("item,label\n0,a\n1,b\n2,a\n3,b\n")
    with pytest.warns(Note, match=f"^{SAID}$"):
        PYTHON[verb](run, out=tmp_path)


@pytest.mark.parametrize("verb", PYTHON)
def test_python_refuses_where_the_run_was_fitted_to_data_in_memory(in_memory: Path, verb: str, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("item,label\n0,a\n1,b\n")
    argument = "on" if verb == "evaluate" else "source"
    with pytest.raises(UserError, match=f"^{argument}: none was given, and the run was fitted to data in memory; give"):
        PYTHON[verb](in_memory, out=tmp_path)


@pytest.mark.filterwarnings("default::salience.errors.Note")
def test_embed_writes_the_same_as_with_the_source_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", str(run), "--out", str(tmp_path / "a.parquet")]) == 0
    assert f"note: {SAID}\n" in capsys.readouterr().err
    assert main(["embed", str(run), "digits", "--out", str(tmp_path / "b.parquet")]) == 0
    assert SAID not in capsys.readouterr().err
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), pd.read_parquet(tmp_path / "b.parquet"))


@pytest.mark.filterwarnings("default::salience.errors.Note")
def test_evaluate_needs_no_source(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run)]) == 0
    found = capsys.readouterr()
    assert f"note: {SAID}\n" in found.err
    assert found.out.startswith("pca on digits:")


def test_a_split_that_the_run_was_trained_on_is_taken_again(tmp_path: Path) -> None:
    for split, seed in (("train", 0), ("test", 1)):
        (tmp_path / "data" / split).mkdir(parents=True)
        np.save(tmp_path / "rows.npy", np.random.default_rng(seed).normal(size=(30, 3)))
    frame = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    np.savez(tmp_path / "both.npz", x_train=frame, x_test=frame[:20] + 1)
    salience.fit("pca", f"{tmp_path / 'both.npz'}:test", out=tmp_path / "run", dim=2, progress=False)
    with pytest.warns(Note, match=r"using .*both\.npz:test, which"):
        salience.embed_to(tmp_path / "run", out=tmp_path / "x.parquet", progress=False)
    assert len(pd.read_parquet(tmp_path / "x.parquet")) == 20


@pytest.mark.parametrize("verb", [verb.name for verb in table.TABLE if verb.own_source])
def test_the_command_line_refuses_data_in_memory_before_it_loads_anything(
    in_memory: Path, verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few.csv"
    few.write_text("item,label\n0,a\n")
    needed = {"embed": ["--out", "x.parquet"], "predict": ["--labels", str(few)]}
    needed["arithmetic"] = ["--add", "1", "--subtract", "2"]
    assert main([verb, str(in_memory), *needed.get(verb, [])]) == 2
    argument = "--on" if verb == "evaluate" else "SOURCE"
    said = capsys.readouterr().err
    assert (
        f"error: {argument}: none was given, and the run was fitted to data in memory; give the data as a file" in said
    )


def test_a_source_that_is_gone_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(30, 3)))
    salience.fit("pca", str(tmp_path / "rows.npy"), out=tmp_path / "run", dim=2, progress=False)
    (tmp_path / "rows.npy").unlink()
    assert main(["evaluate", str(tmp_path / "run")]) == 2
    assert f"error: --on: {tmp_path / 'rows.npy'} does not exist" in capsys.readouterr().err
