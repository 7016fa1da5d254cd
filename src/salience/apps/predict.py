"""A few labels in, a class and a confidence for every item out: a linear head on the frozen representation."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import torch

from salience.csv_text import original, write_csv
from salience.data import Dataset
from salience.errors import UserError
from salience.evaluation.head import fit_head
from salience.files import require_free
from salience.reading import AS_FOUND, Reading
from salience.representation import Representation, load
from salience.units import counted, printable

MOST_DIGITS = 18  # of a row number


@dataclass(frozen=True)
class Labelled:
    """What a labels file says.  rows: [m] of the dataset, y: [m] positions in classes"""

    rows: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...]


def predict(
    run: Representation | Path | str,
    source: Any,
    labels: Path | str,
    out: Path | str | None = None,
    *,
    reading: Reading = AS_FOUND,
    progress: bool = True,
) -> pd.DataFrame:
    """Learns a classifier from a few labelled items and says what every item is.

    run: a Representation or a run folder
    source: anything `open_data` takes, or a Dataset
    reading: how the source is read (see `Reading`); what it leaves open is as when the run was trained
    labels: CSV with the columns item,label; an item is a relative path as in the source, or a row number
    out: a CSV file to write, which must not exist
    -> columns item, predicted, confidence (the classifier's probability); one row an item, in the source's order
    Errors: UserError that names the line, for what the labels file has wrong; or the path, where `out` exists.
    """
    if out is not None:
        require_free(out)
    rep = load(run) if isinstance(run, str | Path) else run
    path = readable(labels)
    data = rep.open(source, reading=reading)
    known = read_labels(path, data)
    x = torch.from_numpy(np.ascontiguousarray(rep.embed(data, progress=progress), dtype=np.float32))
    head = fit_head(x, torch.from_numpy(known.rows), torch.from_numpy(known.y), len(known.classes))
    confidence, best = head.probabilities(x).max(1)
    items = [item.encode(errors="backslashreplace").decode() for item in data.ids]  # a file's name need not be UTF-8
    table = pd.DataFrame(
        {"item": items, "predicted": np.array(known.classes)[best.numpy()], "confidence": confidence.numpy()}
    )
    if out is not None:
        write_csv(out, table, "%.4f", make_folder=True)
    return table


def readable(labels: Path | str) -> Path:
    path = Path(labels)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"labels: {path} {what}; give a CSV file with the columns item,label")
    return path


def read_labels(path: Path, data: Dataset) -> Labelled:
    """Matches the lines of a labels file with the items. Raises UserError that names the line."""
    row_of = {item: row for row, item in enumerate(data.ids)}
    found: dict[int, tuple[str, int]] = {}
    for line, item, label in read_lines(path):
        row = find_item(item, row_of, data, f"labels: {path} line {line}")
        before, line_before = found.setdefault(row, (label, line))
        if before != label:
            raise UserError(
                f"labels: {path} line {line} says '{printable(item)}' is '{printable(label)}', "
                f"line {line_before} says '{printable(before)}'; keep one"
            )
    names = sorted({label for label, _ in found.values()})
    if len(names) < 2:
        only = f"one class only ('{printable(names[0])}')" if names else "no label"
        raise UserError(f"labels: {path} has {only}; a classifier needs labelled items of two classes or more")
    y = np.array([names.index(label) for label, _ in found.values()])
    return Labelled(np.array(list(found)), y, tuple(names))


def read_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line number, item, label) of each line that has something, white space around them removed.

    An apostrophe that was put before what looks like a formula is taken away.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"labels: {path} is not text in UTF-8; save it as CSV in UTF-8") from None
    reader = csv.reader(text.splitlines(), skipinitialspace=True)
    columns: list[str] | None = None
    for cells in reader:
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if columns is None:
            columns = read_header(cells, path, reader.line_num)
            continue
        if len(cells) != len(columns):
            raise UserError(
                f"labels: {path} line {reader.line_num} has {counted(len(cells), 'cell')}, "
                f"the header {len(columns)}; "
                "put text that contains commas in quotes"
            )
        item, label = cells[columns.index("item")], cells[columns.index("label")]
        if not item or not label:
            missing = "label" if item else "item"
            raise UserError(f"labels: {path} line {reader.line_num} has no {missing}; fill it in or remove the line")
        yield reader.line_num, original(item), original(label)


def read_header(cells: list[str], path: Path, line: int) -> list[str]:
    columns = [cell.lower() for cell in cells]
    if columns.count("item") != 1 or columns.count("label") != 1:
        raise UserError(
            f"labels: {path} line {line} is '{printable(','.join(cells))}', not the header; "
            "write 'item,label' above the items"
        )
    return columns


def find_item(item: str, row_of: dict[str, int], data: Dataset, where: str) -> int:
    """The row of an item named by its id, or by its row number where the ids are names."""
    number = int(item) if item.isdecimal() and len(item) <= MOST_DIGITS else None
    spelt = [item, str(PurePosixPath(item.replace("\\", "/"))), *([] if number is None else [str(number)])]
    row = next((row_of[name] for name in spelt if name in row_of), None)
    if row is not None:
        return row
    left_out = next((bad for bad in data.bad if bad.id in spelt), None)
    if left_out is not None:
        reason = printable(left_out.reason)
        raise UserError(f"{where}: '{printable(item)}' could not be read ({reason}) and was left out; remove the line")
    if number is not None and number < len(data) and not are_numbers(row_of):
        return number
    raise UserError(f"{where}: {data.name} has no item '{printable(item)}'; {remedy(item, row_of)}")


def are_numbers(ids: Iterable[str]) -> bool:
    """Whether ids are row numbers of the source: where items were left out, those are no positions among the rest."""
    return all(map(str.isdecimal, ids))


def remedy(item: str, row_of: dict[str, int]) -> str:
    """What could stand in place of an item that is not there."""
    if row_of and are_numbers(row_of):
        numbers = [int(name) for name in row_of]
        return f"row numbers go from {min(numbers)} to {max(numbers)}"
    if item.isdecimal():
        return f"row numbers go from 0 to {len(row_of) - 1}"
    near = get_close_matches(item, row_of, n=1) if len(row_of) <= 100_000 else []
    if near:
        return f"did you mean '{printable(near[0])}'?"
    return f"name an item like '{printable(next(iter(row_of), ''))}', or its row number"
