"""Cells of a table: which of them are missing, and the number or text that each other one stands for.

A text is a number in one of two notations: with a decimal point, 1,234.5, or with a decimal comma, 1.234,5. Groups of
three digits may be separated by the other sign, a space or an apostrophe. A percentage is a fraction: 12% is 0.12.
Several points and no comma, 1.234.567, are a number only where the decimal sign is a comma: it may be an address.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api import types

# As pandas documents for `read_csv`, na_values.
MISSING_WORDS = frozenset(
    (
        *(
            "",
            "#N/A",
            "#N/A N/A",
            "#NA",
            "-1.#IND",
            "-1.#QNAN",
            "-NaN",
            "-nan",
            "1.#IND",
            "1.#QNAN",
            "<NA>",
            "N/A",
            "NA",
        ),
        *("NULL", "NaN", "None", "n/a", "nan", "null"),
    )
)
OTHER = {".": ",", ",": "."}
_NUMBER = (
    r"[+-]?(?=[^eE]*\d)(?:[1-9]\d{{0,2}}([{groups}'’ \xa0\u2009\u202f])\d{{3}}(?:\1\d{{3}})*|\d*)"
    r"(?:{sign}\d*)?(?:[eE][+-]?\d+)?"
)
_PATTERN = {sign: re.compile(_NUMBER.format(groups=OTHER[sign], sign=re.escape(sign)), re.ASCII) for sign in OTHER}
_DOTTED = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3}){2,}", re.ASCII)
_DIGITS = re.compile(r"[+-]?\d+", re.ASCII)
_GROUPS = re.compile(r"\d['’ \xa0\u2009\u202f]\d")
LARGEST_EXACT = 2**53  # of whole numbers that a float64 holds without gaps
_WHOLE = re.compile(r"(-?\d+)\.0+", re.ASCII)
_EPOCH = datetime.datetime(1970, 1, 1)
A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # the units that pandas keeps times in
_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Rules:
    """How cells are read.

    decimal: the decimal sign that is tried first;  strict: the other sign is not tried, because the user named this one
    missing: words for a missing value, besides those that pandas knows in a column of numbers
    """

    decimal: str = "."
    strict: bool = False
    missing: tuple[str, ...] = ()

    @cached_property
    def words(self) -> frozenset[str]:
        """What stands for a missing value in a column of numbers."""
        return MISSING_WORDS | frozenset(self.missing)


def parse(text: str, rules: Rules) -> float | None:
    """The number that a text stands for, None where it is no number."""
    cell = text.strip().replace("−", "-")
    percent = cell.endswith("%")
    cell = cell.removesuffix("%").rstrip()
    for sign in (rules.decimal,) if rules.strict else (rules.decimal, OTHER[rules.decimal]):
        match = _PATTERN[sign].fullmatch(cell)
        if match and (sign == rules.decimal or not is_dotted(cell)):
            plain = cell.replace(match[1], "") if match[1] else cell
            number = float(plain.replace(sign, "."))
            return number / 100 if percent else number
    return None


def is_dotted(text: str) -> bool:
    """Whether several points each stand before three digits, as in 1.234.567 and 192.168.100.101."""
    return _DOTTED.fullmatch(text.strip()) is not None


def has_groups(text: str) -> bool:
    """Whether spaces or apostrophes separate groups of digits."""
    return _GROUPS.search(text) is not None


def first_rounded(column: pd.Series, values: np.ndarray) -> tuple[int, str] | None:
    """Position and text of the first whole number that is another one as a float.  values: of the column [n]"""
    if types.is_float_dtype(column.dtype):
        return None
    for position in np.flatnonzero(np.isfinite(values) & (np.abs(values) >= LARGEST_EXACT)):
        text = str(column.iloc[position]).strip()
        if _DIGITS.fullmatch(text) and int(text) != int(values[position]):
            return int(position), text
    return None


def decimal_sign(text: str) -> str | None:
    """The decimal sign that a text must have been written with: "." or ","; None where it may be either, or neither."""
    fits = [sign for sign in OTHER if parse(text, Rules(sign, strict=True)) is not None]
    return fits[0] if len(fits) == 1 else None


@dataclass(frozen=True)
class Numbers:
    """What a column holds.

    values: [n] float64, NaN where no number is;  odd: [n] bool, cells that are neither numbers nor missing
    written: [n] bool, numbers with a decimal comma, a thousands separator or a percent sign
    mixed: some are numbers only with the other decimal sign
    """

    values: np.ndarray
    odd: np.ndarray
    written: np.ndarray
    mixed: bool = False


def parse_numbers(column: pd.Series, rules: Rules) -> Numbers:
    """The numbers that a column of texts, of texts and numbers, or of numbers holds."""
    if types.is_numeric_dtype(column.dtype):
        return _all_numbers(column.to_numpy(dtype=np.float64, na_value=np.nan), rules)
    known = column.notna().to_numpy()
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    unsure = known & np.isnan(values)
    if rules.decimal == ",":
        unsure |= known & texts_of(column).str.contains(".", regex=False).fillna(False).to_numpy(dtype=bool)
    odd, written, mixed = np.zeros(len(values), bool), np.zeros(len(values), bool), False
    if unsure.any():
        values[unsure], odd[unsure], mixed = _parsed(column[unsure], rules)
        written[unsure] = ~np.isnan(values[unsure])
    return Numbers(_without(values, rules), odd, written, mixed)


def _parsed(column: pd.Series, rules: Rules) -> tuple[np.ndarray, np.ndarray, bool]:
    """Values and oddness of cells that are not numbers as they stand, and whether some have the other decimal sign.

    Every different text is parsed once.
    """
    codes, unique = pd.factorize(texts_of(column))
    missing = np.array([text.strip() in rules.words for text in unique])
    found = [parse(text, rules) for text in unique]
    values = np.array([np.nan if value is None else value for value in found])
    values[missing] = np.nan
    strict = replace(rules, strict=True)
    mixed = any(value is not None and parse(text, strict) is None for text, value in zip(unique, found, strict=True))
    return values[codes], (np.isnan(values) & ~missing)[codes], mixed


def _without(values: np.ndarray, rules: Rules) -> np.ndarray:
    """`--missing -999` means the number, however it is written."""
    words = [number for word in rules.missing if (number := parse(word, rules)) is not None]
    if words:
        values[np.isin(values, words)] = np.nan
    return values


def texts_of(column: pd.Series) -> pd.Series:
    """As texts, missing values kept: True is "True", 3 and 3.0 are "3"."""
    if types.is_string_dtype(column.dtype) and column.dtype != object:
        return column.astype(object).where(column.notna(), None)
    return column.astype(object).where(column.notna(), None).map(text_of, na_action="ignore").astype(object)


def text_of(value: Any) -> str:
    """A cell as a text. A whole float is an integer: pandas makes floats of integers where a cell is missing."""
    whole = isinstance(value, float | np.floating) and np.isfinite(value) and value == int(value)
    return str(int(value)) if whole else str(value)


def find_words(column: pd.Series, words: Collection[str]) -> set[str]:
    """Those of the words that a plain column holds, texts or numbers however they are written."""
    if types.is_numeric_dtype(column.dtype) and not types.is_bool_dtype(column.dtype):
        texts, values = set(), column
    else:
        texts = {text.strip() for text in texts_of(column).dropna().unique()}
        values = pd.to_numeric(texts_of(column), errors="coerce")
    there = set(words) & texts
    numbers = {word: number for word in set(words) - there if (number := parse(word, Rules())) is not None}
    return there | {word for word, number in numbers.items() if bool((values == number).any())}


def whole_text(text: str) -> str:
    """ "1.0" as "1"; other texts as they are."""
    match = _WHOLE.fullmatch(text)
    return match[1] if match else text


def plain(column: pd.Series) -> pd.Series:
    """The column in one of pandas' basic types: sparse, period and Arrow columns are converted."""
    dtype = column.dtype
    if isinstance(dtype, pd.SparseDtype):
        return pd.Series(column.sparse.to_dense())  # type: ignore[attr-defined]
    if isinstance(dtype, pd.PeriodDtype):
        return column.dt.to_timestamp()
    if isinstance(dtype, pd.ArrowDtype):
        return pd.Series(pa.array(column.array).to_pandas())
    return column


