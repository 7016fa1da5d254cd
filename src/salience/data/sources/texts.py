"""Texts as sources: lists of strings in memory, and a text file that is one stream."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from salience.data.labels import encode_groups, encode_labels_with_notes
from salience.data.sources.arrays import read_values
from salience.data.sources.query import Query, choose_split, require_train_split
from salience.errors import UserError
from salience.fields.content import Found, Texts
from salience.fields.ids import Ids
from salience.fields.source import Source, mark_of, mark_of_files
from salience.modalities.text.encodings import find_encoding

SPLITS = ("train", "test")
HELD_OUT = 10  # the last part of a stream of so many is its split test
CHUNK = 1024  # texts
EXAMINED = 100  # values of a list
BLOCK = 1 << 22  # characters of a stream that are read at once; also the most of a window
SAMPLE = 1 << 20  # bytes from which the encoding is found
VERSION = 1  # of the reading of texts; increase it to invalidate prepared data


def are_texts(source: Any) -> bool:
    """Return whether a value is a list, an array or a pandas Series of strings."""
    if isinstance(source, list | tuple):
        first = list(islice((one for one in source if one is not None), EXAMINED))
        return bool(first) and all(isinstance(one, str) for one in first)
    if isinstance(source, np.ndarray) and source.ndim == 1:
        return source.dtype.kind in "UT" or (source.dtype == object and are_texts(list(source[:EXAMINED])))
    series = type(source).__module__.split(".")[0] == "pandas" and type(source).__name__ == "Series"
    return series and are_texts(source.iloc[:EXAMINED].tolist())


def open_list(source: Any, query: Query) -> Source:
    """Open strings in memory; None is a missing text."""
    require_train_split(query, "a list of texts")
    listed = source.tolist() if hasattr(source, "tolist") else list(source)

    def chunks() -> Iterator[list[str | None]]:
        for start in range(0, len(listed), CHUNK):
            yield [one if isinstance(one, str) else None for one in listed[start : start + CHUNK]]

    def read() -> Found:
        labels: np.ndarray | None = None
        classes: tuple[str, ...] = ()
        notes: tuple[str, ...] = ()
        if (given := read_values(query.labels, len(listed), "labels")) is not None:
            missing = query.reading.missing or ()
            labels, classes, notes = encode_labels_with_notes(given, "the label array", missing, measurements=True)
        groups = read_values(query.groups, len(listed), "groups")
        codes = None if groups is None else encode_groups(groups)
        return Found(Texts(chunks, len(listed), query.reading), None, labels, classes, codes, notes=notes)

    return Source("texts", query.split or "train", read)


def open_stream(path: Path, query: Query) -> Source:
    """Open a text file as one stream: its last tenth is the split test, the rest is the split train."""
    for option in ("labels", "groups"):
        if getattr(query, option) is not None:
            raise UserError(f"{option}: {path} is one text, which is cut into windows without labels; leave this out")
    split = choose_split(query.split, SPLITS, str(path))

    def read() -> Found:
        encoding, length = _measured(path)
        held_out = length - length // HELD_OUT
        start, end = (0, held_out) if split == "train" else (held_out, length)
        note = f"one text of {length:,} characters is read as a stream; its last tenth is the split test"
        content = Texts(lambda: _parts(path, encoding, start, end), 1, query.reading, stream=True, start=start)
        return Found(content, Ids.of([path.name]), notes=(note, *_note_encoding(encoding)))

    mark = mark_of([mark_of_files([path]), VERSION])
    return Source(path.name, split, read, mark, f"{path.resolve()} stream", SPLITS)


def _note_encoding(encoding: str) -> tuple[str, ...]:
    return () if encoding.startswith("utf-8") else (f"the file is read as {encoding}",)


@lru_cache(maxsize=1)
def _measured(path: Path) -> tuple[str, int]:
    """Return the encoding of a file and the number of its characters, in constant memory."""
    with path.open("rb") as file:
        sample = file.read(SAMPLE)
    cut = sample[: sample.rfind(b"\n") + 1] or sample  # not within a character
    encoding = find_encoding(cut if len(sample) == SAMPLE else sample)
    for one in dict.fromkeys((encoding, "cp1252", "latin-1")):
        try:
            return one, sum(map(len, _blocks(path, one)))
        except UnicodeDecodeError:
            continue
        except OSError as error:
            raise UserError(f"source: {path} cannot be read: {error.strerror}") from error
    raise UserError(f"source: {path} cannot be read as text; save it as UTF-8")


def _blocks(path: Path, encoding: str) -> Iterator[str]:
    with path.open(encoding=encoding, newline=None) as file:
        while block := file.read(BLOCK):
            yield block


def _parts(path: Path, encoding: str, start: int, end: int) -> Iterator[list[str]]:
    """Iterate over the characters from `start` to `end` in large parts."""
    position = 0
    for block in _blocks(path, encoding):
        part = block[max(0, start - position) : max(0, end - position)]
        position += len(block)
        if part:
            yield [part]
