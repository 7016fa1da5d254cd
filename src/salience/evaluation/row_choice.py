"""Which rows of the data train the probes, which judge, and what a reader must know of that choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from salience.data import Dataset
from salience.data.equal_items import content_hashes
from salience.data.target import Target, choose_target
from salience.errors import UserError, naming
from salience.evaluation.regression import strata
from salience.evaluation.split import held_out, sample
from salience.units import are, counted, printable

MOST_TRAINED = 50_000
MOST_TESTED = 10_000
SEEN = "the run was trained on the rows of the evaluation{}, {}; use --test for other rows"


@dataclass(frozen=True)
class Rows:
    """The rows an evaluation uses.

    train: labelled rows for the probes; None where there are no labels
    test: rows that judge;  notes: what a reader must know of the choice
    target: what the labels are predicted as
    """

    train: Dataset | None
    test: Dataset
    notes: tuple[str, ...]
    target: Target = "classification"


def labels_of(data: Dataset) -> np.ndarray:
    """[n] int64, -1 where unknown."""
    return np.full(len(data), -1) if data.labels is None else data.labels


def choose_rows(data: Dataset, held: Dataset | None, target: Target | None = None) -> Rows:
    """Training and test rows, at most MOST_TRAINED and MOST_TESTED, labelled where there are labels.

    data: to train on, and for the evaluation where `held` is None;  target: None leaves the choice to the data
    Errors: UserError for one class or value alone, labels that are no target, or no row left for the evaluation.
    """
    if (labels_of(data) < 0).all():
        if target is not None:
            raise UserError(f"target: {data.name} has no labels to predict; name their column with --labels")
        return _without_labels(data if held is None else held)
    chosen, notes = choose_target(data, target)
    if chosen == "regression":
        return _rows_with_values(data, held, notes)
    with naming("on", "source"):
        data.require_labels("evaluation")
    known = _labelled(data, "", notes)
    if held is None:
        train, test = _split(known)
        notes.append("a fifth of the labelled rows is held out, stratified, seed 0")
    else:
        train, test = known, _labelled(_alike(data, held), "test ", notes)
    train = train.subset(_limited(np.arange(len(train)), MOST_TRAINED, "training ", notes))
    rows = _of_known_classes(train, test, notes)
    if len(rows) < 2:
        raise UserError(f"test: {test.name} has one row for the evaluation, expected at least two; give more rows")
    _note_small_classes(train, notes)
    return Rows(train, test.subset(_limited(rows, MOST_TESTED, "test ", notes)), tuple(notes))


def _rows_with_values(data: Dataset, held: Dataset | None, notes: list[str]) -> Rows:
    """Rows whose labels are numbers: values of the test rows need not be among those of the training rows."""
    if held is None:
        known = _labelled(data, "", notes)
        train, test = _divided(known, held_out(strata(values_of(known)), known.groups))
        notes.append("a fifth of the labelled rows is held out, stratified by tenths of their values, seed 0")
    else:
        if held.quantity is None:
            raise UserError(f"test: the labels of {held.name} are not numbers, as regression requires; label its items")
        train, test = _labelled(data, "", notes), _labelled(held, "test ", notes)
    train = train.subset(_limited(np.arange(len(train)), MOST_TRAINED, "training ", notes))
    test = test.subset(_limited(np.arange(len(test)), MOST_TESTED, "test ", notes))
    _require_two_values("on", "training", train, "give more rows")
    if held is None:
        _require_two_values("on", "held-out", test, "give more rows, or other rows for the evaluation with --test")
    else:
        _require_two_values("test", "test", test, "give more rows")
    return Rows(train, test, tuple(notes), "regression")


def _require_two_values(argument: str, which: str, part: Dataset, remedy: str) -> None:
    values = np.unique(values_of(part))
    if len(values) < 2:
        raise UserError(
            f"{argument}: expected two values or more among the labels of the {which} rows of {part.name}, as R² "
            f"needs, got {values[0]:g} alone ({counted(len(part), 'row')}); {remedy}"
        )


def values_of(data: Dataset) -> np.ndarray:
    """[n] float64, the labels as numbers, NaN where unknown. Only of data whose labels are numbers."""
    assert data.quantity is not None
    return data.quantity


def _without_labels(data: Dataset) -> Rows:
    if len(data) < 2:
        raise UserError(f"on: {data.name} has {counted(len(data), 'row')}, expected at least two; give more")
    notes = ["no labels: only the geometry is measured"]
    rows = _limited(np.arange(len(data)), MOST_TESTED, "", notes)
    return Rows(None, data.subset(rows), tuple(notes))


def _labelled(data: Dataset, which: str, notes: list[str]) -> Dataset:
    rows = np.flatnonzero(labels_of(data) >= 0)
    if len(rows) < len(data):
        out = len(data) - len(rows)
        notes.append(f"{counted(out, f'{which}row')} without a known class {are(out)} left out")
    return data.subset(rows)


def _alike(data: Dataset, held: Dataset) -> Dataset:
    """`held` with its labels numbered by the classes of `data`."""
    if (labels_of(held) < 0).all():
        raise UserError(f"test: {held.name} has no labels, and {data.name} is evaluated with labels; label its items")
    return held.with_classes(data.classes)


def _split(data: Dataset) -> tuple[Dataset, Dataset]:
    return _divided(data, held_out(labels_of(data), data.groups))


def _divided(data: Dataset, chosen: np.ndarray) -> tuple[Dataset, Dataset]:
    """The rows that are not chosen, and those that are.  chosen: [n] bool"""
    if not chosen.any():
        raise UserError(f"on: {data.name} has one labelled row a class, so none can be held out; give --test")
    return data.subset(np.flatnonzero(~chosen)), data.subset(np.flatnonzero(chosen))


def _limited(rows: np.ndarray, most: int, which: str, notes: list[str]) -> np.ndarray:
    if len(rows) > most:
        notes.append(f"of {len(rows):,} {which}rows a random {most:,} are used")
    return sample(rows, most)


def _of_known_classes(train: Dataset, test: Dataset, notes: list[str]) -> np.ndarray:
    """The test rows that could be answered correctly."""
    trained = np.unique(labels_of(train))
    if len(trained) < 2:
        raise UserError(f"on: the training rows have one class only ({train.classes[trained[0]]}); give more groups")
    rows = np.flatnonzero(np.isin(labels_of(test), trained))
    if not len(rows):
        raise UserError(f"test: {test.name} has no row of a class of the training rows; class names must match")
    if len(rows) < len(test):
        out = len(test) - len(rows)
        notes.append(f"{counted(out, 'test row')} of classes without training rows {are(out)} left out")
    return rows


def _note_small_classes(train: Dataset, notes: list[str]) -> None:
    rows = np.bincount(labels_of(train), minlength=len(train.classes))
    small = [f"{train.classes[label]} ({rows[label]})" for label in np.flatnonzero((rows > 0) & (rows < 5))]
    if small:
        more = f" and {len(small) - 5} more" if len(small) > 5 else ""
        notes.append(f"classes with fewer than 5 training rows: {', '.join(small[:5])}{more}")


def seen_in_training(trained_on: Mapping[str, Any], judged: Dataset, source: Any, labels: bool) -> list[str]:
    """A note where the rows that judge are among those the run was trained on.

    trained_on: as a Representation tells it;  source: what `judged` was opened from;  labels: the training saw them
    """
    same = judged.fingerprint == trained_on.get("fingerprint")
    if not same and not _same_source(trained_on, judged, source):
        return []
    left_out = None if same else trained_on.get("without")
    but = "" if left_out is None else f", all but those of '{printable(left_out)}'"
    return [SEEN.format(but, "labels included: its figures are too good" if labels else "without their labels")]


def shared_rows(trained_on: Mapping[str, Any], rows: Rows, opened: Callable[[str], Dataset]) -> list[str]:
    """Notes where test rows are equal, value by value, to rows that the run or the probes were trained on.

    opened: opens a source as the run expects it. Only what lies on this machine is looked at: no note starts a download
    """
    notes = []
    judged = content_hashes(rows.test)
    if rows.train is not None and (count := int(np.isin(judged, content_hashes(rows.train)).sum())):
        notes.append(f"{_equal(count, judged)} the probes are trained on")
    source = trained_on.get("source")
    if source is None or not Path(source.removesuffix(f":{trained_on.get('split')}")).exists():
        return notes
    try:
        trained = content_hashes(opened(source))
    except (UserError, OSError):
        return [*notes, f"what the run was trained on, {source}, cannot be opened to look for equal rows"]
    if count := int(np.isin(judged, trained).sum()):
        notes.append(f"{_equal(count, judged)} the run was trained on, without labels")
    return notes


def _equal(count: int, judged: np.ndarray) -> str:
    return f"{count:,} of {counted(len(judged), 'test row')} {are(count)} equal to rows"


def _same_source(trained_on: Mapping[str, Any], judged: Dataset, source: Any) -> bool:
    """Opened with other options, the same source has another fingerprint."""
    trained = trained_on.get("source")
    if trained is None or not isinstance(source, str | Path) or judged.split != trained_on.get("split"):
        return False
    return _bare(str(source), judged.split) == _bare(str(trained), judged.split)


def _bare(source: str, split: str) -> str:
    """The source without its split; a path made absolute."""
    source = source.removesuffix(f":{split}")
    return str(Path(source).resolve()) if Path(source).exists() else source
