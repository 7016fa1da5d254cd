"""Columns of bytes that are texts in UTF-8, as some programs write them to Parquet: read as texts, and told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import pandas as pd

from salience.units import printable

if TYPE_CHECKING:
    from salience.data.sources.raw_table import Table

LOOKED_AT = 20  # cells, to tell whether a column holds texts
SHOWN = 5  # columns that are named


def decode_byte_columns(table: Table) -> Table:
    """The table, its columns of bytes read as texts where the first cells are."""
    names = [name for name in table.binary if name != table.image and _holds_texts(table, name)]
    if not names:
        return table

    def frames(columns: list[str]) -> Iterator[pd.DataFrame]:
        for frame in table.frames(columns):
            texts = {name: frame[name].map(_decoded, na_action="ignore") for name in names if name in columns}
            yield frame.assign(**texts)

    shown = ", ".join(f"'{printable(name)}'" for name in names[:SHOWN]) + ", ..." * (len(names) > SHOWN)
    note = f"bytes in UTF-8 are read as text in column{'s' * (len(names) > 1)} {shown}"
    return replace(table, frames=frames, notes=(*table.notes, note))


def _holds_texts(table: Table, name: str) -> bool:
    frame = next(table.frames([name]), None)
    cells = [] if frame is None else list(islice(frame[name].dropna(), LOOKED_AT))
    return bool(cells) and all(isinstance(cell, bytes) and isinstance(_decoded(cell), str) for cell in cells)


def _decoded(cell: Any) -> Any:
    """The text that bytes are; anything else as it is."""
    if not isinstance(cell, bytes):
        return cell
    try:
        text = cell.decode("utf-8")
    except UnicodeDecodeError:
        return cell
    return text if all(letter.isprintable() or letter.isspace() for letter in text) else cell
