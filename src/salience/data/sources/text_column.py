"""A column of texts in a table, whose texts are the items: named by the user, or the only one with long texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from salience.data.sources.query import Query
from salience.data.sources.raw_table import Table
from salience.data.sources.split_column import SplitRows
from salience.errors import UserError
from salience.fields.content import Found, Texts
from salience.modalities.text import MODALITY as TEXTS
from salience.reading import Reading
from salience.units import printable

EXAMINED = 1000  # rows
LEAST_CHARACTERS, LEAST_WORDS, LEAST_DISTINCT = 40, 6, 0.5  # medians of a column of long texts, and share of distinct
SHOWN = 5
NAMED = ("text", "texts", "content", "body", "document", "sentence", "review", "description")  # the usual columns


def find_text_column(table: Table, taken: Sequence[str | None], query: Query) -> str | None:
    """Return the column whose texts are the items; None if the rows are.

    Args:
        table: The table.
        taken: The columns of labels and groups.
        query: The options of the user.

    Raises:
        UserError: The column that the user names does not exist, or is not found where one is needed.
    """
    named, kind = query.reading.text, query.kind
    if named in table.names and kind in (None, TEXTS.name):
        return named
    if named is not None and not query.of_run:
        raise UserError(f"text: no column '{named}'; the columns are: {', '.join(table.names[:20])}")
    if kind not in (None, TEXTS.name) or query.reading.categorical:
        return None
    first = _first_rows(table)
    if first is None:
        return None
    long = list(_long_columns(first, taken))
    if kind == TEXTS.name:
        return _only(table, long, taken)
    if len(long) == 1 and _has_no_numbers(first, [*taken, *table.index]):
        return long[0]
    return None


def _only(table: Table, long: Sequence[str], taken: Sequence[str | None]) -> str:
    """Return the column to read as texts. Raises UserError if there are several or none."""
    usual = [name for name in long if name.lower() in NAMED]
    others = [name for name in table.names if name not in taken]
    if len(long) == 1 or len(usual) == 1 or len(others) == 1:
        return next(iter(usual or long or others))
    found = f"{len(long)} columns of long texts" if long else "no column of long texts"
    raise UserError(f"text: found {found}; name one with --text: {', '.join((long or table.names)[:20])}")


def _first_rows(table: Table) -> pd.DataFrame | None:
    """Return the first rows of a table, None if it has none."""
    frames = table.frames(table.names)
    first = next(frames, None)
    next(frames, None)  # the process that reads a small file is then done with it, and free for the next request
    return None if first is None else first.iloc[:EXAMINED]


def _long_columns(first: pd.DataFrame, taken: Sequence[str | None]) -> Iterator[str]:
    """Iterate over the columns whose first cells are mostly long, different texts."""
    for name in first.columns:
        cells = first[name].dropna() if name not in taken else first[name].iloc[:0]
        texts = [cell for cell in cells if isinstance(cell, str)]
        if not texts or len(texts) < len(cells):
            continue
        lengths, words = pd.Series(map(len, texts)), pd.Series([len(text.split()) for text in texts])
        distinct = len(set(texts)) / len(texts)
        if lengths.median() >= LEAST_CHARACTERS and words.median() >= LEAST_WORDS and distinct >= LEAST_DISTINCT:
            yield name


def _has_no_numbers(first: pd.DataFrame, taken: Sequence[str | None]) -> bool:
    """Return whether no other column holds numbers, so that the rows are not items of several values."""
    for name in first.columns:
        cells = first[name].dropna()
        if name not in taken and len(cells) and pd.to_numeric(cells, errors="coerce").notna().all():
            return False
    return True


def read_texts(table: Table, chosen: SplitRows, column: str, found: Found, query: Query) -> Found:
    """Return the texts of a column as items.

    Args:
        table: The table.
        chosen: The rows of the split.
        column: The column.
        found: Ids, labels and groups of the rows.
        query: The options of the user.
    """

    def chunks() -> Iterator[list[str | None]]:
        for frame in table.frames([column]):
            yield [as_text(cell) for cell in frame[column]]

    def notes() -> tuple[str, ...]:
        return table.late_notes()

    count = sum(len(frame) for frame in table.frames([column]))
    others = [name for name in table.names if name != column and name not in (query.labels, query.groups)]
    told = f"the items are the texts in column '{printable(column)}'"
    if others:
        shown = ", ".join(map(printable, others[:SHOWN])) + (", ..." if len(others) > SHOWN else "")
        told += f"; other columns are not read as values: {shown}"
    if query.reading.text is None and query.kind is None:
        told += "; use --kind table to read rows"
    return replace(
        found,
        content=Texts(chunks, count, query.reading, notes=notes),
        notes=(*table.notes, *found.notes, told),
        reading=Reading(text=column).over(table.found),
        splits=chosen.splits,
    )


def as_text(cell: Any) -> str | None:
    """Return a cell as text; None if it is missing."""
    if isinstance(cell, str):
        return cell
    missing = cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and cell != cell)
    return None if missing else str(cell)
