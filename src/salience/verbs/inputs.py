"""What verbs have in common before they begin: the run, its data batch by batch, items by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from salience.batch import Batch
from salience.data import Dataset
from salience.errors import UserError
from salience.evaluation.row_choice import labels_of, seen_in_training
from salience.label_files import MOST_DIGITS, are_numbers, remedy
from salience.modalities import Spec
from salience.progress import progress_bar
from salience.representation import FIXED, Representation, load
from salience.units import printable


def as_run(run: Representation | Path | str, function: str | None, verb: str) -> Representation:
    """The run, loaded where it is a folder. Raises UserError where its method lacks the function the verb needs."""
    rep = load(run) if isinstance(run, str | Path) else run
    if function is not None:
        rep.require(function, verb)
    return rep


def batches(data: Dataset, what: str, progress: bool) -> Iterator[Batch]:
    """All items in order, as many at a time as a forward pass takes, with a bar."""
    with progress_bar(len(data), what, progress) as bar:
        for batch in data.chunks(FIXED):
            yield batch
            bar.update(len(batch))


def notes_on(rep: Representation, data: Dataset, source: Any) -> list[str]:
    """What was done to the items when they were opened, and whether the run was trained on what it is judged by."""
    notes = [f"note: {note}" for note in data.notes]
    if missing := sum(data.spec.modality.missing(batch.x) for batch in data.chunks()):
        cells = "1 missing cell counts" if missing == 1 else f"{missing:,} missing cells count"
        notes.append(f"note: {cells} as the column's mean, or as no category")
    if not seen_in_training(rep.trained_on, data, source, labels=False):
        return notes
    left_out = rep.trained_on.get("without")
    but = "" if left_out is None else f", but for any of '{printable(left_out)}'"
    return [
        *notes,
        f"note: the run was trained on the items of the evaluation{but}; use a source that it was not trained on",
    ]


def within(x: Tensor, spec: Spec) -> Tensor:
    """Made items within the range of real ones: pixels on [0, 1], as on a screen and in a file."""
    return spec.modality.clip(x)


def rebuilt(rep: Representation, x: Tensor) -> Tensor:
    """Items embedded and decoded, values of images within their range.  [n ...] on the unit scale -> the same"""
    return within(torch.from_numpy(rep.decode(rep.embed_unit(x))), rep.spec)


def find_row(data: Dataset, item: str | int, argument: str) -> int:
    """The row of an item named by its id, or by its row number where the ids are names."""
    name, ids = str(item), list(data.ids)
    if name in ids:
        return ids.index(name)
    if name.isdecimal() and len(name) <= MOST_DIGITS and int(name) < len(ids) and not are_numbers(ids):
        return int(name)
    rows = {one: row for row, one in enumerate(ids)}
    raise UserError(f"{argument}: {data.name} has no item '{printable(name)}'; {remedy(name, rows)}")


def rows_of_class(data: Dataset, label: int) -> np.ndarray:
    """[m], may be empty."""
    return np.empty(0, np.int64) if data.labels is None else np.flatnonzero(data.labels == label)


def rows_with_label(data: Dataset) -> np.ndarray:
    """[m], may be empty."""
    return np.flatnonzero(labels_of(data) >= 0)


def units_of(rep: Representation, data: Dataset, rows: np.ndarray) -> Tensor:
    """These items on the unit scale, [m ...]."""
    return torch.cat([rep.unit(data.batch(part)) for part in np.array_split(rows, max(1, -(-len(rows) // FIXED)))])
