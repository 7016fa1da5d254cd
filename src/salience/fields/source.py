"""What a source is before it is prepared: where it lies, a cheap mark of its content, and how to read it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from salience.fields.content import Found

WHOLE = 1 << 20  # bytes
SAMPLE, SAMPLES = 4096, 64  # bytes, pieces
TICK = 20_000_000  # ns; Linux counts file times in ticks of up to 10 ms


@dataclass(frozen=True)
class Source:
    """Something that can be opened.

    mark: changes whenever the content does; found without reading it. None for what lives in memory
    splits: names of all splits that it has, where it has several
    location: what stays the same when the content changes, so that what was prepared before is replaced
    """

    name: str
    split: str
    read: Callable[[], Found]
    mark: str | None = None
    location: str = ""
    splits: tuple[str, ...] = ()


def mark_of(parts: Iterable[object]) -> str:
    """A hash of everything that tells one state of a source from another."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def mark_of_values(values: np.ndarray) -> str:
    """Of an array of any type; 1 and "1" differ, as do a masked value and the one below it."""
    return mark_of([values.dtype, *map(repr, values.reshape(-1).tolist())])


def mark_of_files(paths: Iterable[Path]) -> str:
    """A mark of files: where each lies, its state on the disk, and a sample of its content.

    A file of up to `WHOLE` bytes is sampled whole, a larger one in `SAMPLES` pieces spread from its first byte to its
    last, so that the mark of a file of any size takes milliseconds.
    """
    return mark_of((path.resolve(), mark_of_stat(path.stat()), _sample(path)) for path in paths)


def mark_of_stat(stat: os.stat_result) -> str:
    """The state of one file: size, inode, modification and change time. For lists of many files; content is not read.

    A program can restore the modification time, but not the change time. A file system keeps times in ticks, and a
    second change within one tick leaves no trace, so a file that has only just changed is given a moment to settle.
    """
    since = time.time_ns() - stat.st_ctime_ns
    if 0 <= since < TICK:
        time.sleep((TICK - since) / 1e9)
    return f"{stat.st_size} {stat.st_ino} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def _sample(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= WHOLE:
                return hashlib.sha256(file.read(WHOLE)).hexdigest()
            digest = hashlib.sha256()
            for position in range(SAMPLES):
                file.seek((size - SAMPLE) * position // (SAMPLES - 1))
                digest.update(file.read(SAMPLE))
            return digest.hexdigest()
    except OSError:  # reading it gives the reason
        return "unreadable"
