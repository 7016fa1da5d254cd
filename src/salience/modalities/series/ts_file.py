"""The .ts format of aeon, sktime and the UCR archive.

A header of lines `@name value`, then @data and one series a line: channels separated by colons, values by commas, the
label last if the header says `@classLabel true` or `@targetLabel true`. A missing value is `?` or NaN. With
`@timeStamps true` each value is a pair `(time,value)`; a time may contain colons. Comments begin with # or %.
Some files separate values by semicolons and use decimal commas.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from salience.errors import UserError
from salience.units import counted, printable

CHUNK = 64  # series
MISSING = frozenset({"?", "", "na", "null", "none"})
SHOWN = 40  # characters of a cell in a message
EVEN = 1e-3  # largest relative difference between the lengths of even steps
_OUTSIDE_PAIRS = re.compile(r":(?![^()]*\))")
_PAIR = re.compile(r"\(([^()]*)\)")


class UnreadableError(ValueError):
    """A series cannot be read; the text is the reason."""


@dataclass
class TsFile:
    """A .ts file.

    Attributes:
        path: The file.
        header: Values of the header by lower-case name.
        labelled: Whether the last field of a line is a label.
        target: Whether the labels are measurements.
        rate: Number of steps a second, from the times of the first series with even steps.
        odd: What was odd, with the number of series and the first of them; complete after `series`.
    """

    path: Path
    header: dict[str, str] = field(default_factory=dict)
    rate: float | None = None
    odd: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for line in self._text():
            if line.lower().startswith("@data"):
                return
            if not line.startswith("@"):
                break
            name, _, value = line[1:].partition(" ")
            self.header[name.lower()] = value.strip()
        raise UserError(f"source: {self.path} cannot be read as .ts: it has no line @data before the series")

    @property
    def target(self) -> bool:
        return self._says("targetlabel")

    @property
    def labelled(self) -> bool:
        return self._says("classlabel") or self.target

    def _says(self, name: str) -> bool:
        return self.header.get(name, "").lower().split(" ")[0] == "true"

    def _whole(self, name: str) -> int | None:
        value = self.header.get(name, "")
        return int(value) if value.isdecimal() and int(value) else None

    def _text(self) -> Iterator[str]:
        """Iterate over the lines without comments and empty ones."""
        try:
            with self.path.open(encoding="utf-8-sig") as file:
                for line in file:
                    text = line.strip()
                    if text and not text.startswith(("#", "%")):
                        yield text
        except UnicodeDecodeError as error:
            raise UserError(f"source: {self.path} cannot be read as .ts: {error.reason}; save it as UTF-8") from error

    def lines(self) -> Iterator[str]:
        """Iterate over the lines of the series."""
        text = self._text()
        for line in text:
            if line.lower().startswith("@data"):
                yield from text

    def labels(self) -> list[str | None]:
        """Return the label of each series as text, None if unknown, and without reading its numbers."""
        if not self.labelled:
            return [None for _ in self.lines()]
        found = (line.rpartition(":")[2].strip() if _ends_in_label(line) else "?" for line in self.lines())
        return [None if label.lower() in MISSING else label for label in found]

    def series(self) -> Iterator[list[np.ndarray | str]]:
        """Iterate over chunks of series [t c], or the reason why one cannot be read."""
        self.odd = {}
        chunk: list[np.ndarray | str] = []
        for row, line in enumerate(self.lines()):
            try:
                chunk.append(self._series(line, row))
            except UnreadableError as reason:
                chunk.append(str(reason))
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _series(self, line: str, row: int) -> np.ndarray:
        if self.labelled and not _ends_in_label(line):
            raise UnreadableError("it has no label at its end")
        fields = _OUTSIDE_PAIRS.split(line)
        channels = [self._channel(text.strip(), row) for text in (fields[:-1] if self.labelled else fields)]
        expected = self._whole("dimensions") or (1 if self._says("univariate") else None)
        if expected is not None and len(channels) != expected:
            raise UnreadableError(f"it has {counted(len(channels), 'channel')}, the header says {expected}")
        lengths = [len(channel) for channel in channels]
        self._check_length(max(lengths), row)
        if len(set(lengths)) > 1:
            self._note("channels of different lengths", row)
        item = np.full((max(lengths), len(channels)), np.nan)
        for at, channel in enumerate(channels):
            item[: len(channel), at] = channel
        return item

    def _check_length(self, steps: int, row: int) -> None:
        said = self._whole("serieslength")
        if said is None or steps == said:
            return
        if steps == 2 * said:
            raise UnreadableError(
                f"it has {steps} values, the header says {said}; numbers with decimal commas must be separated by ;"
            )
        self._note(f"not the {said} steps that the header says", row)

    def _channel(self, text: str, row: int) -> np.ndarray:
        """Parse the values of one channel, [t]."""
        if text.startswith("("):
            return self._timed(text, row)
        if ";" in text:
            return _numbers([cell.replace(",", ".") for cell in text.split(";")])
        return _numbers(text.split(","))

    def _timed(self, text: str, row: int) -> np.ndarray:
        """Parse pairs `(time,value)`, and note times that are not evenly spaced."""
        if re.sub(r"[\s,]", "", _PAIR.sub("", text)):
            raise UnreadableError(f"expected pairs (time,value), got {_shown(_PAIR.sub('', text).strip(' ,'))}")
        pairs = [tuple(pair.rpartition(",")[::2]) for pair in _PAIR.findall(text)]
        times = np.array([_time(time.strip()) for time, _ in pairs])
        steps = np.diff(times)
        if (steps <= 0).any():
            raise UnreadableError("its times do not increase")
        if len(steps) and np.ptp(steps) > EVEN * steps.mean():
            self._note("steps that are not evenly spaced; they are read in order, without their times", row)
        elif len(steps) and self.rate is None and ":" in pairs[0][0]:
            self.rate = float(1 / steps.mean())
        return _numbers([value for _, value in pairs])

    def _note(self, what: str, row: int) -> None:
        count, first = self.odd.get(what, (0, row))
        self.odd[what] = count + 1, first

    def notes(self) -> tuple[str, ...]:
        """Describe what was odd, after `series`."""
        return tuple(
            f"{counted(count, 'series has', 'series have')} {what}; the first is item {first}"
            for what, (count, first) in self.odd.items()
        )


def _ends_in_label(line: str) -> bool:
    """Return whether a text after the last colon is a label: it is no pair, and no list of numbers."""
    last = _OUTSIDE_PAIRS.split(line)[-1]
    return len(_OUTSIDE_PAIRS.split(line)) > 1 and not re.search(r"[,;()]", last) and bool(last.strip())


def _numbers(cells: list[str]) -> np.ndarray:
    """Convert cells to numbers, NaN where missing. Raises UnreadableError for the first that is neither."""
    try:
        return np.array(cells, np.float64)
    except ValueError:
        return np.array([_number(cell.strip()) for cell in cells])


def _number(cell: str) -> float:
    if cell.lower() in MISSING:
        return np.nan
    try:
        return float(cell)
    except ValueError:
        raise UnreadableError(f"{_shown(cell)} is not a number") from None


def _time(text: str) -> float:
    """Return a time in seconds, or a number as it is."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()
    except ValueError:
        raise UnreadableError(f"{_shown(text)} is neither a time nor a number") from None


def _shown(text: str) -> str:
    return f"'{printable(text)[:SHOWN]}'"
