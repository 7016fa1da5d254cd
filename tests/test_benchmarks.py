"""The layout of the benchmarks, and the comparison of two checkouts by turns."""

from __future__ import annotations

import ast
import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.harness.cell import Cell, script
from benchmarks.harness.checkouts import NEW, OLD, CellError, Checkout, comparable, measure, open_checkout
from benchmarks.harness.figures import FIGURES, Figure
from benchmarks.harness.machine import code_version
from benchmarks.harness.stored import Stored
from benchmarks.harness.suites import all_cells
from benchmarks.render.ratios import median_interval, ratios, verdict

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "benchmarks").glob("*/*.py"))
PEERS = ("simclr_lightly", "quality_lightly", "vae_pythae")
IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@b")
HERE = {"cpu": "some", "cores": 1, "system": "any"}
SECONDS = "import json\nprint(json.dumps({{'kind': 'summary', 'seconds': {seconds}, 'quality': 1}}))\n"


def imported(path: Path) -> set[str]:
    """The modules that a file names in its imports."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    parts = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return (
        plain | {node.module for node in parts} | {f"{node.module}.{one.name}" for node in parts for one in node.names}
    )


def closure(name: str) -> set[str]:
    """All that a module of the benchmarks imports, through others of them too."""
    found, left = set(), [name]
    while left:
        path = ROOT / (left.pop().replace(".", "/") + ".py")
        new = imported(path) - found
        found |= new
        left += [
            one for one in new if one.startswith("benchmarks.") and (ROOT / (one.replace(".", "/") + ".py")).exists()
        ]
    return found


def test_no_two_modules_of_the_benchmarks_have_one_name():
    names = Counter(path.stem for path in MODULES if not path.stem.startswith("__"))
    assert len(names) > 40
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("name", PEERS)
def test_scripts_of_the_peers_environment_do_not_import_salience(name):
    found = closure(f"benchmarks.cells.{name}")
    assert "torch" in found
    assert [one for one in found if one.split(".")[0] == "salience"] == []


def test_what_renders_results_imports_only_python_and_matplotlib():
    allowed = {*sys.stdlib_module_names, "benchmarks", "matplotlib"}
    found = set().union(
        *(closure(f"benchmarks.render.{path.stem}") for path in (ROOT / "benchmarks/render").glob("*.py"))
    )
    assert {one.split(".")[0] for one in found} <= allowed


def cells(tmp_path: Path) -> list[Cell]:
    return all_cells(tmp_path, smoke=False)


def test_every_cell_runs_a_script_of_the_folder(tmp_path):
    named = {cell.command[2] for cell in cells(tmp_path)}
    assert named <= {f"benchmarks.cells.{path.stem}" for path in (ROOT / "benchmarks/cells").glob("*.py")}
    assert {cell.command[1] for cell in cells(tmp_path)} == {"-m"}


def test_what_is_compared_is_our_own_speed_and_memory_each_cell_once(tmp_path):
    chosen = comparable(cells(tmp_path))
    names = [cell.name for cell in chosen]
    assert {"pca: salience", "pca: fit", "vae-dense: salience", "throughput-convnet: ours"} <= set(names)
    assert len(set(names)) == len(names)
    assert {cell.suite for cell in chosen} == set(FIGURES)
    foreign = ("lightly", "pythae", "scikit-learn", "lloyd", "randomized", "knn-convnet", "thousand-labels")
    assert [name for name in names if any(word in name for word in foreign)] == []


def test_every_figure_is_in_the_stored_result_of_its_suite():
    for suite, figures in FIGURES.items():
        path = ROOT / "benchmarks" / "results" / f"{suite}.json"
        results = [cell["result"] for cell in json.loads(path.read_text())["cells"].values()]
        for figure in figures:
            assert any(figure.values_in(result) for result in results), (suite, figure)


def test_a_star_in_a_path_stands_for_every_key():
    figure = Figure(("seconds", "*", "wall"), "s, {}")
    result = {"seconds": {"a.b": {"wall": 1, "cpu": 2}, "c": {"wall": 3.0}}}
    assert figure.values_in(result) == {"s, a.b": 1.0, "s, c": 3.0}
    assert figure.values_in({"other": 1}) == {}


@pytest.mark.parametrize(("rounds", "rank"), [(1, 1), (2, 1), (3, 1), (5, 1), (6, 1), (9, 2), (12, 3)])
def test_the_interval_holds_the_median_as_often_as_it_says(rounds, rank):
    """Over all ways in which the rounds can lie below or above the median, each equally probable."""
    values = [float(value) for value in range(rounds)]
    found = median_interval(values[::-1])
    assert (found.low, found.high) == (values[rank - 1], values[-rank])
    below = [sum(signs) for signs in itertools.product((0, 1), repeat=rounds)]
    held = sum(rank <= count <= rounds - rank for count in below) / len(below)
    assert found.level == pytest.approx(held)
    assert found.level >= 0.95 or rank == 1


@pytest.mark.parametrize(
    ("found", "higher", "expected"),
    [
        ([1.04, 1.05, 1.06], False, "WORSE"),
        ([1.04, 1.05, 1.06], True, "better"),
        ([0.9, 0.91, 0.92], True, "WORSE"),
        ([0.99, 1.0, 1.02], False, "no worse"),
        ([0.99, 1.0, 1.02], True, "no worse"),
        ([0.99, 1.0, 1.2], False, "undecided"),
        ([2.0], False, "one round"),
    ],
)
def test_the_verdict_knows_which_way_is_better(found, higher, expected):
    assert verdict(found, higher=higher) == expected


def checkout(folder: Path, scripts: dict[str, str]) -> Path:
    """A git checkout with an empty salience and these files below benchmarks."""
    for name, text in {"src/salience/__init__.py": "", **{f"benchmarks/{k}": v for k, v in scripts.items()}}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for words in (("init", "-q"), ("add", "."), (*IDENTITY, "commit", "-q", "-m", "first")):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    return folder


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Of today's layout, twice as fast; and of the flat one, which lacks a script and has one that fails."""
    monkeypatch.setattr("benchmarks.harness.checkouts.others_share", lambda: 0.0)  # it watches for a second
    new = {"__init__.py": "", "cells/__init__.py": ""}
    new |= {f"cells/{name}.py": SECONDS.format(seconds=2) for name in ("classical", "vae_ours", "memory")}
    old = {"classical.py": SECONDS.format(seconds=4), "memory.py": "raise SystemExit('no such argument')"}
    folders = {OLD: checkout(tmp_path / "flat", old), NEW: checkout(tmp_path / "today", new)}
    return {side: open_checkout(side, folder, tmp_path / "work") for side, folder in folders.items()}


