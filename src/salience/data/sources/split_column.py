"""Split columns: a column of a table that gives the split of each row (train, val, test)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from salience.data.sources.query import Query, choose_split, split_of
from salience.fields.ids import Ids
from salience.units import printable

if TYPE_CHECKING:
    from salience.data.sources.raw_table import Table

NAME = "split"


@dataclass(frozen=True)
class SplitRows:
    """The rows of one split.

    Attributes:
        table: The table with only these rows, without the split column.
        ids: Their row numbers in the source; None if all rows are read.
        splits: Names of all splits.
    """

    table: Table
    ids: Ids | None = None
    splits: tuple[str, ...] = ()


def get_requested_split(query: Query) -> str:
    """Return the usual name of the requested split. Default: train."""
    return split_of(query.split or "train") or query.split or "train"


def select_split(table: Table, query: Query, name: str) -> SplitRows:
    """Select the rows of the requested split, by default train, if the table has a column named split.

    The column is an ordinary column if it contains other values than names of splits, or if the user names it as
    labels, groups or categorical.

    Raises:
        UserError: The requested split does not exist.
    """
    column = next((one for one in table.names if one.lower() == NAME), None)
    named = (query.labels, query.groups, *(query.reading.categorical or ()))
    if column is None or any(isinstance(one, str) and one == column for one in named):
        choose_split(query.split, ["train"], name)
        return SplitRows(table)
    values = pd.concat([chunk[column] for chunk in table.frames([column])], ignore_index=True)
    of_row = values.map(lambda value: split_of(str(value).strip()), na_action="ignore")
    if of_row.isna().any() or not len(of_row):
        choose_split(query.split, ["train"], name)
        return SplitRows(table)
    there = list(dict.fromkeys(of_row))
    split = choose_split(query.split, there, name)
    kept = (of_row == split).to_numpy()
    rows, others = np.flatnonzero(kept), [one for one in there if one != split]
    elsewhere = f"; use {printable(name)}:{others[0]} to read others" if others else ""
    note = (
        f"column '{printable(column)}' names splits ({', '.join(there)}): the {len(rows):,} rows of {split} are read"
        f"{elsewhere}; use --categorical {printable(column)} to read all rows and keep the column"
    )
    names = [one for one in table.names if one != column]
    chosen = replace(table, names=names, frames=_Rows(table, kept).frames, notes=(*table.notes, note))
    return SplitRows(chosen, Ids.of([str(row) for row in rows]), tuple(there) if others else ())


@dataclass(frozen=True)
class _Rows:
    """Rows of a table. `kept`: [all rows] bool, whether a row is selected."""

    table: Table
    kept: np.ndarray

    def frames(self, columns: list[str]) -> Iterator[pd.DataFrame]:
        start = 0
        for chunk in self.table.frames(columns):
            yield chunk[self.kept[start : start + len(chunk)]]
            start += len(chunk)
