"""What is written is there whole or not at all, whatever stops the writer between its first byte and its last."""

from __future__ import annotations

import ast
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import salience
from salience.errors import UserError
from salience.evaluation.earlier_reports import keep_earlier
from salience.files import atomic, new_folder, remove_leftovers, require_free, write_text
from salience.run import Run
from salience.run_weights import save_weights
from salience.training.checkpoints import AtomicCheckpoints
from salience.training.metrics import MetricsCSV
from salience.verbs.export import embed_to
from salience.verbs.pictures import save, save_image
from salience.verbs.result import Place, Result, write_table
from tests.evaluation.conftest import Projection, blobs


@contextmanager
def cut_after(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: whoever writes, in whatever language, fails in the midst of it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def figure(seed: int) -> Any:
    from matplotlib.figure import Figure

    drawn = Figure()
    drawn.subplots().imshow(np.random.default_rng(seed).random((50, 50)))
    return drawn


def rewind(path: Path, seed: int) -> None:
    """By a fresh callback, as a resumed run does."""
    rows = [f"{step},{seed}.{step}" for step in range(1, 2000)]
    if not path.exists() or seed == 0:
        path.write_text("\n".join(["step,loss", *rows, ""]))
    MetricsCSV(path, every=1).rewind(2000 - seed)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


def earlier(path: Path, seed: int) -> None:
    (path.parent / "report.html").write_text("x" * 5000)
    (path.parent / "report.json").write_text('{"about": {"on": "a"}}' + " " * 5000 * (seed + 1))
    keep_earlier(path.parent, {"on": "b"})


WRITERS: dict[str, Callable[[Path, int], object]] = {
    "text.txt": lambda path, seed: write_text(path, f"{seed}" * 9000),
    "cost.json": lambda path, seed: run_at(path).write_json("cost.json", {"flops": [seed] * 3000}),
    "last.ckpt": lambda path, seed: AtomicCheckpoints().save_checkpoint({"w": torch.full((3000,), seed)}, path),
    "model.safetensors": lambda path, seed: save_weights(torch.nn.Linear(60, 60 + seed), path),
    "metrics.csv": rewind,
    "picture.png": lambda path, seed: save(figure(seed), path),
    "image.png": lambda path, seed: save_image(noise(seed, 1, 64, 64), path),
    "items.csv": lambda path, seed: write_table(path, pd.DataFrame({"x": noise(seed, 2000)})),
    "search.json": lambda path, seed: Place(path.parent).write(Result("search", {"a": [seed] * 3000}), lambda: None),
    "codes.npy": lambda path, seed: Place(path.parent).write(
        Result("search", {"method": "m"}, arrays={"codes": noise(seed, 9000)}), lambda: None
    ),
    "out.parquet": lambda path, seed: embed_to(Projection(8 + seed), blobs(500), path, overwrite=True, progress=False),
}


def run_at(path: Path) -> Run:
    """A run whose folder is that of `path`."""
    run = object.__new__(Run)
    run.path = path.parent
    return run


REPLACING = [(name, True) for name in WRITERS if name != "codes.npy"]  # an array that is there is not written again
NEW = [(name, False) for name in WRITERS if name != "metrics.csv"]  # it rewrites what is there


@pytest.mark.parametrize(("name", "there"), REPLACING + NEW)
def test_a_writer_that_is_stopped_leaves_what_was_there(name: str, there: bool, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole" / name, tmp_path / "cut" / name
    for folder in (whole.parent, path.parent):
        folder.mkdir()
    WRITERS[name](whole, 1)
    size = whole.stat().st_size
    before = None
    if there:
        WRITERS[name](path, 0)
        before = path.read_bytes()
    with cut_after(size // 2), pytest.raises((OSError, RuntimeError)):
        WRITERS[name](path, 1)
    assert (path.read_bytes() if path.exists() else None) == before
    assert not [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".")]


def test_a_name_that_is_no_utf8_is_written_as_an_escape(tmp_path: Path) -> None:
    write_text(tmp_path / "names.txt", "ü caf\udce9\n")
    assert (tmp_path / "names.txt").read_text(encoding="utf-8") == "ü caf\\udce9\n"


def test_a_file_has_the_usual_rights_and_is_on_the_disk_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, int]] = []
    plain = os.fsync

    def noting(number: int) -> None:
        synced.append(((tmp_path / "a.txt").exists(), os.fstat(number).st_size))
        plain(number)

    monkeypatch.setattr(os, "fsync", noting)
    mask = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "12345")
    finally:
        os.umask(mask)
    assert synced == [(False, 5)]
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_a_missing_folder_is_made_only_for_a_path_the_user_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "gone" / "a.txt", "")
    assert not (tmp_path / "gone").exists()
    write_text(tmp_path / "new" / "deep" / "a.txt", "x", make_folder=True)
    assert (tmp_path / "new" / "deep" / "a.txt").read_text() == "x"


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")

    def stopped() -> None:
        with atomic(tmp_path / "a.txt") as temporary:
            temporary.write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with new_folder(tmp_path / "deep" / "out") as folder:
        (folder / "a.txt").write_text("x")
        assert not (tmp_path / "deep" / "out").exists()
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["out"]

    def stopped(path: Path, by: Callable[[Path], None]) -> None:
        with new_folder(path) as folder:
            (folder / "a.txt").write_text("x")
            by(path)

    def interrupt(_: Path) -> None:
        raise KeyboardInterrupt

    def overtake(path: Path) -> None:
        path.mkdir()
        (path / "theirs").touch()

    with pytest.raises(KeyboardInterrupt):
        stopped(tmp_path / "other", interrupt)
    with pytest.raises(UserError, match=r"^out: .*deep exists"):
        stopped(tmp_path / "deep", interrupt)
    with pytest.raises(UserError, match=r"^out: .*late exists"):
        stopped(tmp_path / "late", overtake)
    assert (tmp_path / "late" / "theirs").exists()
    assert {entry.name for entry in tmp_path.iterdir()} == {"deep", "late"}


