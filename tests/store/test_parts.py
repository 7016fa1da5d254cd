"""Parts belong to a plan: those of another run, another source or another time never enter a store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from salience.cli import main
from salience.data import Dataset, open_data
from salience.data.equal_items import content_hashes
from salience.errors import UserError
from salience.representation import Representation
from salience.store import embedding, open_store, parts
from salience.store.embedding import Added, embed_into, weights_hash
from salience.store.lance_store import LanceStore
from salience.store.parts import Incoming, read_part
from salience.store_names import parse_shard
from salience.training import fit
from tests.test_files import cut_after


@pytest.fixture(scope="module")
def data() -> Dataset:
    return open_data("digits", progress=False).subset(range(64))


@pytest.fixture(scope="module")
def pca(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Representation:
    return fit("pca", data, out=tmp_path_factory.mktemp("runs") / "pca", dim=12, progress=False)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Representation:
    """A run of the same width with other weights."""
    rows = open_data("digits", progress=False).subset(range(500, 900))
    return fit("pca", rows, out=tmp_path_factory.mktemp("runs") / "other", dim=12, progress=False)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART", 16)


def embed(rep: Representation, data: Dataset, path: Path, shard: str = "1/1") -> Added:
    return embed_into(rep, data, path, parse_shard(shard), progress=False)


def remove_store(path: Path) -> None:
    for file in sorted(path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    path.rmdir()


def assert_holds(path: Path, rep: Representation, data: Dataset) -> None:
    store = open_store(path)
    assert list(store.column("id")) == list(data.ids)
    np.testing.assert_array_equal(store.vectors(), rep.embed(data).astype(np.float32))
    assert data.labels is not None
    assert list(store.column("label")) == [data.classes[label] for label in data.labels]


SLEEPER = """
import os, signal, sys
from pathlib import Path
from salience.cli import plain_notes
from salience.data import open_data
from salience.errors import UserError
from salience.representation import Representation, load
from salience.store import embedding, parts
parts.PART = 16
plain, calls = Representation.embed, []
def sleeping(self, source, **options):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGSTOP)
    return plain(self, source)
Representation.embed = sleeping
try:
    done = embedding.embed_into(load(sys.argv[1]), open_data("digits", progress=False).subset(range(64)),
                                Path(sys.argv[2]), (1, 1), False)
    print(done)
except UserError as refused:
    print("refused:", refused)
