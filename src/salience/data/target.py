"""The target of an evaluation: classification of labels, or regression.

A column of integers can be either: ages, or the numbers of a hundred classes. A note reports the choice and how to
change it.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from salience.data.dataset import Dataset
from salience.data.labels import MOST_CLASSES, is_number
from salience.errors import UserError
from salience.units import counted, printable

Target = Literal["classification", "regression"]
LARGEST = 1e100
NAME_CLASSES = "name a column of texts or whole numbers with --labels"


def choose_target(data: Dataset, asked: Target | None) -> tuple[Target, list[str]]:
    """Choose between classification and regression of the labels of `data`.

    Args:
        data: The dataset.
        asked: The target that the user requests. Default: chosen by `guess_target`.

    Returns:
        The target, and notes on the choice.

    Raises:
        UserError: The labels do not allow the requested target.
    """
    if data.numbers is not None and len(data.numbers) and np.abs(data.numbers).max() > LARGEST:
        raise UserError(
            f"target: a label of {data.name} is beyond {LARGEST:g}, too large to compute R² with; correct or leave out "
            "such values"
        )
    if asked is not None and asked not in get_args(Target):
        raise UserError(f"target: expected classification or regression, got '{printable(str(asked))}'")
    if asked == "regression" and data.labels is not None and data.numbers is None:
        other = next(name for name in data.classes if not is_number(name))
        raise UserError(
            f"target: regression requires numeric labels, but '{printable(other)}' of {data.name} is not a number; "
            "name a column of numbers with --labels, or leave --target out"
        )
    if asked == "classification" and data.measured:
        raise UserError(
            f"target: classification requires classes, but the labels of {data.name} are measurements such as "
            f"{data.classes[0]}; use --target regression, or {NAME_CLASSES}"
        )
    if asked is not None:
        return asked, []
    return guess_target(data)


def guess_target(data: Dataset) -> tuple[Target, list[str]]:
    """Choose regression for measurements, and for many distinct integers unless they count from 0 or 1 without gaps."""
    numbers, different = data.numbers, len(data.classes)
    if data.labels is None or numbers is None:
        return "classification", []
    if data.measured:
        note = f"labels are measurements with {counted(different, 'distinct value')}, evaluated by regression (R²)"
        return "regression", [f"{note}; for classification, {NAME_CLASSES}"]
    if different <= MOST_CLASSES:
        return "classification", []
    first = int(numbers.min())
    if first in (0, 1) and np.array_equal(np.sort(numbers), np.arange(first, first + different)):
        note = f"labels are the integers from {first} to {first + different - 1}, evaluated as {different} classes"
        return "classification", [f"{note}; if they are a quantity, use `evaluate --target regression`"]
    note = f"labels are {different:,} distinct integers, evaluated by regression (R²)"
    return "regression", [f"{note}; if they are classes, use `evaluate --target classification`"]
