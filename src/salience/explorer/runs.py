"""Runs to look at beside the store: training curves, health, what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from salience.apps.doctor import doctor
from salience.errors import UserError
from salience.evaluation.report import FAMILIES, words
from salience.explorer.answers import Curve, Finding, RunAnswer
from salience.explorer.model import able
from salience.explorer.refusals import Unknown
from salience.run import Run
from salience.units import printable

POINTS = 500  # of a curve, at most
FOLDER = Path("runs")


class Runs:
    """folder: runs are its folders; None where there is none;  this: the run that made the store"""

    def __init__(self, folder: Path | None, this: Path | None):
        self.folder = folder
        self.this = this

    def all(self) -> list[RunAnswer]:
        """The store's own first. A folder that is no run is passed over."""
        return [described(name, run, self._is_this(run.path)) for name, run in self._known().items()]

    def curves(self, name: str) -> dict[str, Curve]:
        """Raises Unknown where there is no such run: a name is looked up, never opened."""
        run = self._known().get(name)
        if run is None:
            raise Unknown(f"name: there is no run '{printable(name)[:80]}'; ask for the runs")
        return curves_of(run.metrics)

    def _known(self) -> dict[str, Run]:
        """name -> run, as they are on the disk now."""
        folders = [] if self.this is None else [self.this]
        if self.folder is not None and self.folder.is_dir():
            inside = sorted(path for path in self.folder.iterdir() if (path / "config.yaml").is_file())
            folders += [path for path in inside if not self._is_this(path)]
        found = {}
        for path in folders:
            try:
                found[str(path)] = Run(path)
            except UserError:
                continue
        return found

    def _is_this(self, path: Path) -> bool:
        return self.this is not None and path.resolve() == self.this.resolve()


def described(name: str, run: Run, this: bool) -> RunAnswer:
    verdict, findings = health_of(run)
    try:
        can, seconds = able(run.config), run.cost.get("seconds")
    except UserError:  # a method of another version, or a damaged file
        can, seconds = [], None
    return RunAnswer(
        name=name,
        method=str(run.config["method"]),
        finished=run.finished,
        verdict=verdict,
        findings=findings,
        figures=figures_of(run.path / "report.json"),
        seconds=seconds,
        can=can if run.finished else [],
        this=this,
    )


def health_of(run: Run) -> tuple[str | None, list[Finding]]:
    """None where nothing was watched, as with a closed form."""
    try:
        found = doctor(run.path).to_dict()
    except (UserError, KeyError, TypeError):
        return None, []
    return found["verdict"], [Finding(**finding) for finding in found["findings"]]


def figures_of(report: Path) -> dict[str, list[float | None]]:
    """name -> value, low, high, as report.json has them; empty where the run was not evaluated."""
    try:
        measures = json.loads(report.read_text())["representation"]
        named = [
            (f"{FAMILIES.get(family, family)} {words(key)}", key, inner)
            for family, metrics in measures.items()
            for key, inner in metrics.items()
        ]
        return dict(figure for name, key, inner in named for figure in flat(name, key, inner))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def flat(name: str, key: str, inner: Mapping[str, Any]) -> list[tuple[str, list[float | None]]]:
    """A figure; of a few-label curve the accuracy with each number of labels."""
    if "value" in inner:
        return [(name, [inner["value"], *inner["interval"]])]
    accuracy = inner["accuracy"]
    return [(f"{key} label{'s' * (key != '1')} per class", [accuracy["value"], *accuracy["interval"]])]


def curves_of(metrics: Path) -> dict[str, Curve]:
    """Every column of a metrics.csv over steps, with at most POINTS points; empty where there is none."""
    if not metrics.is_file():
        return {}
    try:
        frame = pd.read_csv(metrics, on_bad_lines="skip").apply(pd.to_numeric, errors="coerce")
    except (ValueError, pd.errors.ParserError):  # half a file, of a run that has only begun
        return {}
    found = {}
    for name in frame.columns.difference(["step", "epoch"], sort=False):
        known = frame[np.isfinite(frame[name]) & np.isfinite(frame["step"])] if "step" in frame else frame[:0]
        at = np.unique(np.linspace(0, len(known) - 1, min(POINTS, len(known))).round().astype(int))
        if len(known):
            thin = known.iloc[at]
            found[str(name)] = Curve(step=thin["step"].tolist(), value=thin[name].tolist())
    return found
