"""Tables with one series a row: a column for each step, whose names are times such as t0, t1, t2."""

from __future__ import annotations

import datetime
import itertools
import re
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from salience.errors import UserError
from salience.fields.content import Arrays, Frames
from salience.modalities.table import Column, cells
from salience.modalities.table.survey import survey
from salience.units import counted, printable

LEAST_TIMES = 8  # a table with fewer columns of times is not taken for series unless the user says so
_NUMBERED = re.compile(r"(t|time|step|timestep)[ _.-]?(\d+)", re.IGNORECASE)


def is_wide(frames: Frames) -> bool:
    """Return whether most columns of a table have the names of times."""
    found = time_columns(frames.names)
    return len(found) >= LEAST_TIMES and 2 * len(found) > len(frames.names)


def time_columns(names: Sequence[str]) -> list[str]:
    """Return the columns whose names are times: t0, t1, t2; numbers that are not counted, 0.5, 1.0, 1.5; or dates.

    Plain integers are not enough, because columns without names are counted too.
    """
    numbered = [name for name in names if _NUMBERED.fullmatch(name.strip())]
    numbers = [int(match[2]) for name in numbered if (match := _NUMBERED.fullmatch(name.strip()))]
    if numbers and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return numbered
    for parse in (_fraction, _date):
        found = [(name, time) for name in names if (time := parse(name)) is not None]
        times = [time for _, time in found]
        if found and all(a < b for a, b in itertools.pairwise(times)) and not _counted(times):
            return [name for name, _ in found]
    return []


def _counted(times: list[float]) -> bool:
    return all(time == int(time) for time in times) and max(times) < 1e6


def _fraction(name: str) -> float | None:
    return float(name) if re.fullmatch(r"[+-]?\d*\.?\d+(e[+-]?\d+)?", name.strip(), re.IGNORECASE) else None


def _date(name: str) -> float | None:
    try:
        return datetime.datetime.fromisoformat(name.strip()).replace(tzinfo=datetime.UTC).timestamp()
    except ValueError:
        return None


class WideTable:
    """A table with one series a row."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        times = time_columns(frames.names)
        self.steps = times or list(frames.names)
        self.others = [name for name in frames.names if name not in self.steps]
        self.seen = survey(
            (chunk[self.steps] for chunk in self._chunks()), texts=frames.texts, reading=frames.reading,
            comma=frames.comma,
        )  # fmt: skip
        self._refuse_texts()

    def arrays(self) -> Arrays:
        return Arrays("series", self.seen.rows, self._items, self._notes)

    def _chunks(self) -> Iterator[pd.DataFrame]:
        return (frame.rename(columns=str) for frame in self.frames.chunks())

    def _refuse_texts(self) -> None:
        for name in self.steps:
            seen = self.seen.seen.get(name)
            if seen is not None and seen.kinds and not self.seen.holds_numbers(name):
                raise UserError(
                    f"source: column '{printable(name)}' is not numeric, but each column of series is one step; "
                    "remove it, or name it with --labels or --groups"
                )

    def _items(self) -> Iterator[list[np.ndarray | str]]:
        rules = self.seen.rules
        for frame in self._chunks():
            columns = (cells.plain(frame[name]) for name in self.steps)
            block = np.stack([cells.read_numbers(one, cells.kind_of(one), rules).values for one in columns], axis=1)
            yield [row[:, None] for row in block]

    def _notes(self) -> tuple[str, ...]:
        notes = (*self.frames.notes(), *self.seen.notes([Column(name) for name in self.steps]))
        if self.others:
            shown = ", ".join(map(printable, self.others[:5])) + ", ..." * (len(self.others) > 5)
            notes += (f"each row is a series of {counted(len(self.steps), 'step')}; other columns ignored: {shown}",)
        return notes
