import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from salience.data import open_data
from salience.errors import UserError

Usage = namedtuple("Usage", "total used free")


def prepared(cache):
    return sorted((cache / "prepared").iterdir()) if (cache / "prepared").exists() else []


def test_options_are_kept_apart(pictures, cache):
    assert open_data(pictures).spec.resolution == 10
    assert open_data(pictures, resolution=5).spec.resolution == 5
    assert open_data(pictures, resolution=5, groups="(ant|bee)").groups is not None
    assert open_data(pictures).spec.resolution == 10
    assert len(prepared(cache)) == 3


def test_every_source_and_every_run_keeps_what_was_prepared_for_it(pictures, tmp_path, cache, monkeypatch):
    """So that the next opening is instant; of one source only its latest state is kept."""
    other = tmp_path / "other"
    shutil.copytree(pictures, other)
    np.savez(tmp_path / "x.npz", x=np.full((6, 10, 10, 3), 3, np.uint8))
    specs = [None, *(open_data(np.zeros(shape, np.uint8)).spec for shape in ((3, 1, 7, 7), (3, 3, 9, 9)))]
    asked = [(source, spec) for source in (pictures, other, tmp_path / "x.npz") for spec in specs]
    shapes = [open_data(source, spec=spec).x.shape for source, spec in asked]
    assert shapes[:3] == [(6, 3, 10, 10), (6, 1, 7, 7), (6, 3, 9, 9)]
    assert len(prepared(cache)) == len(asked)
    monkeypatch.setattr("salience.data.build.build", forbidden)
    assert [open_data(source, spec=spec).x.shape for source, spec in asked] == shapes


def test_what_is_said_of_the_data_is_kept_with_them(pictures):
    (pictures / "ant" / "bad.png").touch()
    (pictures / "ant" / "read me.txt").touch()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(pictures / "bee" / "wide.png")
    first, again = (open_data(pictures, progress=False) for _ in range(2))
    assert any("read me.txt" in note for note in first.notes)
    assert any("resized" in note for note in first.notes)
    assert (again.notes, again.bad, again.fingerprint) == (first.notes, first.bad, first.fingerprint)
    assert [item.id for item in first.bad] == ["ant/bad.png"]


