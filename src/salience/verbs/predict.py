"""A few labels in, a class and a confidence for every item out: a linear head on the frozen representation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from salience.csv_text import write_csv
from salience.data import Dataset
from salience.errors import Note, UserError
from salience.evaluation.head import fit_head
from salience.files import require_free
from salience.label_files import match_items, read_label_file
from salience.reading import AS_FOUND, Reading
from salience.representation import Representation, load, source_or_own
from salience.units import printable


@dataclass(frozen=True)
class Labelled:
    """What a labels file says.  rows: [m] of the dataset, y: [m] positions in classes"""

    rows: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...]


def predict(
    run: Representation | Path | str,
    source: Any = None,
    labels: Path | str | None = None,
    out: Path | str | None = None,
    *,
    reading: Reading = AS_FOUND,
    progress: bool = True,
) -> pd.DataFrame:
    """Train a classifier on a few labelled items, and predict the class of every item.

    Args:
        run: A Representation or the folder of a run.
        source: Any source of `open_data`, or a Dataset. Default: the source that the run was trained on.
        labels: CSV file with the columns item,label. An item is a path relative to the source, or a row number.
        out: CSV file to write, which must not exist.
        reading: How the source is read (see `Reading`). Options that are None are as in the training of the run.

    Returns:
        Columns item, predicted, confidence (a probability); one row per item, in the order of the source.
        `attrs["calibration"]` contains temperature, before, error and rows of the calibration (see
        evaluation.calibration); None if a class has only one label, which a Note says.

    Raises:
        UserError: The labels file is not valid (the message names the line), or `out` exists.
    """
    if labels is None:
        raise UserError("labels: expected a CSV file with the columns item,label, got no labels")
    if out is not None:
        require_free(out)
    rep = load(run) if isinstance(run, str | Path) else run
    path = readable(labels)
    data = rep.open(source_or_own(rep, source), reading=reading)
    known = read_labels(path, data, reading.over(rep.reading).missing or ())
    x = torch.from_numpy(np.ascontiguousarray(rep.embed(data, progress=progress), dtype=np.float32))
    head = fit_head(x, torch.from_numpy(known.rows), torch.from_numpy(known.y), len(known.classes))
    if head.calibration is None:
        note_uncalibrated(known)
    confidence, best = head.probabilities(x).max(1)
    items = [item.encode(errors="backslashreplace").decode() for item in data.ids]  # a file's name need not be UTF-8
    table = pd.DataFrame(
        {"item": items, "predicted": np.array(known.classes)[best.numpy()], "confidence": confidence.numpy()}
    )
    table.attrs["calibration"] = None if head.calibration is None else asdict(head.calibration)
    if out is not None:
        write_csv(out, table, "%.4f", make_folder=True)
    return table


def note_uncalibrated(known: Labelled) -> None:
    alone = [known.classes[y] for y in np.flatnonzero(np.bincount(known.y) == 1)]
    more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
    named = ", ".join(f"'{printable(name)}'" for name in alone[:5])
    warnings.warn(
        f"confidences are not calibrated, for want of a second label of {named}{more}: they may be far from how often "
        "predictions are right; label two items or more of every class",
        Note,
        stacklevel=3,
    )


def readable(labels: Path | str) -> Path:
    path = Path(labels)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"labels: {path} {what}; give a CSV file with the columns item,label")
    return path


def read_labels(path: Path, data: Dataset, missing: Sequence[str] = ()) -> Labelled:
    """Matches the lines of a labels file with the items. Raises UserError that names the line.

    missing: labels that stand for none
    """
    bad = {item.id: item.reason for item in data.bad}
    found = match_items(read_label_file(path), data.ids, path, name=data.name, bad=bad).label_of
    found = {row: label for row, label in found.items() if label not in missing}
    names = sorted(set(found.values()))
    if len(names) < 2:
        only = f"one class only ('{printable(names[0])}')" if names else "no label"
        raise UserError(f"labels: {path} has {only}; a classifier needs labelled items of two classes or more")
    number = {name: code for code, name in enumerate(names)}
    y = np.array([number[label] for label in found.values()])
    return Labelled(np.array(list(found)), y, tuple(names))
