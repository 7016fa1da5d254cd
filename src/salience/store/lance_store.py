"""A store in a folder NAME.lance: a table of the Lance format, which LanceDB opens too, and the labels given by hand.

The table is read as it is on the disk; nothing of it is kept in memory but what was asked for.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from salience.errors import UserError
from salience.locks import hold
from salience.store.condition import parse
from salience.store.lance_table import ABOUT, FORMAT, about_of, lance_package, opened, plainly, saying_what_is_full
from salience.store.marks import Marks
from salience.store.store import HIDDEN, MARKED, Hits, nearest_of
from salience.store_names import require_store
from salience.units import check_whole, counted, printable

if TYPE_CHECKING:
    import lance

LASTING = ("id", "method", "weights")  # what does not change as a store grows; earlier versions wrote no id
MARKS = "marks.sqlite"
KEPT = timedelta(hours=1)  # versions that another process may still be reading
LOCK = ".writing"
FRESH, OLD = "__new", "__old"  # added to the name of a column that has not yet, or has no longer, its place
METRIC = "cosine"
# Vectors in a byte a dimension, in lists by their nearest centre. For a million of 128 dimensions it is built in a
# tenth of the time that a graph (HNSW) takes, and searched as fast.
INDEX = "IVF_SQ"
LISTS_OF = 512  # items in each of the lists, on average
PROBES, REFINE = 20, 10  # lists looked into at least, and how many times k are compared exactly
FEW = 5_000  # items that satisfy a condition, up to which those alone are read and compared
MOST = 0.9  # of all items; where fewer satisfy a condition, the index is not asked


class LanceStore:
    """See Store.  path: the folder"""

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.RLock()
        self._table = opened(path)
        self.about = about_of(self._table, path)
        self.marks = Marks(path / MARKS)
        self._folded = -1  # the version of the marks that the column holds

    @classmethod
    def open(cls, path: Path) -> LanceStore:
        return cls(path)

    @classmethod
    def create(cls, path: Path, tables: Iterator[pa.Table], about: Mapping[str, Any]) -> None:
        known = {"format": FORMAT, **about, "id": uuid.uuid4().hex}
        first = next(tables)
        schema = first.schema.with_metadata({ABOUT: json.dumps(known)})
        lance_package().write_dataset(batches(first, tables), str(path), schema=schema)

    @staticmethod
    def is_unfinished(path: Path) -> bool:
        return path.is_dir() and {entry.name for entry in path.iterdir()} <= {"data", "_transactions"}

    @staticmethod
    def column_name(name: str, taken: Collection[str] = ()) -> str:
        """Lance reads a dot as a part of a column, and keeps names that begin with _row; ours are those of unfinished
        columns."""
        free = name.replace(".", "_").replace("`", "_") or "_"
        while free in taken or free.startswith("_row") or free.endswith((FRESH, OLD)):
            free = f"column{free}" if free.startswith("_row") else f"{free}_"
        return free

    def append(self, tables: Iterator[pa.Table], sources: Sequence[Mapping[str, Any]], *, replace: bool) -> None:
        with self.writing() as table:
            first = next(tables)
            reader = pa.RecordBatchReader.from_batches(first.schema, batches(first, tables))
            if replace:
                table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(reader)
            else:
                lance_package().write_dataset(reader, str(self.path), mode="append")
            self._write_about({**self.about, "sources": list(sources)})

    def write_sources(self, sources: Sequence[Mapping[str, Any]]) -> None:
        with self.writing():
            self._write_about({**self.about, "sources": list(sources)})

    def _write_about(self, about: Mapping[str, Any]) -> None:
        lance_package().dataset(str(self.path)).update_schema_metadata({ABOUT.decode(): json.dumps(about)})

    @property
    def uri(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    def __repr__(self) -> str:
        return f"LanceStore({self.uri}, {counted(len(self), 'item')} of {counted(self.dim, 'dimension')})"

    def __len__(self) -> int:
        return self._table.count_rows()

    @property
    def dim(self) -> int:
        return self._table.schema.field("vector").type.list_size

    @property
    def columns(self) -> dict[str, str]:
        hidden = {*HIDDEN, *leftovers(self._table)}
        fields = [field for field in self._table.schema if field.name not in hidden]
        kinds = {field.name: "text" if pa.types.is_string(field.type) else "number" for field in fields}
        return kinds | {MARKED: "text"}

    def column(self, name: str, rows: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        if name == MARKED:
            labels = self.marks.all()
            return np.array([labels.get(id) for id in self.column("id", rows)], object)
        if name not in self.columns:
            raise UserError(f"column: {self.name} has no column '{name}'; it has: {', '.join(self.columns)}")
        values = self._read([name], rows).column(0)
        return as_array(values)

    def vectors(self, rows: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        if rows is not None:
            return matrix(self._read(["vector"], rows).column(0), self.dim)
        return np.concatenate([*self.blocks(), np.empty((0, self.dim), np.float32)])

    def blocks(self, size: int = 65536) -> Iterator[np.ndarray]:
        with plainly(self.path):
            for batch in self._table.to_batches(columns=["vector"], batch_size=size, scan_in_order=True):
                yield matrix(batch.column(0), self.dim)

    def thumbnails(self, rows: Sequence[int] | np.ndarray) -> list[bytes | None]:
        if "thumbnail" not in self._table.schema.names:
            return [None] * len(rows)
        return self._read(["thumbnail"], rows).column(0).to_pylist()

    def identities(self) -> tuple[list[str], list[int]]:
        """Every item's id, and the hash of its content."""
        found = self._read(["id", "content"], None)
        return found.column(0).to_pylist(), found.column(1).to_pylist()

    def find(self, id: str) -> int | None:
        quoted = id.replace("'", "''")
        with plainly(self.path):
            found = self._table.to_table(columns=["_rowoffset"], filter=f"id = '{quoted}'", limit=1)
        return found.column(0)[0].as_py() if len(found) else None

    def where(self, expression: str, limit: int | None = None) -> np.ndarray:
        filter = self._filter(expression)
        with plainly(self.path, expression):
            found = self._table.to_table(columns=["_rowoffset"], filter=filter, limit=limit, scan_in_order=True)
        return np.sort(found.column(0).to_numpy()).astype(np.int64)

    def search(self, query: np.ndarray, k: int = 10, *, where: str | None = None, exact: bool = False) -> Hits:
        query = np.ascontiguousarray(query, np.float32).reshape(-1)
        if len(query) != self.dim:
            given = counted(len(query), "number")
            raise UserError(f"query: a vector of {given}; {self.name} holds vectors of {self.dim}")
        if not np.isfinite(query).all():
            raise UserError("query: a vector with a value that is not finite; give finite numbers")
        check_whole("k", k, 1)
        k = min(k, max(1, len(self)))
        filter = None if where is None else self._filter(where)
        with plainly(self.path, where):
            if where is not None:
                matching = self._table.count_rows(filter)
                if matching <= FEW:
                    rows = self.where(where)
                    return nearest_of(query, k, rows, self.vectors(rows))
                # the lists near a query may hold none of what a condition asks for, if they are about the same thing
                exact = exact or matching < MOST * len(self)
            return self._nearest(query, k, filter, exact)

    def _nearest(self, query: np.ndarray, k: int, filter: str | None, exact: bool) -> Hits:
        how: dict[str, Any] = {"use_index": False} if exact else {"nprobes": PROBES, "refine_factor": REFINE}
        nearest = {"column": "vector", "q": query, "k": k, "metric": METRIC, **how}
        wanted = ["_rowoffset", "_distance"]
        found = self._table.to_table(nearest=nearest, columns=wanted, filter=filter, prefilter=True)
        rows, distances = (found.column(name).to_numpy() for name in wanted)
        return Hits(rows.astype(np.int64), distances.astype(np.float32).clip(0, 2))

    def write_columns(self, columns: Mapping[str, np.ndarray | Sequence[Any]]) -> None:
        arrays = {name: as_arrow(values) for name, values in columns.items()}
        for name in arrays:
            if name in (*HIDDEN, "id"):
                raise UserError(f"columns: '{name}' is a built-in column; choose another name")
            if name != self.column_name(name):
                raise UserError(
                    f"columns: a store cannot have a column '{printable(name)}'; name it '{self.column_name(name)}'"
                )
        with self.writing() as table:
            rows = table.count_rows()  # of the newest table: another process may have added items
            for name, values in arrays.items():
                if len(values) != rows:
                    has = counted(len(values), "value")
                    raise UserError(f"columns: '{name}' has {has}, {self.name} has {counted(rows, 'item')}")
            drop(table, leftovers(table))
            fresh = pa.table({name + FRESH: values for name, values in arrays.items()})
            table.add_columns(fresh.to_reader(max_chunksize=65536))
            old = [name for name in arrays if name in table.schema.names]
            renamed = [(name, name + OLD) for name in old] + [(name + FRESH, name) for name in arrays]
            changes: Any = [{"path": name, "name": other} for name, other in renamed]
            table.alter_columns(*changes)  # all at once
            drop(table, [name + OLD for name in old])
            table.cleanup_old_versions(older_than=KEPT)

    @contextmanager
    def writing(self) -> Iterator[lance.LanceDataset]:
        """The newest table, alone among all threads and processes that write.

        A handle of its own: one that is written through cannot be read from in other threads meanwhile.
        """
        require_store(self.path)  # a store that was removed does not come back with a lock in it
        with self._lock, hold(self.path / LOCK), saying_what_is_full(self.path):
            yield self._newest()
            self.refresh()

    def build_index(self) -> None:
        with self.writing() as table:
            lists = max(1, len(self) // LISTS_OF)
            table.create_index("vector", INDEX, metric=METRIC, replace=True, num_partitions=lists)

    @property
    def indexed(self) -> int:
        return sum(index.num_rows_indexed for index in self._table.describe_indices())

    def refresh(self) -> None:
        """Sees what other processes have written since."""
        with self._lock:
            self._table = self._newest()

    def refresh_columns(self) -> bool:
        """Sees columns that other processes have written since, where the rows are the same.  -> whether there are"""
        with self._lock:
            newest = self._newest()
            if newest.version == self._table.version or newest.count_rows() != len(self):
                return False
            self._table = newest
            return True

    def _newest(self) -> lance.LanceDataset:
        """Raises UserError where the store was removed since, and another one made in its place."""
        table = opened(self.path)
        about = about_of(table, self.path)
        if any(about.get(name) != self.about.get(name) for name in LASTING):
            raise UserError(f"store: {self.path} was replaced by another store since it was opened; open it again")
        return table

    def fold_marks(self) -> None:
        """Writes the labels given by hand as the column that `where` looks at."""
        with self._lock:
            version, labels = self.marks.snapshot()
            if version != self._folded or MARKED not in self._table.schema.names:
                self.write_columns({MARKED: [labels.get(id) for id in self.column("id")]})
                self._folded = version

    def _filter(self, expression: str) -> str:
        """A condition as the table understands it, with the labels given by hand where it asks for them."""
        whole = {field.name for field in self._table.schema if pa.types.is_integer(field.type)}
        condition = parse(expression, self.columns, whole)
        if MARKED in condition.columns:
            self.fold_marks()
        return condition.sql

    def _read(self, names: list[str], rows: Sequence[int] | np.ndarray | None) -> pa.Table:
        if rows is None:
            with plainly(self.path):
                return self._table.to_table(columns=names, scan_in_order=True)
        wanted = np.asarray(rows, np.int64)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise UserError(f"rows: {wanted.min()}..{wanted.max()} are not all within 0..{len(self) - 1}")
        with plainly(self.path):
            return self._table.take(wanted.tolist(), columns=names)


def leftovers(table: lance.LanceDataset) -> list[str]:
    """Columns of a process that was killed before, or after, they were those that count."""
    return [name for name in table.schema.names if name.endswith((FRESH, OLD))]


def drop(table: lance.LanceDataset, names: list[str]) -> None:
    if names:
        table.drop_columns(names)


def batches(first: pa.Table, rest: Iterator[pa.Table]) -> Iterator[pa.RecordBatch]:
    yield from first.to_batches()
    for table in rest:
        yield from table.to_batches()


def as_array(values: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_string(values.type):
        return values.to_numpy(zero_copy_only=False)
    return values.cast(pa.float64()).to_numpy(zero_copy_only=False)


def as_arrow(values: np.ndarray | Sequence[Any]) -> pa.Array:
    """Text or numbers; NaN and None are missing values."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iufb":
        return pa.array(values.astype(np.uint8) if values.dtype.kind == "b" else values, from_pandas=True)
    array = pa.array(list(values), from_pandas=True)
    if pa.types.is_boolean(array.type):  # the engine does not compare booleans with numbers
        return array.cast(pa.uint8())
    return pa.array([None] * len(array), pa.string()) if pa.types.is_null(array.type) else array


def matrix(values: pa.Array | pa.ChunkedArray, dim: int) -> np.ndarray:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return values.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