def test_the_cache_is_found_by_argument_and_environment(pictures, tmp_path, monkeypatch):
    open_data(pictures, cache=tmp_path / "given")
    assert prepared(tmp_path / "given")
    monkeypatch.delenv("SALIENCE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    open_data(pictures)
    assert prepared(tmp_path / "xdg" / "salience")


def test_prepared_data_are_mapped_not_loaded(pictures):
    assert isinstance(open_data(pictures).stored, np.memmap)


@pytest.mark.parametrize("damage", ["manifest", "short", "missing", "format"])
def test_damaged_cache_is_made_anew(pictures, cache, damage):
    before = open_data(pictures).x.copy()
    (folder,) = prepared(cache)
    if damage == "manifest":
        (folder / "manifest.json").write_text("{")
    elif damage == "format":
        (folder / "manifest.json").write_text(json.dumps({"spec": {}}))
    elif damage == "short":
        (folder / "x.bin").write_bytes(b"123")
    else:
        (folder / "x.bin").unlink()
    np.testing.assert_array_equal(open_data(pictures).x, before)


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00v\x00{'descr'", "short"])
@pytest.mark.parametrize("name", ["labels", "groups", "kept", "ids"])
def test_a_damaged_array_in_the_cache_is_made_anew(pictures, cache, name, content):
    (pictures / "ant" / "bad.png").touch()
    before = open_data(pictures, groups="(ant|bee)", progress=False)
    (folder,) = prepared(cache)
    path = folder / f"{name}.npy"
    if content == "short":
        np.save(path, np.load(path)[:2])
    else:
        path.write_bytes(content)
    for _ in range(2):
        data = open_data(pictures, groups="(ant|bee)", progress=False)
        assert data.labels.tolist() == before.labels.tolist()
        assert data.groups.tolist() == before.groups.tolist()
        assert data.ids == before.ids


def change_a_byte(path, at=-1):
    """In place, with the modification time restored."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def forbidden(*_, **__):
    raise AssertionError("this was not to be called")


@pytest.mark.parametrize("name", ["x.bin", "labels.npy", "groups.npy", "kept.npy", "ids.bin", "ids.npy"])
@pytest.mark.parametrize("place", ["end", "middle"])
def test_a_changed_byte_in_the_cache_is_noticed(pictures, cache, name, place):
    (pictures / "ant" / "bad.png").touch()
    before = open_data(pictures, groups="(ant|bee)", progress=False)
    expected = before.x.copy(), before.labels.copy(), before.groups.copy(), list(before.ids)
    (folder,) = prepared(cache)
    size = (folder / name).stat().st_size
    change_a_byte(folder / name, -1 if place == "end" else size // 2)
    data = open_data(pictures, groups="(ant|bee)", progress=False)
    for found, wanted in zip((data.x, data.labels, data.groups, list(data.ids)), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("old", "new"), [('"ant"', '"ape"'), ('"mean"', '"main"'), ("image", "table")])
def test_a_changed_manifest_is_noticed(pictures, cache, old, new):
    before = open_data(pictures)
    (folder,) = prepared(cache)
    text = (folder / "manifest.json").read_text()
    assert old in text
    (folder / "manifest.json").write_text(text.replace(old, new))
    after = open_data(pictures)
    assert (after.classes, after.spec) == (before.classes, before.spec)


def test_a_file_too_many_or_too_few_in_the_cache_is_noticed(pictures, cache):
    before = open_data(pictures)
    (folder,) = prepared(cache)
    np.save(folder / "groups.npy", np.zeros(6, np.int64))
    assert open_data(pictures).groups is None
    (folder / "labels.npy").unlink()
    assert open_data(pictures).labels.tolist() == before.labels.tolist()


def test_an_untouched_cache_is_opened_without_reading_it(pictures, monkeypatch):
    open_data(pictures)
    monkeypatch.setattr("salience.data.cache.Checksum.of", forbidden)
    monkeypatch.setattr("salience.data.build.build", forbidden)
    assert len(open_data(pictures)) == 6


def test_a_copied_cache_is_read_once_and_not_prepared_again(pictures, cache, tmp_path, monkeypatch):
    before = open_data(pictures)
    shutil.copytree(cache, tmp_path / "copy")
    monkeypatch.setattr("salience.data.build.build", forbidden)
    np.testing.assert_array_equal(open_data(pictures, cache=tmp_path / "copy").x, before.x)
    monkeypatch.setattr("salience.data.cache.Checksum.of", forbidden)
    assert len(open_data(pictures, cache=tmp_path / "copy")) == 6


def test_a_cache_from_before_there_were_seals_is_checked_and_sealed(pictures, cache, monkeypatch):
    before = open_data(pictures).x.copy()
    (folder,) = prepared(cache)
    (folder / "seal.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("salience.data.build.build", forbidden)
        open_data(pictures)
    assert (folder / "seal.json").exists()
    (folder / "seal.json").unlink()
    change_a_byte(folder / "x.bin")
    np.testing.assert_array_equal(open_data(pictures).x, before)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet", ".feather", "-images-idx3-ubyte"])
def test_a_source_that_changed_within_one_tick_or_with_a_restored_time_is_prepared_again(tmp_path, suffix):
    path = tmp_path / f"train{suffix}"

    def write(value):
        import struct

        table = np.full((20, 3), float(value))
        if suffix == ".npy":
            np.save(path, table)
        elif suffix == ".npz":
            np.savez(path, x=table)
        elif suffix.startswith("-"):
            path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, 20, 3, 3) + bytes([value]) * 180)
        else:
            frame = pd.DataFrame(table, columns=["a", "b", "c"])
            {".csv": frame.to_csv, ".parquet": frame.to_parquet, ".feather": frame.to_feather}[suffix](path)

    write(1)
    before = path.stat()
    for value in (1, 2, 3):
        write(value)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        data = open_data(path)
        column = data.x.reshape(20, -1)[:, -1]
        assert set(column) == {value}
        again = open_data(path)
        assert set(again.x.reshape(20, -1)[:, -1]) == {value}
        assert again.spec == data.spec
        if data.spec.modality.name == "table":
            assert data.spec.columns[-1].mean == value


def test_a_mapped_array_is_never_shown_with_the_statistics_of_another(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((50, 200)))
    open_data(path)
    before = path.stat()
    x = np.load(path, mmap_mode="r+")
    x[25:] = 4
    x.flush()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    data = open_data(path)
    assert data.spec.columns[0].mean == data.x[:, 0].mean() == 2


def test_too_little_space_is_said_before_anything_is_written(pictures, cache, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10, 9, 1000))
    with pytest.raises(UserError, match=r"preparing 6 items needs 0\.0 MB at .* 0\.0 MB are free; .*SALIENCE_CACHE"):
        open_data(pictures)
    assert prepared(cache) == []


def test_a_disk_that_fills_up_leaves_nothing(pictures, cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("salience.fields.row_writer.os.write", full)
    with pytest.raises(UserError, match="no space left"):
        open_data(pictures)
    assert prepared(cache) == []


def test_a_cache_that_cannot_be_written_is_said(pictures, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write to .*SALIENCE_CACHE"):
        open_data(pictures, cache=tmp_path / "file")


def test_any_error_leaves_nothing(pictures, cache, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("salience.fields.row_writer.Scan.add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_data(pictures)
    assert prepared(cache) == []


def test_what_a_killed_process_left_is_removed_by_the_next(pictures, cache):
    import socket

    leftover = cache / "prepared" / f".{socket.gethostname()}.999999999.abc"
    mine = cache / "prepared" / f".{socket.gethostname()}.{os.getpid()}.abc"
    other = cache / "prepared" / ".elsewhere.1.abc"
    for folder in (leftover, mine, other):
        folder.mkdir(parents=True)
    open_data(pictures)
    assert not leftover.exists()
    assert mine.exists()
    assert other.exists()


PROGRAM = "import sys; from salience.data import open_data; print('begun', flush=True); open_data(sys.argv[1])"


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_half_written(tmp_path, cache):
    (tmp_path / "many").mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (700, 700, 3), np.uint8)).save(tmp_path / "many" / "0.png")
    for i in range(1, 300):
        (tmp_path / "many" / f"{i}.png").hardlink_to(tmp_path / "many" / "0.png")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "many")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        deadline = time.monotonic() + 30
        while not list((cache / "prepared").glob(".*/x.bin")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert list((cache / "prepared").glob(".*/x.bin"))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode != 0
    assert prepared(cache) == []


def test_two_who_prepare_the_same_get_the_same(pictures, cache, monkeypatch):
    from salience.data import build as module

    build = module.build
    order = []

    def slow(*arguments, **options):
        order.append("begun")
        if len(order) == 1:
            open_data(pictures)
        return build(*arguments, **options)

    monkeypatch.setattr(module, "build", slow)
    data = open_data(pictures)
    assert len(order) == 2
    assert len(data) == 6
    assert len(prepared(cache)) == 1
