"""Labels given by hand, as marks of a store. They are saved when `mark` returns."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from salience.errors import UserError
from salience.explorer.answers import ClassCount, LabelsAnswer, Undo
from salience.explorer.items import Items
from salience.explorer.points import Encoded, encode_codes
from salience.explorer.refusals import NotYet
from salience.store.marks import Marks

LONGEST = 100  # maximum length of a label


@dataclass(frozen=True, eq=False)
class Known:
    """version: number of changes;  labels: id -> label"""

    version: int
    labels: Mapping[str, str]


class Labels:
    """The marks of a store. Other processes may mark items too, so every call reads the current state."""

    def __init__(self, marks: Marks, items: Items):
        self.marks = marks
        self.items = items
        self._known = Known(*marks.snapshot())
        self._lock = threading.Lock()  # writers wait here instead of polling the file

    @property
    def version(self) -> int:
        return self.marks.version

    def now(self) -> Known:
        known = self._known
        if known.version != self.marks.version:
            known = self._known = Known(*self.marks.snapshot())
        return known

    def mark(self, rows: Sequence[int] | None, ids: Sequence[str] | None, label: str | None) -> None:
        """Label items. Raises UserError for an invalid label, Unknown for items that do not exist."""
        if (rows is None) == (ids is None):
            raise UserError("rows, ids: expected exactly one of them; give rows or ids")
        label = None if label is None else check_label(label)
        if ids is None:
            ids = self.items.ids_of(self.items.require(rows or []))
        else:
            self.items.rows_of(ids)
        if not ids:
            raise UserError("rows: expected at least one item, got none")
        with self._lock:
            before = self._known
            self.marks.mark(ids, label)
            # correct unless another process has marked items since; then the version differs
            self._known = Known(before.version + 1, change_labels(before.labels, ids, label))

    def undo(self) -> None:
        with self._lock:
            if self.marks.last() is None:
                raise NotYet("labels: there is no labelling to undo")
            self.marks.undo()

    def summary(self) -> LabelsAnswer:
        known, last = self.now(), self.marks.last()
        counts = sorted(Counter(known.labels.values()).items())
        return LabelsAnswer(
            version=known.version,
            classes=[ClassCount(name=name, count=count) for name, count in counts],
            labelled=len(known.labels),
            undo=None if last is None else Undo(label=last.label, count=last.count),
        )

    def codes(self) -> tuple[Known, list[str], np.ndarray]:
        """Return the known labels, the classes, and the class of each item, -1 if it has none.  [n] int64"""
        known = self.now()
        classes = sorted(set(known.labels.values()))
        number = {name: at for at, name in enumerate(classes)}
        of = np.array([*(number[label] for label in known.labels.values()), -1], np.int64)
        return known, classes, of[self.items.positions_in(known.labels)]

    def encoded(self) -> Encoded:
        _, classes, codes = self.codes()
        return encode_codes(codes, classes)

    def table(self) -> dict[str, list[Any]]:
        """Return items and labels in the order of the items, in the format that `predict` reads."""
        _, classes, codes = self.codes()
        rows = np.flatnonzero(codes >= 0)
        if not len(rows):
            raise NotYet("labels: there are none yet; label some items first")
        return {"item": self.items.ids_of(rows), "label": [classes[code] for code in codes[rows]]}


def check_label(label: str) -> str:
    label = label.strip()
    if not label or len(label) > LONGEST or not label.isprintable():
        raise UserError(f"label: expected 1 to {LONGEST} characters with a visible one")
    return label


def change_labels(labels: Mapping[str, str], ids: Sequence[str], label: str | None) -> dict[str, str]:
    if label is not None:
        return {**labels, **dict.fromkeys(ids, label)}
    gone = set(ids)
    return {id: kept for id, kept in labels.items() if id not in gone}
