"""What a source is before it is prepared: where it lies, a cheap mark of its content, and how to read it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from salience.data.ids import Ids
from salience.reading import AS_FOUND, Reading

if TYPE_CHECKING:
    import pandas as pd

    from salience.modalities.decode import Blob


@dataclass(frozen=True)
class Encoded:
    """Images yet to be decoded. `chunks` gives them in order, as lists, each time it is called."""

    count: int
    chunks: Callable[[], Iterator[list[Blob]]]


@dataclass(frozen=True)
class Frames:
    """A table. `chunks` gives its rows in order, as DataFrames, each time it is called.

    texts: every cell is a text as it stood in the file, so whether a column holds numbers is yet to be found out
    reading: how the user says that cells are read;  comma: 1,234 has a decimal comma where nothing else tells
    notes: on what was found while the chunks were read
    """

    chunks: Callable[[], Iterator[pd.DataFrame]]
    texts: bool = False
    reading: Reading = AS_FOUND
    comma: bool = False
    notes: Callable[[], tuple[str, ...]] = tuple


@dataclass(frozen=True)
class Found:
    """What reading a source gave.

    content: images to decode, a table, or an array [n ...]
    labels: [n] int64, -1 where unknown
    groups: [n] int64
    views: the view policy that suits the data, where the source knows
    """

    content: Encoded | Frames | np.ndarray
    ids: Ids | None = None
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    groups: np.ndarray | None = None
    views: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Something that can be opened.

    mark: changes whenever the content does; found without reading it. None for what lives in memory
    location: what stays the same when the content changes, so that what was prepared before is replaced
    """

    name: str
    split: str
    read: Callable[[], Found]
    mark: str | None = None
    location: str = ""


def mark_of(parts: Iterable[object]) -> str:
    """A hash of everything that tells one state of a source from another."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def mark_of_files(paths: Iterable[Path]) -> str:
    """Of absolute path, size and modification time of each."""
    marks = []
    for path in paths:
        stat = path.stat()
        marks.append((path.resolve(), stat.st_size, stat.st_mtime_ns))
    return mark_of(marks)
