"""Ragged items that grow while they are written, in memory or in a file that disappears with the process."""

from __future__ import annotations

import os
import tempfile
import weakref
from pathlib import Path

import numpy as np

from salience.fields.space import require_space
from salience.fields.stored_items import Ragged

BUFFER = 1 << 20  # bytes


class GrowingRagged:
    """Ragged items, appended one by one. Memory stays flat if they are written to a file.

    Args:
        dtype: Type of the values.
        folder: Folder of the file, which has no name there; None keeps the values in memory.
    """

    def __init__(self, dtype: np.dtype | type, folder: Path | None) -> None:
        self.dtype = np.dtype(dtype)
        self.ends: list[int] = [0]
        self._written = bytearray()
        self._folder = folder
        self._file: int | None = None
        if folder is not None:
            self._file, name = tempfile.mkstemp(dir=folder)
            Path(name).unlink()
            self._close = weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def append(self, values: np.ndarray) -> None:
        """Append one item [t]."""
        values = np.ascontiguousarray(values, self.dtype)
        self.ends.append(self.ends[-1] + len(values))
        self._written += values.tobytes()
        if self._file is not None and len(self._written) >= BUFFER:
            self._flush()

    def finish(self) -> Ragged:
        """Return the items. Raises UserError if the disk has no space for a copy of them in the cache."""
        offsets = np.array(self.ends, np.int64)
        if self._file is None or not offsets[-1]:
            return Ragged(np.frombuffer(bytes(self._written), self.dtype), offsets)
        assert self._folder is not None
        self._flush()
        require_space(self._folder, int(offsets[-1]) * self.dtype.itemsize, "source: preparing the items")
        with os.fdopen(os.dup(self._file), "rb") as file:
            values = np.memmap(file, self.dtype, "r", shape=(int(offsets[-1]),))
        self._close()
        return Ragged(values, offsets)

    def _flush(self) -> None:
        assert self._file is not None
        rest = memoryview(self._written)
        while len(rest):
            rest = rest[os.write(self._file, rest) :]
        rest.release()
        self._written = bytearray()