def test_a_new_folder_may_leave_that_of_a_faster_process(tmp_path: Path) -> None:
    """As in the cache, where both hold the same."""
    path = tmp_path / "out"
    with new_folder(path, check=lambda _: None, prefix=".mine.") as folder:
        assert folder.name.startswith(".mine.")
        (folder / "ours").touch()
        path.mkdir()
        (path / "theirs").touch()
    assert [entry.name for entry in path.iterdir()] == ["theirs"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_new_folder_has_the_permissions_that_new_folders_have(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with new_folder(tmp_path / "out"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750


def test_what_is_there_is_not_free(tmp_path: Path) -> None:
    require_free(tmp_path / "free")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^out: .*file exists; name another folder, or remove it"):
        require_free(tmp_path / "file", "folder")


def test_leftovers_are_files_and_folders_of_that_ending_alone(tmp_path: Path) -> None:
    for name in (".a.txt.x1.part", "a.part", ".keep", ".d.part.not"):
        (tmp_path / name).touch()
    (tmp_path / ".b.y2.part").mkdir()
    (tmp_path / ".b.y2.part" / "inside").touch()
    remove_leftovers(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.part", ".keep", ".d.part.not"}
    remove_leftovers(tmp_path / "gone")


WRITING = {
    "write_text", "write_bytes", "to_csv", "to_parquet", "savefig", "tofile", "copyfile", "dump", "new_file", "save",
    "ParquetWriter", "open_memmap", "write_dataset", "savez",
}  # fmt: skip
WHOLE = {"atomic", "new_folder", "placed", "TemporaryDirectory"}
# Where something is written in place all the same: (module, function) -> why a reader never sees half of it.
IN_PLACE = {
    ("files.py", "atomic"): "it is the file layer",
    ("training/checkpoints.py", "write"): "its caller gives it a temporary path",
    ("verbs/export.py", "write_parts"): "its caller gives it a temporary path",
    ("verbs/result.py", "array"): "the folder appears by rename when all is written",
    ("fields/stored_items.py", "write"): "the folder appears by rename when all is written",
    ("data/prepare.py", "_write"): "the folder appears by rename when all is written",
    ("fields/row_writer.py", "__init__"): "the folder appears by rename when all is written",
    ("fields/stored_items.py", "__init__"): "the folder appears by rename when all is written",
    ("fields/stored_items.py", "add"): "the folder appears by rename when all is written",
    ("modalities/series/series_builder.py", "__enter__"): "the folder appears by rename when all is written",
    ("modalities/series/series_builder.py", "_flush"): "the folder appears by rename when all is written",
    ("data/download.py", "_flush"): "writes nothing",
    ("store/lance_store.py", "create"): "Lance writes a version that counts when it is whole",
    ("store/lance_store.py", "append"): "Lance writes a new version beside the old one",
    ("training/metrics.py", "_append"): "one line at a time; `read_metrics` leaves out an unfinished one",
    ("csv_text.py", "as_csv"): "to memory",
    ("training/checkpoints.py", "save_checkpoint"): "to memory",
    ("evaluation/figures.py", "gallery_png"): "to memory",
    ("explorer/app.py", "export"): "to memory",
    ("explorer/pictures.py", "encoded"): "to memory",
    ("modalities/image/thumbnails.py", "png"): "to memory",
    ("modalities/audio/spectrogram.py", "_png"): "to memory",
    ("modalities/series/pictures.py", "_png"): "to memory",
    ("explorer/umap_process.py", ""): "to a pipe",
}


def test_every_writer_goes_through_the_file_layer() -> None:
    root = Path(salience.__file__).parent
    found = {site for path in sorted(root.rglob("*.py")) for site in in_place(path, path.relative_to(root).as_posix())}
    assert found == set(IN_PLACE)


def in_place(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """(module, function) of every call that writes a file and is not within `with atomic(...)` or a new folder."""

    def visit(node: ast.AST, function: str, safe: bool) -> Iterator[tuple[str, str]]:
        if isinstance(node, ast.FunctionDef):
            function = node.name
        if isinstance(node, ast.With):
            safe = safe or any(called(item.context_expr) in WHOLE for item in node.items)
        if isinstance(node, ast.Call) and not safe and writes(node):
            yield name, function
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function, safe)

    yield from visit(ast.parse(path.read_text()), "", False)


def called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def writes(call: ast.Call) -> bool:
    name = called(call)
    if name in ("open", "fdopen"):
        modes = [one.value for one in [*call.args, *(k.value for k in call.keywords)] if isinstance(one, ast.Constant)]
        return any(isinstance(mode, str) and set(mode) & set("wax+") and len(mode) <= 3 for mode in modes)
    return name in WRITING and isinstance(call.func, ast.Attribute)
