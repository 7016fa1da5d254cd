"""The interface of a store of embeddings. Its URI chooses what is behind it; the code that uses it does not change.

A store holds n items: id, vector, label, thumbnail, and columns of numbers or text that are written back to it. A row
is an item's position, 0 to n - 1; appending leaves the rows there are in place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

    from salience.store.marks import Marks

MARKED = "marked"  # the column of labels given by hand
HIDDEN = ("vector", "thumbnail", "content")  # columns that are read by functions of their own


@dataclass(frozen=True, eq=False)
class Hits:
    """What a search found, nearest first.

    rows: [k] int64;  distances: [k] float32, 1 - cosine similarity, from 0 to 2; k may be less than asked for
    """

    rows: np.ndarray
    distances: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def without(self, row: int) -> Hits:
        """The others, where an item was searched for by its own vector."""
        others = self.rows != row
        return Hits(self.rows[others], self.distances[others])


def nearest_of(query: np.ndarray, k: int, rows: np.ndarray, vectors: np.ndarray) -> Hits:
    """Of these rows, by comparing with each.  query: [d], rows: [m], vectors: [m d]"""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    distances = 1 - vectors @ query / np.maximum(lengths, np.finfo(np.float32).tiny)
    order = np.argsort(distances, kind="stable")[:k]
    return Hits(rows[order], distances[order].astype(np.float32).clip(0, 2))


class Store(Protocol):
    """What a store can do; a kind of store is a class that does it, named in `store_names.KINDS`.

    about: where it comes from: method, run, weights, dim, modality, spec, sources;  marks: labels given by hand

    New items come as tables with the columns id (text), label (text or null), vector (a list of float32, [d]), content
    (uint64, a hash of the item), thumbnail (PNG, not in every store), and columns of the items' own.
    """

    @classmethod
    def open(cls, path: Path) -> Store:
        """The store at `path`.

        Errors: UserError where what is there is none of this kind, is damaged, or of a newer version.
        """

    @classmethod
    def create(cls, path: Path, tables: Iterator[pa.Table], about: Mapping[str, Any]) -> None:
        """Makes a store of these items. A killed process leaves nothing at `path`, or what `is_unfinished` tells."""

    @staticmethod
    def is_unfinished(path: Path) -> bool:
        """Whether what is at `path` was left by a process that was killed in `create`, which may write over it."""

    @staticmethod
    def column_name(name: str, taken: Collection[str] = ()) -> str:
        """The name itself where a store can have such a column and it is not taken, else one like it."""

    def append(self, tables: Iterator[pa.Table], sources: Sequence[Mapping[str, Any]], *, replace: bool) -> None:
        """Adds items behind those there are, all at once, and then writes what all items are from.

        sources: the new value of about["sources"]
        replace: where an item's id is there already, it takes that item's row
        """

    def write_sources(self, sources: Sequence[Mapping[str, Any]]) -> None:
        """Writes what the items are from, the new value of about["sources"]."""

    def identities(self) -> tuple[list[str], list[int]]:
        """Every item's id, and the hash of its content."""

    @property
    def about(self) -> Mapping[str, Any]: ...

    @property
    def uri(self) -> str: ...

    @property
    def name(self) -> str:
        """What people call it, the last part of its URI."""

    @property
    def marks(self) -> Marks: ...

    def __len__(self) -> int: ...

    @property
    def dim(self) -> int: ...

    @property
    def columns(self) -> dict[str, str]:
        """name -> "text" or "number", of all but vector and thumbnail; "marked" among them, `id` first."""

    def column(self, name: str, rows: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """[n] or [m]: float64 with NaN where missing, or object with None."""

    def vectors(self, rows: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """[n d] or [m d] float32."""

    def blocks(self, size: int = 65536) -> Iterator[np.ndarray]:
        """All vectors in order, [<= size d] at a time; memory stays flat."""

    def thumbnails(self, rows: Sequence[int] | np.ndarray) -> list[bytes | None]:
        """PNG files, small; None where an item has no picture."""

    def find(self, id: str) -> int | None:
        """The row of an item."""

    def where(self, expression: str, limit: int | None = None) -> np.ndarray:
        """[m] int64, ascending: the rows that satisfy an SQL condition on columns, such as "label = 'shirt'".

        Errors: UserError that begins with "where: " for what is no condition on this store's columns.
        """

    def search(self, query: np.ndarray, k: int = 10, *, where: str | None = None, exact: bool = False) -> Hits:
        """The items nearest to a vector [d], among those that satisfy `where`.  exact: look at every item"""

    def write_columns(self, columns: Mapping[str, np.ndarray | Sequence[Any]]) -> None:
        """Adds columns [n], or replaces those of the same name. A killed process leaves the old or the new."""

    def refresh_columns(self) -> bool:
        """Sees columns that other processes have written since, where the rows are the same.  -> whether there are"""

    def build_index(self) -> None:
        """Makes search fast for many items; returns when it is built."""

    @property
    def indexed(self) -> int:
        """How many items the index covers; 0 where there is none."""
