"""Layout of stored items in memory and in files: dense, ragged, or several named fields.

    dense    an array [n *shape]
    ragged   values [total *shape] and offsets [n + 1]: item i is values[offsets[i] : offsets[i + 1]]
    named    several of these by name, all with n items; the first is the main one

A ragged item is padded to the next length of a fixed list. So its padded length depends only on the item, and its
result does not depend on the other items of a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

HEADER = 128  # bytes of the header of a .npy file
SHORT = 32  # tokens; batches of longer items have fewer of them
LEAST_ROWS = 8
LEAST_LENGTH = 8  # first padded length: 8, 12, 16, 24, 32, 48, ...


@dataclass(frozen=True, eq=False)
class Ragged:
    """Items of different lengths, [t *shape] each.

    Attributes:
        values: Concatenated items, [total *shape].
        offsets: Start of each item in `values`, [n + 1] int64.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, items: Iterable[np.ndarray]) -> Self:
        """Make ragged items from arrays [t *shape] of one type."""
        listed = [np.asarray(item) for item in items]
        offsets = np.concatenate([[0], np.cumsum([len(item) for item in listed])]).astype(np.int64)
        return cls(np.concatenate(listed), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Return the lengths of these items, [b] int64."""
        return self.offsets[rows + 1] - self.offsets[rows]

    def padded(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return these items padded with zeros, [b t *shape], and the mask [b t] bool of real tokens."""
        lengths = self.lengths(rows)
        most = int(padded_lengths(lengths).max(initial=LEAST_LENGTH))
        mask = np.arange(most) < lengths[:, None]
        x = np.zeros((len(rows), most, *self.values.shape[1:]), self.values.dtype)
        starts = self.offsets[rows]
        x[mask] = self.values[(starts[:, None] + np.arange(most))[mask]]
        return x, mask


@dataclass(frozen=True, eq=False)
class Named:
    """Several fields of the same items."""

    fields: Mapping[str, np.ndarray | Ragged]

    @property
    def main(self) -> np.ndarray | Ragged:
        return next(iter(self.fields.values()))

    def __len__(self) -> int:
        return len(self.main)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.main[row]


Stored = np.ndarray | Ragged | Named


def padded_lengths(lengths: np.ndarray) -> np.ndarray:
    """Return the smallest padded length for each length.  [n] -> [n] int64"""
    most = max(LEAST_LENGTH, int(np.max(lengths, initial=1)))
    rungs = [LEAST_LENGTH]
    while rungs[-1] < most:
        rungs.append(rungs[-1] * 3 // 2 if rungs[-1] & (rungs[-1] - 1) == 0 else rungs[-1] * 4 // 3)
    return np.array(rungs, np.int64)[np.searchsorted(rungs, lengths)]


def rows_at_once(size: int, length: int) -> int:
    """Return how many items of a padded length fill a batch that has `size` items of one value or of short lengths."""
    return max(min(size, LEAST_ROWS), min(size, size * SHORT // max(1, length)))


def take(stored: Stored, rows: np.ndarray) -> tuple[Any, np.ndarray | None]:
    """Return the items of these rows, an array or arrays by name, and the mask of real tokens if they are ragged."""
    if isinstance(stored, Ragged):
        return stored.padded(rows)
    if isinstance(stored, np.ndarray):
        return stored[rows], None
    taken = {name: take(field, rows) for name, field in stored.fields.items()}
    return {name: x for name, (x, _) in taken.items()}, next(iter(taken.values()))[1]


def padded_lengths_of(stored: Stored, rows: np.ndarray) -> np.ndarray | None:
    """Return the padded lengths of these items, [b] int64; None if the items are dense."""
    main = stored.main if isinstance(stored, Named) else stored
    return padded_lengths(main.lengths(rows)) if isinstance(main, Ragged) else None


def group_by_length(stored: Stored, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Iterate over groups of positions in `rows` whose items have one padded length; dense items are one group."""
    lengths = padded_lengths_of(stored, rows)
    if lengths is None:
        yield np.arange(len(rows))
        return
    for length in np.unique(lengths):
        yield np.flatnonzero(lengths == length)


def fingerprint(stored: Stored) -> str:
    """Hash stored items; equal items have equal fingerprints."""
    digest = hashlib.sha256()
    for name, array in _arrays("x", stored):
        digest.update(f"{name} {array.shape} {array.dtype.str}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class RaggedWriter:
    """Writes ragged items one after the other, so that they need not fit into memory.

    Args:
        folder: Folder for the arrays, in which `write` leaves them as they are; None keeps the items in memory.
        dtype: Type of the values.
        shape: Shape of one value.
    """

    def __init__(self, folder: Path | None, dtype: str, shape: tuple[int, ...] = ()) -> None:
        self.dtype, self.shape = np.dtype(dtype), shape
        self._lengths: list[int] = []
        self._kept: list[np.ndarray] = []
        self._path = None if folder is None else folder / "x.values.npy"
        self._file = None if self._path is None else self._path.open("wb")
        if self._file is not None:
            self._file.write(bytes(HEADER))  # of the array; its length is known at the end

    def add(self, item: np.ndarray) -> None:
        """Add an item [t *shape]."""
        item = np.ascontiguousarray(item, dtype=self.dtype)
        self._lengths.append(len(item))
        if self._file is None:
            self._kept.append(item)
        else:
            item.tofile(self._file)

    def finish(self) -> Ragged:
        """Return the items, memory-mapped if they are in a file."""
        offsets = np.concatenate([[0], np.cumsum(self._lengths)]).astype(np.int64)
        if self._file is None or self._path is None:
            empty = np.zeros((0, *self.shape), self.dtype)
            return Ragged(np.concatenate([empty, *self._kept]), offsets)
        self._file.seek(0)
        shape = (int(offsets[-1]), *self.shape)
        described = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, described)
        assert self._file.tell() == HEADER
        self._file.close()
        return Ragged(np.load(self._path, mmap_mode="r" if offsets[-1] else None), offsets)


def write(stored: Stored, folder: Path) -> list[str]:
    """Save every array as FOLDER/NAME.npy, unless it is mapped from this file. Return the names."""
    names = []
    for name, array in _arrays("x", stored):
        path = folder / f"{name}.npy"
        if Path(getattr(array, "filename", None) or "").resolve() != path.resolve():
            np.save(path, array)
        names.append(name)
    return names


def read(folder: Path, names: Sequence[str]) -> Stored:
    """Memory-map the arrays saved by `write`. Raises ValueError or OSError if they are damaged."""
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names}
    fields: dict[str, np.ndarray | Ragged] = {}
    for name, array in arrays.items():
        field, _, part = name.partition(".")
        if part == "values":
            fields[field] = Ragged(array, np.asarray(arrays[f"{field}.offsets"]))
        elif not part:
            fields[field] = array
    return next(iter(fields.values())) if list(fields) == ["x"] else Named(fields)


def _arrays(name: str, stored: Stored) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(stored, Named):
        for one, field in stored.fields.items():
            yield from _arrays(one, field)
    elif isinstance(stored, Ragged):
        yield f"{name}.values", stored.values
        yield f"{name}.offsets", stored.offsets
    else:
        yield name, stored