def kind_of(column: pd.Series) -> str | None:
    """What a plain column holds: number, date, duration, category, text; None where every cell is missing.

    Anything else is told as a reason to leave the column out.
    """
    dtype = column.dtype
    if column.isna().all():
        return None
    if types.is_bool_dtype(dtype) or isinstance(dtype, pd.CategoricalDtype):
        return "category"
    if types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype):
        return "number"
    if types.is_datetime64_any_dtype(dtype):
        return "date"
    if types.is_timedelta64_dtype(dtype):
        return "duration"
    return _kind_of_objects(column)


def _kind_of_objects(column: pd.Series) -> str:
    inferred = types.infer_dtype(column, skipna=True)
    if inferred in ("string", "boolean"):
        return "text" if inferred == "string" else "category"
    known = column.dropna()
    kinds = known.map(type).drop_duplicates()
    for name, base in (("date", datetime.date), ("duration", datetime.timedelta | np.timedelta64)):
        if all(issubclass(kind, base) for kind in kinds):
            return name
    numbers = [issubclass(kind, Number | Decimal) and kind not in (bool, np.bool_) for kind in kinds]
    if all(numbers) and not any(issubclass(kind, complex) for kind in kinds):
        return "number"
    if all(number or issubclass(kind, str | bool | np.bool_) for number, kind in zip(numbers, kinds, strict=True)):
        return "text"
    plain_kinds = (str, bool, np.bool_, Number, Decimal)
    others = [kind for kind in kinds if not issubclass(kind, plain_kinds) or issubclass(kind, complex)]
    return f"its cells contain {others[0].__name__}, neither numbers nor texts"