"""


@pytest.fixture
def sleeper(pca: Representation, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that embeds into d.lance, asleep in its third of four parts."""
    command = [sys.executable, "-c", SLEEPER, str(pca.run), str(tmp_path / "d.lance")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    yield process
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def wake(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGCONT)
    said, _ = process.communicate()
    return said


def test_a_process_that_has_slept_mixes_nothing_into_another_runs_store(
    sleeper: subprocess.Popen[str], pca: Representation, other: Representation, data: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "d.lance"
    with pytest.raises(UserError, match=r"^out: another process embeds shard 1/1 of these items into the same store"):
        embed(pca, data, path)
    assert embed(pca, data, path, "1/2").left == 16
    assert embed(pca, data, path, "2/2").left == 0  # brings them in, and removes the folder
    assert_holds(path, pca, data)
    remove_store(path)
    assert embed(other, data, path, "1/2").left == 32
    said = wake(sleeper)
    assert said.startswith("refused: out: the parts of"), said
    assert embed(other, data, path, "2/2").left == 0
    assert_holds(path, other, data)
    assert not list(tmp_path.glob(".*"))


def test_a_process_that_has_slept_while_its_parts_were_brought_in_ends_well(
    sleeper: subprocess.Popen[str], pca: Representation, data: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "d.lance"
    for shard in ("1/2", "2/2"):
        embed(pca, data, path, shard)
    assert wake(sleeper) == f"{path}: 64 new items\n"
    assert_holds(path, pca, data)
    assert not list(tmp_path.glob(".*"))


def test_the_lock_of_a_killed_process_is_free(
    sleeper: subprocess.Popen[str], pca: Representation, data: Dataset, tmp_path: Path
) -> None:
    sleeper.kill()
    sleeper.wait()
    assert embed(pca, data, tmp_path / "d.lance").left == 0
    assert_holds(tmp_path / "d.lance", pca, data)
    assert not list(tmp_path.glob(".*"))


Meanwhile = Callable[[], None]


def embed_while(
    monkeypatch: pytest.MonkeyPatch, meanwhile: Meanwhile, rep: Representation, data: Dataset, path: Path
) -> Added:
    """Embeds; when the second part is computed and not yet written, another process does something."""
    plain, calls = Representation.embed, []

    def interrupted(self: Representation, source: Dataset, **options: object) -> np.ndarray:
        calls.append(1)
        found = plain(self, source)
        if len(calls) == 2:
            monkeypatch.setattr(Representation, "embed", plain)
            meanwhile()
        return found

    monkeypatch.setattr(Representation, "embed", interrupted)
    return embed(rep, data, path)


def test_a_folder_that_passed_to_another_run_gets_no_part_from_the_first(
    pca: Representation, other: Representation, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = tmp_path / "d.lance", tmp_path / ".d.lance.parts"

    def taken_over() -> None:
        parts.remove_parts(folder)
        embed(other, data, path, "2/2")

    with pytest.raises(
        UserError, match=r"^out: the parts of .*d.lance were removed by another process .* command again"
    ):
        embed_while(monkeypatch, taken_over, pca, data, path)
    assert json.loads((folder / "plan.json").read_text())["weights"] == weights_hash(other)
    assert len(list(folder.glob("*.arrow"))) == 2 + 1  # theirs, and the one that was computed; no further one
    embed(other, data, path, "1/2")
    assert_holds(path, other, data)


def test_a_folder_that_was_removed_does_not_come_back(
    pca: Representation, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".d.lance.parts"
    with pytest.raises(UserError, match=r"^out: the parts of .* were removed"):
        embed_while(monkeypatch, lambda: parts.remove_parts(folder), pca, data, tmp_path / "d.lance")
    assert not list(tmp_path.glob(".*"))


def test_items_that_another_process_brings_in_before_the_plan_are_not_added_again(
    pca: Representation, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two start on an empty place, and the first has ended before the second makes its plan."""
    path, plain = tmp_path / "d.lance", content_hashes

    def slow(source: Dataset) -> np.ndarray:
        monkeypatch.setattr(embedding, "content_hashes", plain)
        embed(pca, data, path)
        return plain(source)

    monkeypatch.setattr(embedding, "content_hashes", slow)
    assert embed(pca, data, path).new == 0
    assert_holds(path, pca, data)


def test_a_stray_part_of_another_plan_is_not_taken(
    pca: Representation, other: Representation, data: Dataset, tmp_path: Path
) -> None:
    path, folder = tmp_path / "d.lance", tmp_path / ".d.lance.parts"
    embed(other, data, path, "1/2")
    stray = {file.name: file.read_bytes() for file in folder.glob("*.arrow")}
    parts.remove_parts(folder)
    embed(pca, data, path, "2/2")
    for name, content in stray.items():
        (folder / name).write_bytes(content)
    assert embed(pca, data, path, "1/2").left == 0
    assert_holds(path, pca, data)


def test_the_plan_names_run_weights_and_source(pca: Representation, data: Dataset, tmp_path: Path) -> None:
    embed(pca, data, tmp_path / "d.lance", "1/2")
    plan = json.loads((tmp_path / ".d.lance.parts" / "plan.json").read_text())
    assert (plan["run"], plan["method"], plan["weights"]) == (str(pca.run), "pca", weights_hash(pca))
    assert plan["source"] == {"name": "digits", "split": data.split, "fingerprint": data.fingerprint}
    with pytest.raises(UserError, match=rf"parts of another embedding \(pca from {pca.run}, on digits\)"):
        embed(pca, data.subset(range(30)), tmp_path / "d.lance")


def test_items_with_other_labels_are_another_plan(pca: Representation, data: Dataset, tmp_path: Path) -> None:
    embed(pca, data, tmp_path / "d.lance", "1/2")
    assert data.labels is not None
    with pytest.raises(UserError, match="parts of another embedding"):
        embed(pca, replace(data, labels=9 - data.labels), tmp_path / "d.lance", "2/2")


def test_parts_of_an_earlier_version_are_gone_on_with(
    pca: Representation, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are called 000000.arrow, and their plan holds weights, items, rows and part."""
    path, folder = tmp_path / "d.lance", tmp_path / ".d.lance.parts"
    embed(pca, data, path, "1/2")
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({name: plan[name] for name in ("weights", "items", "rows", "part")}))
    for file in folder.glob("*.arrow"):
        file.rename(folder / f"{file.name[:6]}.arrow")
    calls = count_calls(monkeypatch)
    assert embed(pca, data, path).left == 0
    assert calls == [16, 16]
    monkeypatch.undo()
    assert_holds(path, pca, data)


def test_a_damaged_plan_is_one_line(pca: Representation, data: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / ".d.lance.parts"
    for content in ("{", "[]"):
        folder.mkdir(exist_ok=True)
        (folder / "plan.json").write_text(content)
        with pytest.raises(UserError, match=r"^out: .*plan.json is damaged; remove the folder") as refused:
            embed(pca, data, tmp_path / "d.lance")
        assert "\n" not in str(refused.value)


def test_a_store_that_grows_stays_the_same_and_one_made_anew_does_not(
    pca: Representation, data: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "d.lance"
    embed(pca, data.subset(range(16)), path)
    store = open_store(path)
    embed(pca, data, path)
    assert not store.refresh_columns()  # the rows are others
    remove_store(path)
    embed(pca, data.subset(range(16, 32)), path)
    for use in (store.refresh_columns, lambda: store.write_columns({"cluster": np.zeros(16)})):
        with pytest.raises(UserError, match="was replaced by another store"):
            use()


def test_each_shard_writes_every_nth_part_and_no_other(pca: Representation, data: Dataset, tmp_path: Path) -> None:
    folder, seen = tmp_path / ".d.lance.parts", set()
    for shard, expected in (("2/3", {1}), ("1/3", {0, 3})):
        embed(pca, data, tmp_path / "d.lance", shard)
        found = {int(file.name[:6]) for file in folder.glob("*.arrow")}
        assert found - seen == expected
        seen = found
    for file in folder.glob("*.arrow"):
        first = 16 * int(file.name[:6])
        assert read_part(file)["id"].to_pylist() == list(data.ids[first : first + 16])


def test_what_is_new_is_told_by_id_and_content(pca: Representation, data: Dataset, tmp_path: Path) -> None:
    embed(pca, data.subset(range(20)), tmp_path / "d.lance")
    store, hashes = open_store(tmp_path / "d.lance"), content_hashes(data)
    fresh = Incoming.of(data, hashes, store)
    assert (list(fresh.rows), fresh.replaced) == (list(range(20, 64)), False)
    hashes[3] += 1
    changed = Incoming.of(data, hashes, store)
    assert (list(changed.rows), changed.replaced) == ([3, *range(20, 64)], True)
    assert changed.contents.tolist() == hashes[[3, *range(20, 64)]].tolist()
    assert fresh.fingerprint != changed.fingerprint


def test_a_source_whose_name_was_lost_in_a_kill_is_named_again(
    pca: Representation, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.lance"
    embed(pca, data.subset(range(16)), path)
    later = replace(data.subset(range(16, 32)), split="test")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LanceStore, "_write_about", die)
        with pytest.raises(KeyboardInterrupt):
            embed(pca, later, path)
    assert embed(pca, later, path).new == 0
    store = open_store(path)
    assert len(store) == 32
    assert [source["split"] for source in store.about["sources"]] == [data.split, "test"]


def test_a_part_cut_short_is_never_seen(
    pca: Representation, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between the first and the last byte of a part, the folder holds the parts before it alone."""
    plain = pa.ipc.new_file

    class Cut:
        def __init__(self, place: str, schema: pa.Schema):
            self.place, self.schema = place, schema

        def __enter__(self) -> Cut:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def write_table(self, table: pa.Table) -> None:
            with plain(self.place, self.schema) as file:
                file.write_table(table)
            if len(list(Path(self.place).parent.glob("0*.arrow"))) == 2:
                os.truncate(self.place, 100)
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(parts.pa.ipc, "new_file", Cut)
        with pytest.raises(KeyboardInterrupt):
            embed(pca, data, tmp_path / "d.lance")
    folder = tmp_path / ".d.lance.parts"
    assert [len(read_part(file)) for file in sorted(folder.glob("*.arrow"))] == [16, 16]
    assert not list(folder.glob(".*"))
    embed(pca, data, tmp_path / "d.lance")
    assert_holds(tmp_path / "d.lance", pca, data)


def test_a_store_whose_writer_is_stopped_holds_what_it_held(
    pca: Representation, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the midst of bringing parts in, at the first item of a store and later."""
    path, plain = tmp_path / "d.lance", embedding.bring_in

    def cut(*given: Any) -> None:
        with cut_after(2000):
            plain(*given)

    for rows in (16, 64):
        monkeypatch.setattr(embedding, "bring_in", cut)
        with pytest.raises((OSError, UserError)):
            embed(pca, data.subset(range(rows)), path)
        if rows == 64:
            assert_holds(path, pca, data.subset(range(16)))
        monkeypatch.setattr(embedding, "bring_in", plain)
        calls = count_calls(monkeypatch)
        embed(pca, data.subset(range(rows)), path)
        assert calls == []  # the parts were there
        monkeypatch.undo()
        monkeypatch.setattr(parts, "PART", 16)
        assert_holds(path, pca, data.subset(range(rows)))


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many items each embedding from now on computes."""
    calls: list[int] = []
    plain = Representation.embed

    def counting(self: Representation, source: Dataset, **options: Any) -> np.ndarray:
        calls.append(len(source))
        return plain(self, source, **options)

    monkeypatch.setattr(Representation, "embed", counting)
    return calls


def test_columns_that_a_store_cannot_have_are_called_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["sepal.length", "sepal_length", "x", "x_", "_rowid", "p__old", "w"]
    frame = pd.DataFrame({name: np.arange(20.0) % (at + 3) for at, name in enumerate(names)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    run, path = str(tmp_path / "run"), tmp_path / "t.lance"
    assert main(["fit", "pca", str(tmp_path / "t.csv"), "--dim", "2", "--out", run]) == 0
    capsys.readouterr()
    assert main(["embed", run, str(tmp_path / "t.csv"), "--out", str(path)]) == 0
    renamed = {"sepal.length": "sepal_length_", "x": "x__", "_rowid": "column_rowid", "p__old": "p__old_"}
    said = capsys.readouterr().err
    assert [line for line in said.splitlines() if line.startswith("note: in the store")] == [
        f"note: in the store the column {old} is called {new}" for old, new in renamed.items()
    ]
    for _ in range(2):
        store = open_store(path)
        for name in names:
            np.testing.assert_array_equal(store.column(renamed.get(name, name)), frame[name])
        store.write_columns({"cluster": np.zeros(20)})
