"""Columns of bytes that are text in UTF-8, as some programs write them to Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import pandas as pd

from salience.units import printable

if TYPE_CHECKING:
    from salience.data.sources.raw_table import Table

LOOKED_AT = 20  # number of cells that are examined to detect text
SHOWN = 5  # number of columns named in a note


def decode_byte_columns(table: Table) -> Table:
    """Return the table with byte columns decoded to text if their first cells are UTF-8, and add a note."""
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
    """Decode a cell of UTF-8 bytes to text; return any other cell unchanged."""
    if not isinstance(cell, bytes):
        return cell
    try:
        text = cell.decode("utf-8")
    except UnicodeDecodeError:
        return cell
    return text if all(letter.isprintable() or letter.isspace() for letter in text) else cell