PCA = Cell("pca", "salience", 0, script("classical", "pca"))
VAE = Cell("vae-dense", "salience", 0, script("vae_ours"))
MEMORY = Cell("memory", "10 images", 0, script("memory"))


def test_both_checkouts_run_their_own_script_and_take_turns(two, tmp_path, monkeypatch):
    ran = []
    run = Checkout.run
    monkeypatch.setattr(Checkout, "run", lambda self, cell: ran.append(self.side) or run(self, cell))
    stored = Stored(tmp_path / "kept", "pair", HERE)
    assert measure([PCA], two, stored, rounds=3) == {}
    assert ran == [OLD, NEW, NEW, OLD, OLD, NEW]
    records = json.loads(stored.path.read_text())["cells"]
    assert [(one[OLD]["seconds"], one[NEW]["seconds"]) for one in records.values()] == [(4, 2)] * 3
    table = ratios(stored.content | {OLD: "a", NEW: "b", "machine": HERE}, {})
    assert "| pca: salience | s | 4 | 2 | 0.500 | [0.500, 0.500] | [0.500, 0.500] | 75% | better |" in table


def test_a_stopped_comparison_resumes_with_what_is_left(two, tmp_path, monkeypatch):
    ran = []
    run = Checkout.run

    def stopping(self, cell):
        if len(ran) == 3:
            raise KeyboardInterrupt
        ran.append(self.side)
        return run(self, cell)

    monkeypatch.setattr(Checkout, "run", stopping)
    with pytest.raises(KeyboardInterrupt):
        measure([PCA], two, Stored(tmp_path / "kept", "pair", HERE), rounds=3)
    monkeypatch.setattr(Checkout, "run", lambda self, cell: ran.append(self.side) or run(self, cell))
    stored = Stored(tmp_path / "kept", "pair", HERE)
    assert list(stored.content["cells"]) == ["pca: salience round 0"]
    measure([PCA], two, stored, rounds=2)
    assert ran == [OLD, NEW, NEW, NEW, OLD]  # the pair that was cut short, again from its beginning


