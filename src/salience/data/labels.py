"""Conversion of labels of any type to class numbers and class names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from salience.errors import UserError
from salience.units import counted, printable

if TYPE_CHECKING:
    import pandas as pd

    from salience.modalities.table.cells import Rules

MOST_CLASSES = 20  # up to this many distinct numbers may be classes; more are a quantity, unless they have no gaps
MOSTLY = 0.9  # share of the distinct texts that must be numbers, for the rest to be missing values
LARGEST_EXACT = 2**53  # integers up to it are exact as floats
UNKNOWN = -1  # label of an item without a known class
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_WHOLE_FLOAT = re.compile(r"-?(?:0|[1-9]\d*)\.0+", re.ASCII)


def encode_labels(
    values: Any,
    argument: str = "labels",
    missing: Sequence[str] = (),
    *,
    texts: bool = False,
    measurements: bool = False,
    rules: Rules | None = None,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Convert labels to class numbers. Classes are sorted by value if all are numbers, otherwise as text.

    Args:
        values: [n] texts, booleans or integers. Empty, null and NaN are unknown; the number -1 is a class.
        argument: Name of the argument, for errors.
        missing: Further words, or numbers as text, that are unknown.
        texts: Whether the values are cells of a text file.
        measurements: Whether to accept numbers that are not integers. The name of such a class is its number, from
            which `Dataset.quantity` recovers it.
        rules: Format of numbers in a text file.

    Returns:
        Class numbers [n] int64, -1 if unknown, and the name of each class.

    Raises:
        UserError: A label is not an integer, and `measurements` is false.
    """
    import pandas as pd  # imported here, because opening prepared data does not need it

    codes, unique = pd.factorize(_factorable(_as_series(values).reset_index(drop=True)))
    if texts:
        names = _cell_names(list(unique), argument, measurements, rules)
    else:
        names = list(_names(list(unique), argument, measurements))
    of_class = [name for name in dict.fromkeys(names) if name is not None and name not in missing]
    in_order = sorted(of_class, key=_order(of_class, unique, texts=texts))
    number: dict[str | None, int] = {name: code for code, name in enumerate(in_order)}
    to_class = np.array([number.get(name, UNKNOWN) for name in names] + [UNKNOWN], dtype=np.int64)
    return to_class[codes], tuple(in_order)


