"""A run's metrics.csv, read within limits: it may be edited, damaged, or left half-written by a killed process.

Lines that cannot be read are passed over with a note; a file of which no line can be read is damaged.
"""

from __future__ import annotations

import csv
import math
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from salience.errors import Note
from salience.units import counted
from salience.untrusted import Damaged, read_text, shown

MOST_METRICS = 256 * 2**20  # bytes of a metrics.csv
MOST_COLUMNS = 100
MOST_DIGITS = 15  # of a step
STEP = "step"
NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf|infinity)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class _Lines:
    """rows: the lines that have a step and a cell for each column;  places: their line numbers
    texts: all lines, the header at 0;  unread: numbers of lines that are no rows
    """

    rows: list[dict[str, str]]
    places: list[int]
    texts: list[str]
    unread: list[int]


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The whole rows of a metrics.csv that have a step, [] where there are none. Others are told in a Note.

    Raises: Damaged where it has lines, and none can be read.
    """
    found = _read_lines(path)
    _note_unread(path, found.texts, found.unread)
    return found.rows


def read_numbers(path: Path) -> dict[str, np.ndarray]:
    """Every column of numbers of a metrics.csv, "step" among them, as [rows] float64; NaN where there is none.

    {} where there is no such file, or no row in it. Lines that cannot be read, and those with a text in a column of
    numbers, are told in a Note. Raises Damaged.
    """
    found = _read_lines(path)
    if not found.rows:
        return {}
    if (width := len(found.rows[0])) > MOST_COLUMNS:
        raise Damaged(f"it has {width:,} columns, and at most {MOST_COLUMNS} are read")
    texts = {name: [row[name].strip() for row in found.rows] for name in found.rows[0]}
    columns = {name: np.array([_number(text) for text in column]) for name, column in texts.items()}
    columns = {name: column for name, column in columns.items() if np.isfinite(column).any()}
    odd = np.zeros(len(found.rows), bool)
    for name, column in columns.items():
        odd |= np.isnan(column) & [text.lower() not in ("", "nan") for text in texts[name]]
    _note_unread(path, found.texts, [*found.unread, *(found.places[row] for row in np.flatnonzero(odd))])
    return columns


def _number(text: str) -> float:
    """NaN for a text that is no number. Python's own digits, such as 1_000, are none in a file for other programs."""
    return float(text) if NUMBER.fullmatch(text) else math.nan


def note_damage(path: Path) -> None:
    """Say in a Note what of a metrics.csv cannot be read, where nothing else is done with it."""
    try:
        read_numbers(path)
    except Damaged as problem:
        warnings.warn(f"{path} is damaged ({problem}); nothing of it is used here", Note, stacklevel=2)


def is_step(text: str | None) -> bool:
    return text is not None and text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS


def _read_lines(path: Path) -> _Lines:
    if not path.exists():
        return _Lines([], [], [], [])
    text = read_text(path, MOST_METRICS)
    texts = text.split("\n")
    unfinished = texts.pop()  # a killed process may have left half a line
    header = _cells(texts[0]) if texts else []
    if STEP not in header and (texts or not _begins_header(unfinished)):
        raise Damaged(f"its first line is {shown(texts[0] if texts else unfinished)}, not names of columns with 'step'")
    rows, places, unread = [], [], []
    for place, line in enumerate(texts[1:], start=1):
        cells = _cells(line)
        if len(cells) == len(header) and is_step(cells[header.index(STEP)]):
            rows.append(dict(zip(header, cells, strict=True)))
            places.append(place)
        elif line.strip():
            unread.append(place)
    if unread and not rows:
        raise Damaged(f"none of its lines can be read; {_first(texts, unread)}")
    return _Lines(rows, places, texts, unread)


def _begins_header(text: str) -> bool:
    return text.startswith(f"{STEP},") or f"{STEP},".startswith(text)


def _cells(line: str) -> list[str]:
    """Each line by itself: a quotation mark in one takes none of the others."""
    try:
        return next(csv.reader([line.rstrip("\r")]), [])
    except csv.Error:
        return []


def _first(texts: list[str], places: Iterable[int]) -> str:
    place = min(places)
    return f"the first is line {place + 1}: {shown(texts[place])}"


def _note_unread(path: Path, texts: list[str], places: list[int]) -> None:
    if places:
        said = f"{path}: {counted(len(places), 'line')} could not be read, passed over; {_first(texts, places)}"
        warnings.warn(said, Note, stacklevel=3)
