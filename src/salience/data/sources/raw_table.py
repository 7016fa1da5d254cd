"""A table from any source, before its columns are analysed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from salience.reading import AS_FOUND, Reading


@dataclass(frozen=True)
class Table:
    """A table from any source.

    Attributes:
        names: Names of the columns.
        frames: Function that iterates over DataFrames of the given columns, in order.
        features: Hugging Face's description of the columns; empty without one.
        image: The column of encoded images; None without one.
        texts: Whether every cell is text as in the file.
        comma: Whether 1,234 in a text has a decimal comma if no other cell decides.
        folder: Folder of the data file; image paths are relative to it and must lie inside it. None in memory.
        index: Columns that were the index of the saved DataFrame; they are used only as labels or groups.
        binary: Columns that may contain bytes.
        found: Inferred options of reading that a run needs to read new data in the same way.
        notes: Notes on how the table is read.
        late_notes: Function that returns further notes after the frames were read.
    """

    names: list[str]
    frames: Callable[[list[str]], Iterator[pd.DataFrame]]
    features: dict[str, Any]
    image: str | None
    texts: bool = False
    comma: bool = False
    folder: Path | None = None
    index: tuple[str, ...] = ()
    binary: tuple[str, ...] = ()
    found: Reading = AS_FOUND
    notes: tuple[str, ...] = ()
    late_notes: Callable[[], tuple[str, ...]] = tuple
