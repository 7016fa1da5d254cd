"""Tables: columns of numbers and of categories become [n columns] floats; a missing value is NaN.

A category is stored as its position in `Column.categories`. Imputing and scaling happen in a network's input layer,
with the statistics found here.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from salience.errors import UserError
from salience.fields.moments import Moments
from salience.modalities import Items
from salience.modalities.table import cells
from salience.modalities.table.cells import OTHER, Rules
from salience.modalities.table.spec import Column, TableSpec
from salience.modalities.table.survey import Survey
from salience.units import counted, printable

PLAIN = Rules()
MOST_NAMED = 5


@dataclass
class Unseen:
    """Of a column of categories: cells that have a value, those whose value is none of the run's, and the first."""

    known: int = 0
    cells: int = 0
    first: str = ""
    row: int = 0


class RowCoder:
    """Turns the frames of a table into rows, one after another, and counts the categories it does not know.

    columns: what each value of a row is;  dtype: of the rows;  rules: how numbers are written
    """

    def __init__(self, columns: Sequence[Column], dtype: str, rules: Rules = PLAIN) -> None:
        self.columns, self.dtype, self.rules = columns, dtype, rules
        self.row = 0
        self.mixed = False  # decimal signs
        self.unseen: dict[str, Unseen] = {}
        self._codes = {column.name: _codes(column.categories) for column in columns if column.kind == "category"}

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        """[n columns] of `dtype`. A category that is not known is missing.

        Raises UserError for infinities, and for texts in a column of numbers unless most of them are numbers.
        """
        encoded = np.empty((len(frame), len(self.columns)), dtype=self.dtype)
        for position, column in enumerate(self.columns):
            values = cells.plain(frame[column.name])
            code = self._categories if column.kind == "category" else self._numbers
            encoded[:, position] = code(values, column.name)
        self.row += len(frame)
        return encoded

    def _categories(self, values: pd.Series, name: str) -> np.ndarray:
        codes, unique = pd.factorize(cells.texts_of(values))
        known, words = self._codes[name], self.rules.words
        number, strange = np.full(len(unique) + 1, np.nan), np.zeros(len(unique) + 1, bool)  # the last: missing cells
        for at, text in enumerate(unique):
            if text.strip() in self.rules.missing:
                continue
            number[at] = known.get(text, known.get(cells.whole_text(text), np.nan))
            strange[at] = np.isnan(number[at]) and text.strip() not in words
        self._count(name, codes, strange, number, unique)
        return number[codes]

    def _count(self, name: str, codes: np.ndarray, strange: np.ndarray, number: np.ndarray, unique: Any) -> None:
        unseen = self.unseen.setdefault(name, Unseen())
        cells_ = np.flatnonzero(strange[codes])
        unseen.known += int((~np.isnan(number[codes])).sum())
        if len(cells_) and not unseen.cells:
            unseen.first, unseen.row = str(unique[codes[cells_[0]]]), self.row + int(cells_[0])
        unseen.cells += len(cells_)

    def _numbers(self, column: pd.Series, name: str) -> np.ndarray:
        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.astype(object)
        read = cells.read_numbers(column, cells.kind_of(column), self.rules)
        values = read.values
        self.mixed |= read.mixed
        infinite = np.flatnonzero(np.isinf(values))
        if len(infinite):
            raise UserError(
                f"source: infinite value at row {self.row + infinite[0]}, column '{name}'; "
                "replace it, or leave the cell empty where the value is missing"
            )
        return values

    def notes(self) -> tuple[str, ...]:
        """On values that are none of the categories. Raises UserError for a column in which none of them is known."""
        found = {name: unseen for name, unseen in self.unseen.items() if unseen.cells}
        for name, unseen in found.items():
            if not unseen.known:
                categories = next(column.categories for column in self.columns if column.name == name)
                expected = ", ".join(map(printable, categories[:5])) + (", ..." if len(categories) > 5 else "")
                raise UserError(
                    f"source: column '{printable(name)}': expected values that were seen in training ({expected}), "
                    f"got none of them: '{printable(unseen.first)}' in row {unseen.row}; "
                    "correct them, or leave the cells empty where the value is not known"
                )
        return tuple(
            f"column '{printable(name)}': {counted(unseen.cells, 'value')} not seen in training, such as "
            f"'{printable(unseen.first)}' in row {unseen.row}, read as missing"
            for name, unseen in found.items()
        )


