import os
import time
from pathlib import Path

import pytest

from salience.fields import source
from salience.fields.source import mark_of_files, mark_of_stat

LARGE = source.WHOLE + 100_000


def rewrite(path, content):
    """Changes a file in place and restores its modification time."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_file_with_a_restored_modification_time_has_another_mark(tmp_path, size):
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(size))
    before = path.stat()
    for content in (b"\1", b"\2"):
        mark = mark_of_files([path])
        rewrite(path, content)
        assert mark_of_files([path]) != mark
    assert mark_of_stat(path.stat()) != mark_of_stat(before)


def test_the_same_file_has_the_same_mark(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(LARGE))
    mark = mark_of_files([path])
    path.read_bytes()
    assert mark_of_files([path]) == mark
    assert mark_of_files([Path(os.path.relpath(path))]) == mark


@pytest.mark.parametrize("field", ["st_size", "st_ino", "st_mtime_ns", "st_ctime_ns"])
def test_every_part_of_the_state_counts(tmp_path, field):
    class Stat:
        st_size, st_ino, st_mtime_ns, st_ctime_ns = 1, 2, 3, 4

    mark = mark_of_stat(Stat())
    setattr(Stat, field, 9)
    assert mark_of_stat(Stat()) != mark


@pytest.mark.parametrize("position", [0, 200_000, source.WHOLE, LARGE - 1])
def test_content_counts_where_the_state_of_the_file_says_nothing(tmp_path, monkeypatch, position):
    monkeypatch.setattr(source, "mark_of_stat", lambda stat: str(stat.st_size))
    content = bytearray(LARGE)
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    mark = mark_of_files([path])
    # a change of 24 kB: at most that lies between two samples
    for at in range(max(0, position - 24_000), position + 1):
        if at < LARGE:
            content[at] = 1
    path.write_bytes(content)
    assert mark_of_files([path]) != mark


def test_a_mark_is_taken_after_the_tick_in_which_a_file_changed(tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)

    class Stat:
        st_size, st_ino, st_mtime_ns, st_ctime_ns = 1, 2, 3, time.time_ns()

    monkeypatch.setattr(time, "time_ns", lambda: Stat.st_ctime_ns + source.TICK // 4)
    mark_of_stat(Stat())
    assert waited == [pytest.approx(source.TICK * 0.75 / 1e9)]
    monkeypatch.setattr(time, "time_ns", lambda: Stat.st_ctime_ns + source.TICK)
    mark_of_stat(Stat())
    assert len(waited) == 1


def test_a_file_that_cannot_be_read_has_a_mark_until_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "x.bin"
    path.write_bytes(b"1")
    readable = mark_of_files([path])
    monkeypatch.setattr(Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "denied")))
    assert mark_of_files([path]) != readable
