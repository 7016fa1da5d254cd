"""metrics.csv: one row per logged step, continued after a resume as if nothing had happened."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd

from salience.errors import UserError
from salience.files import atomic
from salience.untrusted import Damaged, read_text

MOST_METRICS = 256 * 2**20  # bytes of a metrics.csv
MOST_COLUMNS = 100
MOST_DIGITS = 15  # of a step


class MetricsCSV(L.Callback):
    """Columns `step`, `loss`, the loss's named terms, `learning_rate`. Holds no times: equal runs write equal files.

    A callback, not a Lightning logger: a logger is called after the checkpoint of its step, and a process killed in
    between would lose the row. every: steps between two rows
    """

    def __init__(self, path: Path, *, every: int):
        self.path = path
        self.every = every
        self.columns: list[str] = []

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step % self.every == 0 and trainer.is_global_zero:
            values = {name: value.item() for name, value in trainer.callback_metrics.items()}
            self.write({"step": trainer.global_step, **{k: v for k, v in values.items() if k != "step"}})

    def write(self, row: dict[str, float]) -> None:
        if not self.columns:
            self.columns = list(row)
            self._append(self.columns)
        self._append([row.get(column, "") for column in self.columns])

    def _append(self, cells: list[Any]) -> None:
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow(cells)

    def rewind(self, step: int) -> None:
        """Forgets what was logged after `step`, and any line a killed process left unfinished."""
        try:
            rows = [row for row in read_metrics(self.path) if int(row["step"]) <= step]
        except Damaged as problem:
            raise UserError(f"run: {self.path} is damaged ({problem}); delete it, nothing else needs it") from None
        if not rows:
            self.path.unlink(missing_ok=True)
            return
        self.columns = list(rows[0])
        with atomic(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)


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
