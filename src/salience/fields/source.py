"""A source before preparation: its location, a cheap mark of its content, and a function to read it."""

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
    """A source of items.

    Attributes:
        name: Name of the source.
        split: The split that is opened.
        read: Function that reads the content.
        mark: Hash that changes when the content does, computed without reading all of it. None for data in memory.
        location: Identity that does not change with the content, so that older prepared data are replaced.
        splits: Names of all splits, if there are several.
    """

    name: str
    split: str
    read: Callable[[], Found]
    mark: str | None = None
    location: str = ""
    splits: tuple[str, ...] = ()


def mark_of(parts: Iterable[object]) -> str:
    """Hash everything that identifies a state of a source."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def mark_of_values(values: np.ndarray) -> str:
    """Hash an array of any type; 1 and "1" differ, and so do a masked value and its data."""
    return mark_of([values.dtype, *map(repr, values.reshape(-1).tolist())])


def mark_of_files(paths: Iterable[Path]) -> str:
    """Hash the path, the state on the disk and a sample of the content of files.

    A file of up to `WHOLE` bytes is hashed completely, a larger one in `SAMPLES` evenly spaced pieces, so that a mark
    takes milliseconds.
    """
    return mark_of((path.resolve(), mark_of_stat(path.stat()), _sample(path)) for path in paths)


def mark_of_stat(stat: os.stat_result) -> str:
    """Return the state of one file: size, inode, modification and change time. The content is not read.

    A program can restore the modification time, but not the change time. File times have a resolution of one tick, and
    a second change within a tick is not visible, so this function waits for the end of the tick of a recent change.
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
    except OSError:  # reading it reports the reason
        return "unreadable"
