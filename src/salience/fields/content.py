"""What reading a source gives, before any of it is prepared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from salience.fields.ids import Ids
from salience.reading import AS_FOUND, Reading

if TYPE_CHECKING:
    import pandas as pd

    from salience.modalities.image.headers import Blob


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
    held: words that the user named for a missing value, which labels or groups hold
    notes: on what was found while the chunks were read
    """

    chunks: Callable[[], Iterator[pd.DataFrame]]
    texts: bool = False
    reading: Reading = AS_FOUND
    comma: bool = False
    held: frozenset[str] = frozenset()
    notes: Callable[[], tuple[str, ...]] = tuple


@dataclass(frozen=True)
class Found:
    """What reading a source gave.

    content: images to decode, a table, or an array [n ...]
    labels: [n] int64, -1 where unknown
    groups: [n] int64
    views: the view policy that suits the data, where the source knows
    splits: names of all splits, where a column of the source tells them apart
    reading: what was found out of how it is read, and a run has to know to read new data alike
    """

    content: Encoded | Frames | np.ndarray
    ids: Ids | None = None
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    groups: np.ndarray | None = None
    views: str | None = None
    notes: tuple[str, ...] = ()
    reading: Reading = AS_FOUND
    splits: tuple[str, ...] = ()