def _codes(categories: Sequence[str]) -> dict[str, int]:
    """Texts that mean a category -> its position. 1.0 is 1; 1 is True where the column is one of truth values."""
    codes = {category: code for code, category in enumerate(categories)}
    for other in ({"True": "1", "False": "0"}, {"1": "True", "0": "False"}):
        if set(categories) <= set(other):
            codes |= {form: codes[one] for one in categories for form in (other[one], one.lower(), one.upper())}
    return {cells.whole_text(category): code for category, code in codes.items()} | codes


def require_numeric_columns(found: Survey, columns: Sequence[Column]) -> None:
    """Raises UserError where a column that the run was trained on as numbers is mostly one of something else."""
    for column in columns:
        if column.kind == "number" and not found.holds_numbers(column.name):
            seen = found.seen[column.name]
            text, row = next(iter(seen.odd.items()), ("", None))
            holds = found.kind(column.name) if row is None else f"{text[:40]!r} in row {row}"
            sign = OTHER[found.reading.decimal or "."]
            remedy = f"; use --decimal {sign} to read them as numbers" if seen.uses_other_sign() else ""
            raise UserError(f"source: mismatched column '{column.name}': expected numbers, got {holds}{remedy}")


def check_categorical(named: Sequence[str], found: Sequence[str], want: TableSpec | None) -> None:
    """Raises UserError where a column that the user calls categorical is none of the items', or none of the run's.

    found: the columns that items are made of;  want: of a run that reads new data
    """
    kinds = dict.fromkeys(found, "category") if want is None else {one.name: one.kind for one in want.columns}
    for name in named:
        if name not in kinds:
            near = get_close_matches(name, kinds, n=1)
            known = f"the columns are: {', '.join(list(kinds)[:20])}"
            hint = f"did you mean '{printable(near[0])}'?" if near else known
            raise UserError(f"categorical: no column '{printable(name)}' in the items; {hint}")
        if kinds[name] != "category":
            raise UserError(
                f"categorical: the run was trained on numbers in column '{printable(name)}'; fit it again with "
                f"--categorical {shlex.quote(printable(name))}, or leave it out"
            )


def match_columns(found: Sequence[str], want: TableSpec) -> None:
    """Raises UserError where a column that the run was trained on is missing."""
    there = set(found)
    missing = [column.name for column in want.columns if column.name not in there]
    if missing:
        names = ", ".join(f"'{name}'" for name in missing[:5])
        raise UserError(
            f"source: mismatched columns: the run was trained on {names}{' and more' if len(missing) > 5 else ''}, "
            f"which the source lacks; its columns are: {', '.join(found[:10])}"
        )


def note_unused_columns(found: Sequence[str], want: TableSpec) -> tuple[str, ...]:
    """On columns of new data that the run was not trained on."""
    known = {column.name for column in want.columns}
    others = [name for name in found if name not in known]
    if not others:
        return ()
    shown = ", ".join(f"'{printable(name)}'" for name in others[:MOST_NAMED]) + ", ..." * (len(others) > MOST_NAMED)
    return (f"the run does not use {counted(len(others), 'column')} of the source: {shown}",)


def make_spec(columns: Sequence[Column], dtype: str, moments: Moments) -> TableSpec:
    """The spec of a stored table whose statistics are `moments`."""
    with_statistics = tuple(
        replace(column, mean=float(mean), std=float(std)) if column.kind == "number" else column
        for column, mean, std in zip(columns, moments.mean, moments.std, strict=True)
    )
    return TableSpec((len(columns),), dtype, columns=with_statistics)


def text(dataset: Items, row: int) -> str:
    """One row as `name: value`, one per line; a missing value as a dash."""
    return "\n".join(
        f"{column.name}: {_shown(column, value)}"
        for column, value in zip(dataset.spec.columns, dataset.item(row), strict=True)
    )


def _shown(column: Column, value: float) -> str:
    if np.isnan(value):
        return "–"
    return column.categories[int(value)] if column.kind == "category" else f"{value:g}"
