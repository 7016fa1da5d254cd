"""Runs that are shown with the store: training curves, health, metrics.

The folder of runs can contain anything. A run that cannot be read is listed with the reason; the others are not
affected.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from salience.errors import UserError
from salience.evaluation.report import FAMILIES, words
from salience.explorer.answers import Curve, Finding, RunAnswer
from salience.explorer.model import able
from salience.explorer.refusals import Unknown
from salience.run import Run
from salience.run_metrics import read_numbers
from salience.units import printable
from salience.untrusted import Damaged, read_json
from salience.verbs.doctor import doctor

T = TypeVar("T")
Health = tuple[str | None, list[Finding]]  # verdict, findings
Figures = dict[str, list[float | None]]  # name -> value, low, high
POINTS = 500  # maximum number of points of a curve
MOST_FIGURES = 100  # maximum number of metrics of a report
FOLDER = Path("runs")
UNREADABLE = "unreadable"  # shown instead of a verdict
REMEDY = "restore the file, or move the folder away"
log = logging.getLogger(__name__)


class Runs:
    """folder: its subfolders are the runs; None without such a folder;  this: the run that made the store"""

    def __init__(self, folder: Path | None, this: Path | None):
        self.folder = folder
        self.this = this

    def all(self) -> list[RunAnswer]:
        """Return all runs, first the store's. Skip folders without a config.yaml; list damaged runs as unreadable."""
        return [describe_run(name, path, self._is_this(path)) for name, path in self._folders().items()]

    def curves(self, name: str) -> dict[str, Curve]:
        """Return the curves of a run. Raises Unknown if the name is not listed; a name is never used as a path."""
        path = self._folders().get(name)
        if path is None:
            raise Unknown(f"name: there is no run '{printable(name)[:80]}'; see /runs for the names")
        return curves_of(Run(path).metrics)

    def _folders(self) -> dict[str, Path]:
        """Return name -> folder of the runs that are on the disk now."""
        folders = [] if self.this is None else [self.this]
        if self.folder is not None and self.folder.is_dir():
            inside = sorted(path for path in self.folder.iterdir() if is_candidate(path))
            folders += [path for path in inside if not self._is_this(path)]
        return {printable(str(path)): path for path in folders}

    def _is_this(self, path: Path) -> bool:
        return self.this is not None and path.resolve() == self.this.resolve()


def is_candidate(path: Path) -> bool:
    """Test whether a folder looks like a run. A folder without read permission does; it is listed with the reason."""
    try:
        return path.is_dir() and (path / "config.yaml").exists()
    except OSError:
        return True


def describe_run(name: str, path: Path, this: bool) -> RunAnswer:
    """Describe a run. Files that cannot be read are reported in place of its health."""
    try:
        return read_run(name, Run(path), this)
    except UserError as problem:
        return unreadable(name, str(problem), this)
    except Exception as problem:  # one bad folder must not hide the others
        log.exception("the run %s could not be read", name)
        return unreadable(name, f"run: it cannot be read ({type(problem).__name__})", this)


def unreadable(name: str, why: str, this: bool) -> RunAnswer:
    finding = Finding(what="the run cannot be read", why=printable(why), change=REMEDY)
    return RunAnswer(
        name=name,
        method="",
        finished=False,
        verdict=UNREADABLE,
        findings=[finding],
        figures={},
        seconds=None,
        can=[],
        this=this,
    )


def read_run(name: str, run: Run, this: bool) -> RunAnswer:
    """Describe a run from its files. A damaged file becomes a finding; the other files are still used."""
    damaged: list[Finding] = []

    def read(part: Callable[[], T], otherwise: T) -> T:
        try:
            return part()
        except UserError as problem:
            damaged.append(Finding(what="a file of the run is damaged", why=printable(str(problem)), change=REMEDY))
            return otherwise

    nothing: Health = (None, [])
    health = read(lambda: health_of(run), nothing)
    figures: Figures = read(lambda: figures_of(run.path / "report.json"), {})
    seconds: float | None = read(lambda: run.cost.get("seconds"), None)
    return RunAnswer(
        name=name,
        method=printable(run.config.model.method),
        finished=run.finished,
        verdict=UNREADABLE if damaged else health[0],
        findings=[*damaged, *health[1]],
        figures=figures,
        seconds=seconds,
        can=abilities(run) if run.finished else [],
        this=this,
    )


def abilities(run: Run) -> list[str]:
    """Return the capabilities of a run; none if this version does not have its method."""
    try:
        return able(run.config)
    except UserError:
        return []


def health_of(run: Run) -> Health:
    """Return the health of a run; None if it was not recorded (closed forms). Raises UserError if it is damaged."""
    if run.health is None:
        return None, []
    found = doctor(run.path)
    told = [(one.what, one.why, one.change) for one in found.findings]
    return found.verdict, [
        Finding(what=printable(what), why=printable(why), change=printable(change)) for what, why, change in told
    ]


def figures_of(report: Path) -> Figures:
    """Return name -> value, low, high from report.json; empty if the run was not evaluated.

    Raises: UserError if the report is damaged.
    """
    if not report.exists():
        return {}
    try:
        measures = read_json(report)["representation"]
        named = [
            (printable(f"{FAMILIES.get(family, family)} {words(key)}"), printable(key), inner)
            for family, metrics in measures.items()
            for key, inner in metrics.items()
        ]
        found = dict(figure for name, key, inner in named[:MOST_FIGURES] for figure in flatten_figure(name, key, inner))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"run: {report} is damaged; create it again: salience evaluate {report.parent}") from None
    return found


def flatten_figure(name: str, key: str, inner: Mapping[str, Any]) -> list[tuple[str, list[float | None]]]:
    """Return a metric; for a few-label curve, the accuracy with each number of labels."""
    if "value" in inner:
        return [(name, figure(inner))]
    return [(f"{key} label{'s' * (key != '1')} per class", figure(inner["accuracy"]))]


def figure(metric: Mapping[str, Any]) -> list[float | None]:
    """Return value, low, high. Raises TypeError or ValueError if one is neither a finite number nor null."""
    low, high = metric["interval"]
    found = [metric["value"], low, high]
    if not all(one is None or (isinstance(one, int | float) and math.isfinite(one)) for one in found):
        raise ValueError("expected numbers")
    return found


def curves_of(metrics: Path) -> dict[str, Curve]:
    """Return every column of a metrics.csv over steps, with at most POINTS points; empty without such a file.

    Raises: UserError if the file is damaged.
    """
    try:
        columns = read_numbers(metrics)
    except Damaged as problem:
        raise UserError(f"run: {metrics} is damaged ({problem}); delete it, no other command needs it") from None
    found = {}
    for name, values in columns.items():
        known = np.flatnonzero(np.isfinite(values))
        if name not in ("step", "epoch"):
            at = known[np.unique(np.linspace(0, len(known) - 1, min(POINTS, len(known))).round().astype(int))]
            found[printable(name)] = Curve(step=columns["step"][at].tolist(), value=values[at].tolist())
    return found