def test_what_cannot_be_compared_is_named_with_its_reason(two, tmp_path):
    stored = Stored(tmp_path / "kept", "pair", HERE)
    problems = measure([VAE, PCA, MEMORY], two, stored, rounds=2)
    assert set(problems) == {VAE.name, MEMORY.name}
    assert "vae_ours.py" in problems[VAE.name]
    assert "no such argument" in problems[MEMORY.name]
    text = ratios(stored.content | {OLD: "a", NEW: "b", "machine": HERE}, problems).partition("Not compared")[2]
    assert VAE.name in text
    assert MEMORY.name in text
    assert PCA.name not in text


def test_a_figure_that_one_checkout_lacks_is_named():
    record = {"suite": "memory", "arm": "x", "busy_before": 0.0}
    record |= {OLD: {"anonymous_bytes": {"peak": 4}}, NEW: {"anonymous_bytes": {"peak": 5, "last": 1}}}
    content = {"cells": {"memory: x round 0": record}, OLD: "a", NEW: "b", "machine": HERE}
    table, _, missing = ratios(content, {}).partition("Not compared")
    assert "| memory: x | bytes, peak | 4 | 5 | 1.250 |" in table
    assert "bytes, last" in missing


def test_our_script_of_the_command_line_measures_a_checkout_without_one(two):
    cell = Cell("startup-verbs", "ours", 0, script("startup_verbs"))
    command = two[OLD].command(cell)
    assert command[-2:] == ["--checkout", str(two[OLD].folder)]
    paths = two[OLD].environment(command)["PYTHONPATH"].split(":")
    assert paths == [str(two[OLD].folder / "src"), str(ROOT)]
    with pytest.raises(CellError, match=r"nowhere\.py"):
        two[OLD].command(Cell("x", "ours", 0, script("nowhere")))


def test_a_folder_that_is_no_checkout_is_refused(tmp_path):
    (tmp_path / "src" / "salience").mkdir(parents=True)
    with pytest.raises(SystemExit, match="--beside"):
        open_checkout(OLD, tmp_path, tmp_path / "work")


def test_only_changes_of_the_code_make_another_version(two):
    folder = two[NEW].folder
    before = code_version(folder)
    (folder / "notes.md").write_text("no code\n")
    subprocess.run(["git", "-C", str(folder), "add", "."], check=True)
    subprocess.run(["git", "-C", str(folder), *IDENTITY, "commit", "-q", "-m", "notes"], check=True)
    assert code_version(folder) == before
    (folder / "src/salience/__init__.py").write_text("x = 1\n")
    changed = code_version(folder)
    (folder / "src/salience/__init__.py").write_text("x = 2\n")
    assert len({before, changed, code_version(folder)}) == 3


@pytest.mark.parametrize("method", ["untrained", "supervised"])
def test_the_leaderboards_own_encoders_embed(method, tmp_path):
    from benchmarks.cells.pretrain import embedder
    from salience.data import open_data

    train = open_data("digits", progress=False).subset(np.arange(64))
    args = SimpleNamespace(method=method, seed=0, views=None, batch_size=32, images=64, learning_rate=1e-3)
    args.run = tmp_path / "run"
    embedding = embedder(args, train)(train)
    assert embedding.shape == (64, 256)
    assert np.ptp(embedding, axis=0).max() > 0
