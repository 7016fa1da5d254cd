"""An array that grows while it is written, in memory or in a file that disappears with the process."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from salience.fields.space import require_space
from salience.fields.stored_items import Ragged


class GrowingRagged:
    """Ragged items, appended one by one. Memory stays flat if they are written to a file.

    Args:
        dtype: Type of the values.
        folder: Folder of the file, which has no name there; None keeps the values in memory.
    """

    def __init__(self, dtype: np.dtype | type, folder: Path | None) -> None:
        self.dtype = np.dtype(dtype)
        self.ends: list[int] = [0]
        self._file = None if folder is None else tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - open until finish
        self._folder = folder
        self._parts: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self.ends) - 1

    def append(self, values: np.ndarray) -> None:
        """Append one item [t]."""
        values = np.ascontiguousarray(values, self.dtype)
        self.ends.append(self.ends[-1] + len(values))
        if self._file is None:
            self._parts.append(values)
        else:
            self._file.write(values.data)

    def finish(self) -> Ragged:
        """Return the items. Raises UserError if the disk has no space for a copy of them in the cache."""
        offsets = np.array(self.ends, np.int64)
        if self._file is None or not offsets[-1]:
            parts = self._parts or [np.empty(0, self.dtype)]
            return Ragged(np.concatenate(parts), offsets)
        assert self._folder is not None
        require_space(self._folder, int(offsets[-1]) * self.dtype.itemsize, "source: preparing the items")
        self._file.flush()
        return Ragged(np.memmap(self._file, self.dtype, "r", shape=(int(offsets[-1]),)), offsets)
