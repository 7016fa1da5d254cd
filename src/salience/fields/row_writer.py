"""Writing or scanning of stored rows, with their statistics and fingerprint."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np

from salience.fields.moments import Moments
from salience.fields.space import require_space
from salience.units import counted

BLOCK_BYTES = 16 << 20


def before_rows(shape: tuple[int, ...], dtype: np.dtype) -> str:
    """Return the text that a fingerprint hashes before the rows."""
    return f"{tuple(shape)} {np.dtype(dtype).str}"


class Scan:
    """Statistics and fingerprint of rows of one shape, added in blocks."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.count = 0
        self.moments = Moments(self.shape[0])
        self._digest = hashlib.sha256(before_rows(self.shape, self.dtype).encode())

    def add(self, block: np.ndarray) -> None:
        """Add a block [n *shape] of this dtype."""
        block = np.ascontiguousarray(block)
        self.count += len(block)
        self.moments.add(block)
        self._digest.update(block.data)

    @property
    def fingerprint(self) -> str:
        return self._digest.hexdigest()


class Writer(Scan):
    """A scan that also stores the rows, in the file `path` or in memory.

    Args:
        capacity: Maximum number of rows.
        shape: Shape of a row.
        dtype: Type of the values.
        path: The file; None stores the rows in memory.

    Raises:
        UserError: The disk does not have enough space.
    """

    def __init__(self, capacity: int, shape: tuple[int, ...], dtype: np.dtype, path: Path | None) -> None:
        super().__init__(shape, dtype)
        self.path = path
        if path is None:
            self._rows = np.empty((capacity, *self.shape), dtype=self.dtype)
            return
        needed = capacity * int(np.prod(self.shape)) * self.dtype.itemsize
        require_space(path.parent, needed, f"source: preparing {counted(capacity, 'item')}")
        self._file = path.open("wb", buffering=0)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.path is not None:
            self._file.close()

    def add(self, block: np.ndarray) -> None:
        block = np.ascontiguousarray(block, dtype=self.dtype)
        if self.path is None:
            self._rows[self.count : self.count + len(block)] = block
        else:
            _write_all(self._file.fileno(), block)
        super().add(block)

    def finish(self) -> np.ndarray | None:
        """Return the rows [n *shape], or flush the file to the disk and return None."""
        if self.path is None:
            return self._rows[: self.count]
        os.fsync(self._file.fileno())
        return None


def store(
    blocks: Iterable[np.ndarray], capacity: int, shape: tuple[int, ...], dtype: np.dtype, path: Path | None
) -> tuple[np.ndarray | None, Scan]:
    """Store blocks [n *shape] in the file `path` or in memory. Return the rows (None: in the file) and the scan."""
    with Writer(capacity, shape, dtype, path) as writer:
        for block in blocks:
            writer.add(block)
        return writer.finish(), writer


def _write_all(descriptor: int, block: np.ndarray) -> None:
    rest = block.reshape(-1).view(np.uint8)
    while len(rest):
        rest = rest[os.write(descriptor, rest.data) :]
