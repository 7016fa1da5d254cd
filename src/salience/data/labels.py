"""Labels of any type to class numbers, matched to class names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from salience.errors import UserError
from salience.units import counted


def encode_labels(
    values: Any, argument: str = "labels", *, measurements: bool = False
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers [n] int64, -1 where unknown, and the name of each class, in sorted order.

    values: [n] texts, booleans or whole numbers; missing ones, and the number -1, are unknown.
    measurements: numbers that are not whole are labels too, as the user named them; each different one has its text as
        its name, from which `Dataset.quantity` recovers it. Otherwise a UserError is raised.
    """
    import pandas as pd  # here, because opening prepared data needs none of it

    series = pd.Series(values).reset_index(drop=True)
    known = series.notna().to_numpy()
    if pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_bool_dtype(series.dtype):
        numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
        if (numbers[known] % 1 != 0).any():
            if measurements:
                return _encode_measurements(numbers)
            raise UserError(f"{argument}: {numbers[known][0]:g} and the like are measurements; classes are needed")
        known = known & (numbers != -1)
        found, codes = np.unique(numbers[known].astype(np.int64), return_inverse=True)
        names = tuple(str(value) for value in found)
    else:
        texts = series[known].astype(str).to_numpy(dtype=object).astype(str)
        found, codes = np.unique(texts, return_inverse=True)
        names = tuple(str(value) for value in found)
    labels = np.full(len(series), -1, dtype=np.int64)
    labels[known] = codes
    return labels, names


def _encode_measurements(numbers: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """numbers: [n] float64. Only NaN and infinity are unknown: -1 is a measurement as well as any."""
    known = np.isfinite(numbers)
    found, codes = np.unique(numbers[known], return_inverse=True)
    labels = np.full(len(numbers), -1, dtype=np.int64)
    labels[known] = codes
    return labels, tuple(repr(value) for value in found.tolist())


def encode_known(values: Any, names: Sequence[str], argument: str) -> np.ndarray:
    """[n] int64 of numbers that refer to `names` already; missing ones are -1. Raises UserError for one beyond them."""
    import pandas as pd

    series = pd.Series(values)
    labels = series.to_numpy(dtype=np.float64, na_value=-1).astype(np.int64)
    if len(labels) and (labels.max() >= len(names) or labels.min() < -1):
        classes = counted(len(names), "class", "classes")
        raise UserError(f"{argument}: label {labels.max()} in a column that names {classes}")
    return labels


def encode_groups(values: Any) -> np.ndarray:
    """[n] int64, equal where the values are; a missing value is a group of its own."""
    import pandas as pd

    codes = pd.factorize(pd.Series(values))[0].astype(np.int64)
    missing = codes < 0
    codes[missing] = codes.max(initial=-1) + 1 + np.arange(missing.sum())
    return codes
