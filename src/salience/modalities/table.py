"""Tables: columns of numbers and of categories become [n columns] floats; a missing value is NaN.

A category is stored as its position in `Column.categories`. Imputing and scaling happen in a network's input layer,
with the statistics found here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from salience.batch import Column, Spec
from salience.errors import UserError
from salience.modalities import Items
from salience.modalities.moments import Moments

MOST_CATEGORIES = 1000
FEW_ROWS = 20


@dataclass
class Survey:
    """What was seen of a table so far.

    kinds: column -> "number", "text", or why the column is left out
    seen: text column -> its values
    wide: a column of numbers holds more than float32 can
    """

    texts: bool
    rows: int = 0
    kinds: dict[str, str] = field(default_factory=dict)
    seen: dict[str, set[str]] = field(default_factory=dict)
    wide: bool = False

    def add(self, frame: pd.DataFrame) -> None:
        self.rows += len(frame)
        for name in frame.columns:
            column = frame[name]
            kind = _kind(column, self.texts)
            before = self.kinds.get(str(name))
            if kind is None or before not in (None, "number", "text"):
                continue
            self.kinds[str(name)] = kind if before in (None, kind) else "text"
            self.wide |= kind == "number" and not _fits_float32(column)

    def add_texts(self, frame: pd.DataFrame) -> None:
        """A second look, at the columns that turned out to be texts."""
        for name in frame.columns:
            if self.kinds.get(str(name)) == "text":
                seen = self.seen.setdefault(str(name), set())
                seen.update(_texts(frame[name]).dropna().unique())
                if len(seen) > MOST_CATEGORIES:
                    self.kinds[str(name)] = f"more than {MOST_CATEGORIES:,} different texts"

    def columns(self) -> tuple[tuple[Column, ...], tuple[str, ...]]:
        """The columns that are used, and a note on each that is not."""
        used, notes = [], []
        for name, kind in self.kinds.items():
            seen = sorted(self.seen.get(name, ()))
            if kind == "text" and len(seen) > self.rows / 2 and self.rows > FEW_ROWS:
                kind = f"{len(seen):,} different texts in {self.rows:,} rows name the rows"
            if kind == "number":
                used.append(Column(name))
            elif kind == "text":
                used.append(Column(name, "category", tuple(seen)))
            else:
                notes.append(f"column '{name}' is left out: {kind}")
        return tuple(used), tuple(notes)


def survey(chunks: Iterable[pd.DataFrame], again: Iterable[pd.DataFrame], *, texts: bool) -> Survey:
    """Looks through a table, given twice: what kind each column is, then which texts it holds."""
    found = Survey(texts)
    for frame in chunks:
        found.add(frame)
    if "text" in found.kinds.values():
        for frame in again:
            found.add_texts(frame)
    return found


def encode(frame: pd.DataFrame, columns: Sequence[Column], dtype: str, first_row: int) -> np.ndarray:
    """[n columns] of `dtype`. A category that is not known is missing. Raises UserError for infinities and misfits."""
    encoded = np.empty((len(frame), len(columns)), dtype=dtype)
    for position, column in enumerate(columns):
        values = frame[column.name]
        if column.kind == "category":
            codes = pd.Index(column.categories, dtype=object).get_indexer(pd.Index(_texts(values)))
            encoded[:, position] = np.where(codes < 0, np.nan, codes)
        else:
            encoded[:, position] = _numbers(values, column.name, first_row)
    return encoded


def match_columns(found: Sequence[str], want: Spec) -> None:
    """Raises UserError where a column that the run was trained on is missing."""
    missing = [column.name for column in want.columns if column.name not in set(found)]
    if missing:
        names = ", ".join(f"'{name}'" for name in missing[:5])
        raise UserError(
            f"source: mismatched columns: the run was trained on {names}{' and more' if len(missing) > 5 else ''}, "
            f"missing here; the source has: {', '.join(found[:10])}"
        )


def make_spec(columns: Sequence[Column], dtype: str, moments: Moments) -> Spec:
    """The spec of a stored table whose statistics are `moments`."""
    with_statistics = tuple(
        replace(column, mean=float(mean), std=float(std)) if column.kind == "number" else column
        for column, mean, std in zip(columns, moments.mean, moments.std, strict=True)
    )
    return Spec("table", (len(columns),), dtype, columns=with_statistics)


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


def _kind(column: pd.Series, texts: bool) -> str | None:
    """ "number", "text", why it cannot be used, or None where every cell is missing and nothing is known."""
    if types.is_bool_dtype(column.dtype) or isinstance(column.dtype, pd.CategoricalDtype):
        return "text"
    if types.is_numeric_dtype(column.dtype) and not types.is_complex_dtype(column.dtype):
        return "number"
    if types.is_datetime64_any_dtype(column.dtype) or types.is_timedelta64_dtype(column.dtype):
        return "number"
    known = column.dropna()
    if known.empty:
        return None
    if not known.map(lambda value: isinstance(value, (str, bool, int, float))).all():
        return f"its cells hold {type(known.iloc[0]).__name__}, neither numbers nor texts"
    parsed = pd.to_numeric(known, errors="coerce") if texts or not isinstance(known.iloc[0], str) else None
    return "number" if parsed is not None and parsed.notna().all() else "text"


def _fits_float32(column: pd.Series) -> bool:
    return column.dtype in (np.float32, np.float16, np.int8, np.uint8, np.int16, np.uint16)


def _texts(column: pd.Series) -> pd.Series:
    """As texts, missing values kept: True is "True", 3 is "3"."""
    return column.astype(object).where(column.notna(), None).map(str, na_action="ignore").astype(object)


def _numbers(column: pd.Series, name: str, first_row: int) -> np.ndarray:
    values = _days(column) if types.is_datetime64_any_dtype(column.dtype) else _parsed(column, name, first_row)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise UserError(
            f"source: an infinite value at row {first_row + infinite[0]}, column '{name}'; "
            "replace it, or leave the cell empty where the value is missing"
        )
    return values


def _parsed(column: pd.Series, name: str, first_row: int) -> np.ndarray:
    if types.is_timedelta64_dtype(column.dtype):
        return _in_days(column)
    if types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    parsed = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero(np.isnan(parsed) & column.notna().to_numpy())
    if len(wrong):
        raise UserError(
            f"source: mismatched column '{name}': numbers are expected, row {first_row + wrong[0]} "
            f"holds {str(column.iloc[wrong[0]])[:40]!r}"
        )
    return parsed


def _days(column: pd.Series) -> np.ndarray:
    """Days since 1970."""
    naive = column.dt.tz_convert(None) if getattr(column.dtype, "tz", None) else column
    return _in_days(naive - pd.Timestamp(0).as_unit(naive.dt.unit))  # in nanoseconds, far years overflow


def _in_days(passed: Any) -> np.ndarray:
    return (passed / pd.Timedelta(days=1)).to_numpy(dtype=np.float64, na_value=np.nan)