def read_numbers(column: pd.Series, kind: str | None, rules: Rules) -> Numbers:
    """The numbers of a plain column of that kind: dates are days since 1970-01-01, durations are days."""
    if kind in ("date", "duration"):
        return _all_numbers(_days(column), rules)
    if kind == "number" and column.dtype == object:
        return _all_numbers(column.map(float, na_action="ignore").to_numpy(np.float64, na_value=np.nan), rules)
    return parse_numbers(column, rules)


def _all_numbers(values: np.ndarray, rules: Rules) -> Numbers:
    none = np.zeros(len(values), bool)
    return Numbers(_without(values.copy(), rules), none, none)


def _days(column: pd.Series) -> np.ndarray:
    """Of dates since 1970-01-01 in UTC, of durations their length; NaN where missing, whatever year they reach."""
    naive = column.dt.tz_convert(None) if getattr(column.dtype, "tz", None) else column
    values = naive.to_numpy()
    if values.dtype.kind not in "mM":  # objects, which reach further than pandas' own nanoseconds
        return column.map(_days_of, na_action="ignore").to_numpy(dtype=np.float64, na_value=np.nan)
    a_day = 86_400 * A_SECOND[np.datetime_data(values.dtype)[0]]
    return np.where(np.isnat(values), np.nan, values.astype(np.int64) / a_day)


def _days_of(cell: datetime.date | datetime.timedelta | np.timedelta64) -> float:
    if isinstance(cell, np.timedelta64):
        return float(cell / np.timedelta64(1, "D"))
    if isinstance(cell, datetime.timedelta):
        return cell / _DAY
    if not isinstance(cell, datetime.datetime):
        return float(cell.toordinal() - _EPOCH.toordinal())
    naive = cell if cell.tzinfo is None else cell.astimezone(datetime.UTC).replace(tzinfo=None)
    return (naive - _EPOCH) / _DAY
