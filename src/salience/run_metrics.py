"""A run's metrics.csv, read within limits: it may be edited, damaged, or left half-written by a killed process."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from salience.untrusted import Damaged, read_text

MOST_METRICS = 256 * 2**20  # bytes of a metrics.csv
MOST_COLUMNS = 100
MOST_DIGITS = 15  # of a step


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The whole rows of a metrics.csv that have a step, [] where there are none. Raises Damaged."""
    if not path.exists():
        return []
    text = read_text(path, MOST_METRICS)
    whole = text[: text.rfind("\n") + 1]  # a killed process may have left half a line
    try:
        rows = list(csv.DictReader(whole.splitlines()))
    except csv.Error as problem:
        raise Damaged(str(problem)) from None
    return [row for row in rows if is_step(row.get("step")) and None not in row and None not in row.values()]


def is_step(text: str | None) -> bool:
    return text is not None and text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS


def read_numbers(path: Path) -> dict[str, np.ndarray]:
    """Every column of numbers of a metrics.csv, "step" among them, as [rows] float64; NaN where there is none.

    {} where there is no such file, or nothing in it has a step. Raises Damaged.
    """
    rows = read_metrics(path)
    if not rows or len(rows[0]) > MOST_COLUMNS:
        return {}
    table = pd.DataFrame(rows).apply(pd.to_numeric, errors="coerce").astype(float)
    return {str(name): table[name].to_numpy() for name in table if np.isfinite(table[name]).any()}
