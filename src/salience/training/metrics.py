"""metrics.csv: one row per logged step, continued after a resume as if nothing had happened."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from salience.files import atomic


class MetricsCSV(Logger):
    """Columns `step`, `loss`, the loss's named terms, `learning_rate`. Holds no times: equal runs write equal files."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.columns: list[str] = []

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = {"step": step, **{name: value for name, value in metrics.items() if name != "epoch"}}
        if not self.columns:
            self.columns = list(row)
            if not self.path.exists():
                self._append(self.columns)
        self._append([row.get(column, "") for column in self.columns])

    def _append(self, cells: list[Any]) -> None:
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow(cells)

    def rewind(self, step: int) -> None:
        """Forgets what was logged after `step`, and any line a killed process left unfinished."""
        rows = read_metrics(self.path)
        if not rows:
            self.path.unlink(missing_ok=True)
            return
        self.columns = list(rows[0])
        with atomic(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(row for row in rows if int(row["step"]) <= step)


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The whole rows of a metrics.csv, [] where there are none."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]  # a killed process may have left half a line
    rows = list(csv.DictReader(whole.splitlines()))
    return [row for row in rows if row["step"] and None not in row.values()]
