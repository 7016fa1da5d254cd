"""Conversion of series from any source to stored items: [n t c] if all have one length, otherwise ragged [t c] each.

Missing values between known ones are interpolated, those before or after take the nearest known one, and steps at the
end at which every channel is missing are padding and are removed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from salience.errors import UserError
from salience.fields.blocks import LARGEST_FLOAT32
from salience.fields.build_options import Built, Options
from salience.fields.content import Arrays, Found, Frames
from salience.fields.moments import Moments
from salience.fields.row_writer import BLOCK_BYTES, before_rows
from salience.fields.stored_items import Ragged, Stored, fingerprint
from salience.modalities.series.spec import SeriesSpec
from salience.modalities.series.wide_table import WideTable
from salience.progress import progress_bar
from salience.units import counted

DTYPE = np.dtype(np.float32)
WAITING_BYTES = 2 << 20  # series that are written at once; their statistics take several times as much memory


def build(found: Found, options: Options) -> Built:
    """Convert series to stored items. Raises UserError if none can be read, or they do not fit `options.spec`."""
    content, notes = _arrays_of(found.content)
    want: SeriesSpec | None = options.spec
    writer = Writer(options.path, want)
    with writer, progress_bar(content.count, "preparing", options.progress and content.count > 10_000) as bar:
        for chunk in content.chunks():
            for item in chunk:
                writer.add(item)
                bar.update(1)
    if not writer.kept:
        reason = f"; the first: {writer.bad[0][1]}" if writer.bad else ""
        raise UserError(f"source: it has no series that can be read{reason}")
    stored, spec, mark = writer.finish(content.rate())
    kept = None if not writer.bad else np.array(writer.kept, np.int64)
    notes += content.notes() + writer.notes()
    return Built(stored, spec, len(writer.kept), writer.count, mark, kept, tuple(writer.bad), notes)


def _arrays_of(content: object) -> tuple[Arrays, tuple[str, ...]]:
    """Return the series [t c] of any content, and notes."""
    if isinstance(content, Arrays) and content.kind is None:
        return replace(
            content, chunks=lambda: ([_steps_first(item) for item in chunk] for chunk in content.chunks())
        ), ()
    if isinstance(content, Arrays):
        return content, ()
    if isinstance(content, Frames):
        return WideTable(content).arrays(), ()
    assert isinstance(content, np.ndarray)
    if content.dtype.kind not in "biuf":
        raise UserError(f"source: series must be numbers, got {content.dtype}")
    notes: tuple[str, ...] = ()
    if content.ndim == 3 and content.shape[1] > content.shape[2]:
        notes = (
            f"the array is read as [series channels steps]: {content.shape[1]} channels of {content.shape[2]} steps; "
            "if steps come before channels, give x.transpose(0, 2, 1)",
        )
    return Arrays("series", len(content), lambda: _blocks(content)), notes


def _blocks(array: np.ndarray) -> Iterator[list[np.ndarray | str]]:
    """Iterate over the series of an array [n channels t] or [n t]."""
    step = max(1, BLOCK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        block = array[start : start + step]
        yield [_steps_first(item) for item in block]


def _steps_first(item: np.ndarray | str) -> np.ndarray | str:
    """Return a series [channels t] or [t] as [t channels]."""
    if isinstance(item, str) or item.ndim > 2:
        return "expected a series [channels steps] or [steps]"
    return item.T if item.ndim == 2 else item.reshape(-1, 1)


class Writer:
    """Checks series, stores them in a file or in memory, and counts what is odd.

    Args:
        path: The file; None stores the series in memory.
        want: The spec that the series must fit.
    """

    def __init__(self, path: Path | None, want: SeriesSpec | None) -> None:
        self.path, self.want = path, want
        self.count = 0
        self.kept: list[int] = []
        self.bad: list[tuple[int, str]] = []
        self.lengths: list[int] = []
        self.channels = want.channels if want else 0
        self.moments: Moments | None = None
        self.odd: Counter[str] = Counter()
        self.first: dict[str, int] = {}
        self._parts: list[np.ndarray] = []
        self._waiting: list[np.ndarray] = []
        self._bytes = 0

    def __enter__(self) -> Writer:
        self._file = None if self.path is None else self.path.open("wb", buffering=0)
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._flush()
        if self._file is not None:
            self._file.close()

    def add(self, item: np.ndarray | str) -> None:
        """Add one series [t c], or the reason why it cannot be read."""
        self.count += 1
        if not isinstance(item, str):
            item = self._checked(item)
        if isinstance(item, str):
            self.bad.append((self.count - 1, item))
            return
        self.kept.append(self.count - 1)
        self.lengths.append(len(item))
        self._waiting.append(item)
        self._bytes += item.nbytes
        if self._bytes > WAITING_BYTES:
            self._flush()

    def _checked(self, item: np.ndarray) -> np.ndarray | str:
        """Return the series as stored, without padding; or the reason to leave it out."""
        item = np.asarray(item, np.float64)
        if item.ndim != 2 or not item.size:
            return "it has no values"
        if item.shape[1] != (self.channels or item.shape[1]):
            return f"it has {counted(item.shape[1], 'channel')}, the others have {self.channels}"
        known = ~np.isnan(item)
        if not known.any():
            return "every value is missing"
        if not (np.abs(item[known]) <= LARGEST_FLOAT32).all():
            return f"it has an infinite value, or one beyond {LARGEST_FLOAT32:.0e}"
        steps = int(np.flatnonzero(known.any(1))[-1]) + 1
        if steps < len(item):
            self._note("padded")
        if self.want is not None and not self.want.ragged and steps != self.want.shape[0]:
            return f"it has {counted(steps, 'step')}, the run needs {self.want.shape[0]}"
        self.channels = item.shape[1]
        return self._filled(item[:steps], known[:steps])

    def _filled(self, item: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Interpolate missing values, and add the series to the statistics.  [t c], [t c] -> [t c] float32"""
        if self.moments is None:
            self.moments = Moments(self.channels)
        if not known.all():
            self._note("missing", int((~known).sum()))
            item = item.copy()
            for channel in np.flatnonzero(~known.all(0)):
                seen = np.flatnonzero(known[:, channel])
                if len(seen):
                    item[:, channel] = np.interp(np.arange(len(item)), seen, item[seen, channel])
                else:
                    self._note("absent")
        return np.ascontiguousarray(item, DTYPE)

    def _note(self, what: str, count: int = 1) -> None:
        self.odd[what] += count
        self.first.setdefault(what, self.count - 1)

    def _flush(self) -> None:
        if not self._waiting:
            return
        block = np.concatenate(self._waiting)
        assert self.moments is not None
        self.moments.add(block)
        if self._file is None:
            self._parts.append(block)
        else:
            block.tofile(self._file)
        self._waiting, self._bytes = [], 0

    def finish(self, rate: float | None) -> tuple[Stored | None, SeriesSpec, str]:
        """Return the stored series (None: in the file), their spec and their fingerprint."""
        lengths, c = np.array(self.lengths, np.int64), self.channels
        dense = not self.want.ragged if self.want else bool((lengths == lengths[0]).all())
        values = self._values()
        shape = (int(lengths[0]), c) if dense else (c,)
        assert self.moments is not None
        spec = self.want or SeriesSpec(
            shape, DTYPE.name, mean=tuple(map(float, self.moments.mean)), std=tuple(map(float, self.moments.std)),
            steps=int(np.median(lengths)), rate=rate,
        )  # fmt: skip
        if dense:
            return None if self.path else values.reshape(-1, *shape), spec, _fingerprint(values, shape)
        stored = Ragged(values, np.concatenate([[0], np.cumsum(lengths)]))
        if self.path is not None:
            with suppress(OSError):  # it is written again with its header, from the mapped pages
                self.path.unlink()
        return stored, spec, fingerprint(stored)

    def _values(self) -> np.ndarray:
        """Return all steps, [total c], memory-mapped if they are in the file."""
        if self.path is None:
            return np.concatenate(self._parts)
        return np.memmap(self.path, DTYPE, "r", shape=(sum(self.lengths), self.channels))

    def notes(self) -> tuple[str, ...]:
        """Describe what was odd."""
        found = []
        if count := self.odd["padded"]:
            found.append(
                f"{counted(count, 'series', 'series')} end in missing values, the first is item "
                f"{self.first['padded']}; these steps are read as padding and removed"
            )
        if count := self.odd["missing"]:
            found.append(
                f"{counted(count, 'value is', 'values are')} missing, the first in item {self.first['missing']}; "
                "they are interpolated between the nearest known steps"
            )
        if count := self.odd["absent"]:
            found.append(
                f"{counted(count, 'channel')} of single series without any value, the first in item "
                f"{self.first['absent']}; they are read as the mean"
            )
        assert self.moments is not None
        constant = np.flatnonzero(~self.moments.varies)
        if len(constant) and len(self.kept) > 1:
            shown = ", ".join(map(str, constant[:5])) + ", ..." * (len(constant) > 5)
            found.append(f"a channel that never changes has no information: channel {shown} of {self.channels}")
        return tuple(found)


def _fingerprint(values: np.ndarray, shape: Sequence[int]) -> str:
    """Hash stored series [total c] as rows of this shape."""
    digest = hashlib.sha256(before_rows(tuple(shape), DTYPE).encode())
    for block in _steps(values):
        digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def _steps(values: np.ndarray) -> Iterable[np.ndarray]:
    size = max(1, BLOCK_BYTES // max(1, values[:1].nbytes))
    return (values[start : start + size] for start in range(0, len(values), size))
