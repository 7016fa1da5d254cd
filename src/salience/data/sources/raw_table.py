"""Rows and columns from anywhere, before anything of them is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from salience.reading import AS_FOUND, Reading


@dataclass(frozen=True)
class Table:
    """Rows and columns from anywhere.

    names: of the columns;  rows: how many
    frames: DataFrames of these columns, in order
    features: Hugging Face's description of the columns, empty where there is none
    image: the column that holds encoded images, None where none does
    texts: every cell is a text as it stood in a file;  comma: of texts, 1,234 has a decimal comma if nothing else tells
    folder: of the data file; image paths are relative to it and may not leave it. None for what a program built
    index: columns that were the index of the DataFrame that was saved; they are used as labels or groups only
    binary: columns that may hold bytes
    found: how it is read, where a run has to know what was found out
    notes: on how it is read;  late_notes: the same, known once the frames were read
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
