"""Ids of items, stored as one text with offsets, so that a million ids do not need a million Python strings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np


class Ids(Sequence[str]):
    """The id of every item.

    Args:
        total: Number of items of the source.
        text: Concatenated names in UTF-8, [bytes] uint8. Without it, the id of an item is its row number.
        offsets: Start of each name in `text`, [total + 1].
        rows: [n] the items of the source; None for all in order.
    """

    def __init__(
        self,
        total: int,
        text: np.ndarray | None = None,
        offsets: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> None:
        self.total, self.text, self.offsets, self.rows = total, text, offsets, rows

    @classmethod
    def of(cls, names: Sequence[str]) -> Ids:
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]
        offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(name) for name in encoded], out=offsets[1:])
        return cls(len(encoded), np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets)

    def __len__(self) -> int:
        return self.total if self.rows is None else len(self.rows)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self._name(row) for row in range(*at.indices(len(self)))]
        row = int(at)
        if not -len(self) <= row < len(self):
            raise IndexError(f"id {row} of {len(self)}")
        return self._name(row % len(self))

    def __iter__(self) -> Iterator[str]:
        return (self._name(row) for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def subset(self, rows: np.ndarray) -> Ids:
        """Return the ids of these rows, in this order."""
        return Ids(self.total, self.text, self.offsets, rows if self.rows is None else self.rows[rows])

    def _name(self, row: int) -> str:
        source_row = row if self.rows is None else int(self.rows[row])
        if self.text is None or self.offsets is None:
            return str(source_row)
        name = self.text[self.offsets[source_row] : self.offsets[source_row + 1]]
        return name.tobytes().decode("utf-8", "surrogateescape")
