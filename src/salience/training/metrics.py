"""metrics.csv: one row per logged step, continued after a resume as if nothing had happened."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import lightning as L

from salience.errors import UserError
from salience.files import atomic
from salience.run_metrics import read_metrics
from salience.untrusted import Damaged


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
            raise UserError(f"run: {self.path} is damaged ({problem}); delete it, no other command needs it") from None
        if not rows:
            self.path.unlink(missing_ok=True)
            return
        self.columns = list(rows[0])
        with atomic(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)
