"""What an evaluation found: as numbers, as JSON, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from salience.evaluation.measure import INTERVALS, Measures
from salience.evaluation.style import number
from salience.health.diagnosis import Diagnosis
from salience.measures.intervals import Metric, plain
from salience.units import counted

FAMILIES = {
    "knn": "kNN",
    "linear": "linear probe",
    "regression": "ridge regression",
    "few_label": "labels per class",
    "clustering": "clusters",
    "retrieval": "retrieval",
    "geometry": "geometry",
    "codes": "codes",
    "own": "metric",
}


OF_FEW = ("accuracy", "calibration_error")  # of a few-label curve, in the table


@dataclass(frozen=True)
class Gallery:
    """Items and their nearest neighbours, to look at.

    images: [queries 1+k c h w] on [0, 1], the query first;  labels: [queries 1+k], -1 where unknown
    """

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """What the figures are drawn from, beside the measures.

    projection: [m 2] leading principal components of test rows;  projected_labels: [m], -1 where unknown
    projected_values: [m], where labels are numbers
    confusion: [classes classes], rows are the truth;  predicted: [m 2], true and predicted numbers of all test rows
    training: column of metrics.csv -> [points], `step` among them
    """

    projection: np.ndarray
    projected_labels: np.ndarray
    confusion: np.ndarray | None = None
    gallery: Gallery | None = None
    training: Mapping[str, np.ndarray] = field(default_factory=dict)
    projected_values: np.ndarray | None = None
    predicted: np.ndarray | None = None


@dataclass(frozen=True)
class Report:
    """The measures of a representation and its baselines on held-out rows.

    baselines, gains: "raw", "pca", "untrained" -> measures, None where one does not apply;  gains: the representation's
        few-label accuracy minus the baseline's, paired over label draws; of numbers its R², paired over test rows
    health: of the training, None where there was none to watch
    cost: of the training;  about: method, data and rows;  notes: what a reader must know
    """

    representation: Measures
    baselines: Mapping[str, Measures | None]
    gains: Mapping[str, Measures | None]
    cost: Mapping[str, Any]
    about: Mapping[str, Any]
    notes: tuple[str, ...]
    classes: tuple[str, ...]
    evidence: Evidence
    health: Diagnosis | None = None

    @property
    def columns(self) -> dict[str, Measures | None]:
        """The representation and its baselines."""
        return {"representation": self.representation, **self.baselines}

    @property
    def called(self) -> dict[str, str]:
        """How the columns are named."""
        ours = f"{self.about['method']} ({self.about['dim']})"
        return {"representation": ours, "raw": "raw input", "pca": "PCA", "untrained": "untrained encoder"}

    def to_dict(self) -> dict[str, Any]:
        """What report.json holds; every figure is {"value": v, "interval": [low, high]}; None: no such limit."""
        return {
            "representation": plain(self.representation),
            "baselines": plain(self.baselines),
            "gains": plain(self.gains),
            "cost": dict(self.cost),
            "health": self.health.to_dict() if self.health else None,
            "about": dict(self.about),
            "verdict": self.verdict(),
            "notes": list(self.notes),
            "intervals": {family: INTERVALS[family] for family in INTERVALS if family in self.representation},
        }

    def rows(self) -> list[tuple[str, list[Metric | None]]]:
        """One row a figure: its name, and its metric for each column that applies."""
        columns = [flatten(measures) for measures in self.columns.values() if measures]
        names = list(dict.fromkeys(name for column in columns for name in column))
        return [(name, [column.get(name) for column in columns]) for name in names]

    def verdict(self) -> str:
        """Did learning help? In one sentence, from the paired gains: few-label accuracy, or R²."""
        gains = {name: gain for name, gain in self.gains.items() if gain}
        if not gains:
            return ""
        if "regression" in self.representation:
            return self._verdict_on_values({name: gain["r2"] for name, gain in gains.items()})
        counts = list(next(iter(gains.values())))
        better = [k for k in counts if all(gain[k]["accuracy"].low > 0 for gain in gains.values())]
        worse = [k for k in counts if any(gain[k]["accuracy"].high < 0 for gain in gains.values())]
        if len(better) == len(counts):
            ahead = f"better than every baseline with {listing(counts)} label{'s' * (counts != ['1'])} per class"
            return f"Learning helped: on these test rows {ahead}."
        if not better:
            extra = f"; a baseline is better with {listing(worse)}" if worse else ""
            return (
                f"Learning did not help: on these test rows some baseline is as good at every number of labels{extra}."
            )
        rest = f"a baseline is better with {listing(worse)}" if worse else "undecided with the rest"
        return f"Learning helped with {listing(better)} label{'s' * (better != ['1'])} per class; {rest}."

    def _verdict_on_values(self, gains: Mapping[str, Metric]) -> str:
        """gains: baseline -> how much higher our R² is"""
        worse = [self.called[name] for name, gain in gains.items() if gain.high < 0]
        undecided = [self.called[name] for name, gain in gains.items() if gain.low <= 0 <= gain.high]
        if not worse and not undecided:
            return "Learning helped: on these test rows R² is higher than every baseline's."
        rest = [f"{listing(worse)} {'have' if len(worse) > 1 else 'has'} a higher R²"] if worse else []
        rest += [f"the difference to {listing(undecided)} is undecided"] if undecided else []
        return f"Learning did not help: on these test rows {'; '.join(rest)}."

    def table(self) -> str:
        """Value and interval of every figure, the baselines beside."""
        head = [self.called[key] for key, measures in self.columns.items() if measures]
        lines = [["", *head], *([name, *map(cell, metrics)] for name, metrics in self.rows())]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)

    def text(self) -> str:
        """The table, what it says, and what a reader must know."""
        about = self.about
        rows = f"{counted(about['train_rows'], 'row')} to train on, " if about["train_rows"] else ""
        judged = counted(about["test_rows"], "row")
        head = f"{about['method']} on {about['on']}: {rows}{judged} for the evaluation; 95 % intervals"
        notes = [f"note: {note}" for note in self.notes]
        health = [f"The training was {self.health.text()}"] if self.health else []
        return "\n".join([head, "", self.table(), "", *filter(None, [self.verdict()]), *health, *notes]).rstrip()


def flatten(measures: Measures) -> dict[str, Metric]:
    """A line each: "kNN accuracy", "5 labels per class accuracy" (whose rows are balanced anyway)."""
    flat = {}
    for family, metrics in measures.items():
        for key, inner in metrics.items():
            if isinstance(inner, Metric):
                flat[f"{FAMILIES[family]} {words(key)}"] = inner
            else:
                counted = f"{key} label{'s' * (key != '1')} per class"
                flat |= {f"{counted} {words(one)}": inner[one] for one in OF_FEW if one in inner}
    return flat


def words(key: str) -> str:
    """balanced_accuracy -> balanced accuracy"""
    return {
        "r2": "R²",
        "nmi": "NMI",
        "ari": "ARI",
        "precision_at_1": "P@1",
        "r_precision": "R-precision",
        "map_at_r": "MAP@R",
    }.get(key, key.replace("_", " "))


def cell(metric: Metric | None) -> str:
    if metric is None:
        return "-"
    return f"{number(metric.value)} [{number(metric.low)}, {number(metric.high)}]"


def listing(items: list[str]) -> str:
    """1, 2 and 5"""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
