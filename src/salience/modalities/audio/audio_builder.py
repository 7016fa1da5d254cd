"""Conversion of files to stored recordings: one rate, one channel, int16. One that cannot be read is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from salience.errors import UserError
from salience.fields.build_options import Built, Options
from salience.fields.content import Encoded, Found
from salience.fields.ids import Ids
from salience.fields.stored_items import Ragged, RaggedWriter, fingerprint
from salience.modalities.audio import windows
from salience.modalities.audio.notes import describe_flags, describe_rates
from salience.modalities.audio.reader import Header, Reader, UnreadableError
from salience.modalities.audio.spec import AudioSpec
from salience.processors import cores
from salience.progress import progress_bar
from salience.units import counted, printable

if TYPE_CHECKING:
    from salience.modalities.image.headers import Blob

MOST_WORKERS = 16  # processes that decode
Answer = TypeVar("Answer")


@dataclass
class Cut:
    """The items that the recordings became.

    Attributes:
        file: The recording of each item, or of each recording that was left out.
        start: Start of the item in its recording, in samples; None for a whole recording.
        bad: Reasons by item, for those that were left out.
        flags: What was found out about each recording, by flag.
    """

    file: list[int] = field(default_factory=list)
    start: list[int | None] = field(default_factory=list)
    bad: dict[int, str] = field(default_factory=dict)
    flags: dict[str, list[int]] = field(default_factory=dict)

    def add(self, file: int, start: int | None, reason: str | None = None) -> None:
        if reason is not None:
            self.bad[len(self.file)] = reason
        self.file.append(file)
        self.start.append(start)


def build(found: Found, options: Options) -> Built:
    """Decode recordings to stored items. Raises UserError if none can be read."""
    encoded: Any = found.content
    want, cut = options.spec, Cut()
    with ThreadPoolExecutor(max(1, min(MOST_WORKERS, cores()))) as pool:
        reader = Reader()
        headers = list(_in_threads(pool, reader.header, encoded, options.progress, "reading headers"))
        rate, notes = _rate(headers, options, found)
        spec = want or AudioSpec.at(rate, _window(options, rate))
        writer = RaggedWriter(None if options.path is None else options.path.parent, "int16")
        channel = options.reading.channel or "mix"
        blobs = (blob for chunk in encoded.chunks() for blob in chunk)
        waves = _decoded(pool, reader, zip(blobs, headers, strict=True), spec.rate, channel)
        with progress_bar(encoded.count, "decoding", options.progress) as bar:
            for file, wave in enumerate(waves):
                _store(file, wave, spec, options, writer, cut)
                bar.update(1)
    stored = writer.finish()
    _require_some(stored, cut, found)
    spec = spec if want else _with_statistics(_of_one_length(spec, stored), stored)
    notes += describe_flags(cut.flags, lambda row: _name(found, row))
    notes += _window_notes(cut, spec, stored)
    return _built(found, cut, replace(spec, views=spec.views if want else found.views), stored, notes)


def _built(found: Found, cut: Cut, spec: AudioSpec, stored: Ragged, notes: tuple[str, ...]) -> Built:
    total = len(cut.file)
    kept = np.delete(np.arange(total), list(cut.bad)) if cut.bad else None
    parts = None if all(start is None for start in cut.start) else _parts(found, cut, spec.rate)
    bad = tuple(sorted(cut.bad.items()))
    return Built(stored, spec, len(stored), total, fingerprint(stored), kept, bad, notes, parts=parts)


def _rate(headers: list[Header | str], options: Options, found: Found) -> tuple[int, tuple[str, ...]]:
    """Return the rate to store: that of a run, the one asked for, or the most frequent one; and a note."""
    rates = Counter(one.rate for one in headers if isinstance(one, Header))
    if not rates:
        _refuse_all({row: str(reason) for row, reason in enumerate(headers)}, found)
    asked = options.spec.rate if options.spec else options.reading.rate
    rate = asked or max(rates, key=lambda one: (rates[one], one))
    return rate, describe_rates(rates, rate, asked is not None)


def _window(options: Options, rate: int) -> int | None:
    seconds = options.reading.window
    return None if seconds is None else max(1, round(seconds * rate))


def _store(
    file: int,
    wave: tuple[np.ndarray, frozenset[str]] | str,
    spec: AudioSpec,
    options: Options,
    writer: RaggedWriter,
    cut: Cut,
) -> None:
    """Store a recording as one item, or as several windows."""
    if isinstance(wave, str):
        cut.add(file, None, wave)
        return
    samples, flags = wave
    for flag in flags:
        cut.flags.setdefault(flag, []).append(file)
    window = _window(options, spec.rate)
    if window is None:
        longer = spec.length is not None and len(samples) > spec.length
        if longer and spec.length is not None:
            seconds = (
                f"{len(samples) / spec.rate:.4g} s long, and items of this run have {spec.length / spec.rate:.4g} s"
            )
            cut.add(file, None, f"it is {seconds}; cut it with --window {spec.length / spec.rate:.4g}")
            return
        cut.add(file, None)
        writer.add(samples)
        return
    hop = max(1, round((options.reading.hop or options.reading.window or 0) * spec.rate))
    starts = windows.starts(len(samples), window, hop)
    for start in starts:
        cut.add(file, start if len(starts) > 1 else None)
        writer.add(samples[start : start + window])


def _parts(found: Found, cut: Cut, rate: int) -> Found:
    """Return the source with a row for each window; windows of one recording are a group."""
    files = np.array(cut.file, np.int64)
    names = [found.ids[file] if found.ids is not None else str(file) for file in cut.file]
    pairs = zip(names, cut.start, strict=True)
    ids = Ids.of([name if start is None else windows.name(name, start, rate) for name, start in pairs])
    labels = None if found.labels is None else found.labels[files]
    return replace(found, ids=ids, labels=labels, groups=files if found.groups is None else found.groups[files])


def _of_one_length(spec: AudioSpec, stored: Ragged) -> AudioSpec:
    """Return the spec with the length of all items, if they have the same."""
    lengths = np.diff(stored.offsets)
    if spec.length is not None or (lengths != lengths[0]).any():
        return spec
    return replace(spec, length=int(lengths[0]))


def _with_statistics(spec: AudioSpec, stored: Ragged) -> AudioSpec:
    from salience.modalities.audio.statistics import band_statistics

    mean, std = band_statistics(stored, spec)
    return replace(spec, mean=mean, std=std)


def _window_notes(cut: Cut, spec: AudioSpec, stored: Ragged) -> tuple[str, ...]:
    seconds, notes = 0 if spec.length is None else spec.length / spec.rate, []
    several = Counter(file for file, start in zip(cut.file, cut.start, strict=True) if start is not None)
    if several:
        parts = counted(sum(several.values()), "window")
        notes.append(f"{counted(len(several), 'recording')} longer than {seconds:g} s cut into {parts}")
    if shorter := int((np.diff(stored.offsets) < (spec.length or 0)).sum()):
        have = "recording is" if shorter == 1 else "recordings are"
        notes.append(f"{shorter:,} {have} shorter than {seconds:g} s and followed by silence")
    return tuple(notes)


def _decoded(
    pool: ThreadPoolExecutor, reader: Reader, files: Iterator[tuple[Blob, Header | str]], rate: int, channel: str
) -> Iterator[tuple[np.ndarray, frozenset[str]] | str]:
    """Decode the files whose header was read, in order; the result of an unreadable one is the reason."""

    def decode(file: tuple[Blob, Header | str]) -> tuple[np.ndarray, frozenset[str]] | str:
        blob, header = file
        return header if isinstance(header, str) else _try(lambda one: reader.samples(one, rate, channel), blob)

    return _in_order(pool, decode, files)


def _in_threads(
    pool: ThreadPoolExecutor, read: Callable[[Blob], Answer], encoded: Encoded, progress: bool, what: str
) -> Iterator[Answer | str]:
    with progress_bar(encoded.count, what, progress) as bar:
        blobs = (blob for chunk in encoded.chunks() for blob in chunk)
        for answer in _in_order(pool, lambda blob: _try(read, blob), blobs):
            yield answer
            bar.update(1)


def _in_order(pool: ThreadPoolExecutor, work: Callable[[Any], Answer], items: Iterator[Any]) -> Iterator[Answer]:
    """Apply `work` to items in threads, each while one result more than there are threads is waited for."""
    waiting: list[Future[Answer]] = []
    most = min(MOST_WORKERS, cores()) + 1
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= most:
            yield waiting.pop(0).result()
    for one in waiting:
        yield one.result()


def _try(read: Callable[[Blob], Answer], blob: Blob) -> Answer | str:
    try:
        return read(blob)
    except UnreadableError as unreadable:
        return str(unreadable)


def _require_some(stored: Ragged, cut: Cut, found: Found) -> None:
    if not len(stored):
        _refuse_all({cut.file[at]: reason for at, reason in cut.bad.items()}, found)


def _refuse_all(reasons: dict[int, str], found: Found) -> None:
    first, count = min(reasons), len(reasons)
    what = "the only recording cannot be read" if count == 1 else f"none of the {count:,} recordings can be read; first"
    raise UserError(f"source: {what}, {_name(found, first)}: {printable(reasons[first])}")


def _name(found: Found, row: int) -> str:
    return printable(found.ids[row]) if found.ids is not None else str(row)