def encode_labels_with_notes(
    values: Any,
    what: str,
    missing: Sequence[str] = (),
    *,
    texts: bool = False,
    measurements: bool = False,
    rules: Rules | None = None,
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Convert labels as `encode_labels` does, and add notes on ambiguous cells. `what`: name of the values in notes."""
    import pandas as pd

    from salience.modalities.table.cells import MISSING_WORDS, text_of
    from salience.modalities.table.column_notes import describe_kept_words, describe_space_variants

    codes, names = encode_labels(values, "labels", missing, texts=texts, measurements=measurements, rules=rules)
    counts = np.bincount(codes[codes != UNKNOWN], minlength=len(names))
    notes = []
    if words := [name for name in names if name in MISSING_WORDS]:
        notes.append(f"{what} {describe_kept_words(words, int(counts[names.index(words[0])]), 'class')}")
    if alike := describe_space_variants(names):
        notes.append(f"{what} {alike}")
    if "-1" in names and all(_INTEGER.fullmatch(name) for name in names):
        items = counted(int(counts[names.index("-1")]), "item")
        notes.append(f"{what}: -1 is a class ({items}); use --missing -1 to treat these items as unlabelled")
    series = pd.Series(values).reset_index(drop=True)
    notes += _on_written(series, codes, names, what) if texts else []
    notes += _on_sign(names, what, rules) if rules is not None and rules.strict else []
    dropped = series[(codes == UNKNOWN) & series.notna().to_numpy()].astype(object).map(text_of)
    dropped = dropped[~dropped.isin(missing)]
    if len(dropped):
        at = f"'{printable(dropped.iloc[0])}' in row {dropped.index[0]}"
        notes.append(f"{what} is numeric, so {at} is read as missing ({counted(len(dropped), 'cell')})")
    return codes, names, tuple(notes)


def _on_written(series: pd.Series, codes: np.ndarray, names: Sequence[str], what: str) -> list[str]:
    """Note the first cell of a text file whose class has another name than its text, such as 1,000."""
    firsts = series[codes != UNKNOWN].drop_duplicates()
    for row, text in firsts.items():
        name = names[codes[int(str(row))]]
        if text != name and not is_number(text):
            return [f"{what} contains '{printable(text)}' in row {row}, read as {name}"]
    return []


def _on_sign(names: Sequence[str], what: str, rules: Rules) -> list[str]:
    """Note that most classes are numbers with another decimal sign than the one given by the user."""
    from salience.modalities.table.cells import OTHER, Rules, parse

    other = OTHER[rules.decimal]
    numbers = [name for name in names if parse(name, rules) is None and parse(name, Rules(other, True)) is not None]
    if len(numbers) <= len(names) / 2:
        return []
    note = f"{what} contains '{printable(numbers[0])}', a number with the decimal sign '{other}', kept as a class"
    return [f"{note} because --decimal {rules.decimal} is given; use --decimal {other} to read it as a number"]


def note_unused_words(values: Any, words: Sequence[str]) -> tuple[str, ...]:
    """Note the words given with --missing that do not occur in the values."""
    import pandas as pd

    from salience.modalities.table.cells import find_words, plain

    left = set(words) - find_words(plain(pd.Series(values)), words)
    unmet = ", ".join(f"'{printable(word)}'" for word in words if word in left)
    return (f"no label equals {unmet}, given with --missing",) if unmet else ()


def encode_class_numbers(values: Any, names: Sequence[str], argument: str) -> np.ndarray:
    """Convert class numbers that refer to `names` to [n] int64, -1 if missing. Raises UserError if out of range."""
    import pandas as pd

    series = pd.Series(values)
    labels = series.to_numpy(dtype=np.float64, na_value=-1).astype(np.int64)
    if len(labels) and (labels.max() >= len(names) or labels.min() < -1):
        classes = counted(len(names), "class", "classes")
        raise UserError(f"{argument}: expected labels of {classes}, got label {labels.max()}")
    return labels


def encode_groups(values: Any) -> np.ndarray:
    """Convert groups to numbers, [n] int64. Every missing value is a separate group."""
    import pandas as pd

    codes = pd.factorize(_factorable(pd.Series(values).reset_index(drop=True)))[0].astype(np.int64)
    missing = codes < 0
    codes[missing] = codes.max(initial=-1) + 1 + np.arange(missing.sum())
    return codes


def _as_series(values: Any) -> pd.Series:
    """Convert values to a series. Lists of large integers become objects, because pandas may read them as floats."""
    import pandas as pd

    large = isinstance(values, list | tuple) and any(
        isinstance(one, int) and abs(one) > LARGEST_EXACT for one in values
    )
    return pd.Series(values, dtype=object) if large else pd.Series(values)


def _factorable(series: pd.Series) -> pd.Series:
    """Convert integers and booleans with missing values to objects, because large ones would be equal as floats."""
    import pandas as pd

    numpy_type = isinstance(series.dtype, np.dtype) and series.dtype != object
    if numpy_type and series.dtype.kind == "f":
        return series.astype(np.float64)  # pandas has no dictionary of long doubles
    if numpy_type:
        return series
    distinct = series.astype(object).where(series.notna(), None)  # True equals 1, so the type is part of the key
    return pd.Series([value if value is None else (type(value).__name__, value) for value in distinct], dtype=object)


def _names(unique: list[Any], argument: str, measurements: bool) -> list[str | None]:
    """Return the class names of values. A measurement is named by its number, from which its value is recovered."""
    values = [value[1] if isinstance(value, tuple) else value for value in unique]
    if measurements and all(map(_is_real, values)) and any(map(_is_measured, values)):
        return [repr(float(value)) if math.isfinite(value) else None for value in values]
    return [_name(value, argument) for value in values]


def _is_real(value: Any) -> bool:
    return isinstance(value, Real | Decimal) and not isinstance(value, bool | np.bool_)


def _is_measured(value: Any) -> bool:
    return isinstance(value, float | np.floating | Decimal) and math.isfinite(value) and value != int(value)


def _name(value: Any, argument: str) -> str:
    if isinstance(value, float | np.floating | Decimal):
        if not math.isfinite(value) or value != int(value):
            raise UserError(f"{argument}: expected classes, got measurements such as {float(value):g}")
        return str(int(value))
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        return str(value)


def _cell_names(unique: list[Any], argument: str, measurements: bool, rules: Rules | None) -> list[str | None]:
    """Return the class names of cells of a text file: their text, but 1 for 1.0 if all are such numbers.

    The missing-value words of pandas are classes among texts, and missing among numbers.
    """
    from salience.modalities.table.cells import MISSING_WORDS, Rules, parse

    texts = [str(value[1] if isinstance(value, tuple) else value) for value in unique]
    known = [text for text in texts if text.strip() not in MISSING_WORDS]
    numbers = {text: parse(text, rules or Rules()) for text in known}
    if _is_quantity(numbers):  # the few other cells are missing, as in any column of numbers
        numbers = {text: number for text, number in numbers.items() if number is not None}
        known = list(numbers)
    if not known or None in numbers.values():
        return list(texts)
    if measurements and any(number is not None and number % 1 != 0 for number in numbers.values()):
        return [None if text not in numbers else repr(numbers[text]) for text in texts]
    if odd := next((number for number in numbers.values() if number is not None and number % 1 != 0), None):
        raise UserError(f"{argument}: expected classes, got measurements such as {odd:g}")
    whole = all(_WHOLE_FLOAT.fullmatch(text) for text in known)
    return [None if text not in numbers else _whole_name(text, numbers[text], whole=whole) for text in texts]


def _is_quantity(numbers: Mapping[str, float | None]) -> bool:
    """Return whether nearly all texts are numbers, and too many to be classes."""
    found = [number for number in numbers.values() if number is not None]
    return len(found) < len(numbers) and len(found) > MOST_CLASSES and len(found) >= MOSTLY * len(numbers)


def _whole_name(text: str, number: float | None, *, whole: bool) -> str:
    """Return the class name of a cell: 1 for 1.0 if `whole`, 1000 for 1,000, otherwise its text."""
    if whole:
        return text.partition(".")[0]
    return text if number is None or is_number(text) else str(int(number))


def _order(names: list[str], unique: Any, *, texts: bool) -> Any:
    """Return the sort key of class names: numbers by value (equal ones, such as 1 and 01, by text), others as text."""
    values = [value[1] if isinstance(value, tuple) else value for value in unique]
    numeric = texts or not any(isinstance(value, str | bool | np.bool_) for value in values)
    if numeric and all(_INTEGER.fullmatch(name) for name in names):
        return lambda name: (int(name), name)
    return float if numeric and all(map(is_number, names)) else str


def is_number(name: str) -> bool:
    """Return whether the name of a class is a finite number."""
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False
