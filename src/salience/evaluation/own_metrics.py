"""Metrics of a user: functions of features and labels, with a bootstrap interval over the test rows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from salience.errors import UserError
from salience.measures import intervals
from salience.measures.intervals import Metric
from salience.option import nearest
from salience.origins import installed, names_file, of_file, of_package

DRAWS = 100
Given = Callable[..., float]


def find_metrics(given: Mapping[str, Given] | Iterable[str] | None) -> dict[str, Given]:
    """Return the functions by name.

    Args:
        given: name -> function (features [n d], labels [n]) -> number; or names of installed metrics and FILE.py:NAME.

    Raises:
        UserError: There is no metric by a name, or a value is no function.
    """
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, Mapping):
        return dict(_named(name) for name in given or ())
    for name, function in given.items():
        if not callable(function):
            raise UserError(f"metrics: expected a function for {name!r}, got {function!r}"[:300])
    return dict(given)


def _named(name: str) -> tuple[str, Given]:
    if names_file(name):
        origin = of_file(name, "metrics")
        return origin.name, origin.load()
    found = of_package(name, "metric")
    if found is None:
        known = installed("metric")
        names = ", ".join(sorted(known)) or "none"
        raise UserError(
            f"metrics: no installed package offers {name!r}{nearest(name, known)}; installed metrics: {names}; or give "
            "FILE.py:NAME"
        )
    return name, found.load()


def measure_own(metrics: Mapping[str, Given], features: np.ndarray, labels: np.ndarray | None) -> dict[str, Metric]:
    """Compute each metric of the test rows.

    Args:
        metrics: name -> function.
        features: [n d].
        labels: [n], class numbers or values; None without labels.

    Raises:
        UserError: A metric fails, needs labels that are not there, or returns no number.
    """
    return {name: _measured(name, function, features, labels) for name, function in metrics.items()}


def _measured(name: str, function: Given, features: np.ndarray, labels: np.ndarray | None) -> Metric:
    arguments = [one for one in inspect.signature(function).parameters.values() if one.default is one.empty]
    if len(arguments) > 1 and labels is None:
        raise UserError(f"metrics: {name} needs labels, and the items have none; give --labels, or leave it out")

    def of_rows(rows: np.ndarray) -> float:
        given = (features[rows],) if len(arguments) < 2 or labels is None else (features[rows], labels[rows])
        try:
            return float(function(*given))
        except Exception as problem:  # of the user's function
            reason = " ".join(str(problem).split())[:200]
            raise UserError(f"metrics: {name} fails ({type(problem).__name__}: {reason}); correct it") from problem

    return intervals.bootstrap(np.arange(len(features)), of_rows, draws=DRAWS)
