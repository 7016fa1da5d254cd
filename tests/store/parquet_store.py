"""A kind of store in one file: a folder NAME.parquets with a Parquet table, read into memory and searched row by row.

It proves that `Store` is all a store has to do. Writing is whole or not at all, as `Store` asks.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from salience.errors import UserError
from salience.files import atomic, new_folder
from salience.locks import hold
from salience.store.condition import parse
from salience.store.marks import Marks
from salience.store.store import HIDDEN, MARKED, Hits, nearest_of
from salience.store_names import Kind

ITEMS = "items.parquet"
KIND = Kind(".parquets", ITEMS, "tests.store.parquet_store:ParquetStore")


def text_or_number(field: pa.Field) -> str:
    return "text" if pa.types.is_string(field.type) else "number"


def about_itself(table: pa.Table, about: Mapping[str, Any]) -> pa.Table:
    return table.replace_schema_metadata({"about": json.dumps(about)})


class ParquetStore:
    indexed = 0

    def __init__(self, path: Path):
        self.path = path
        self.uri, self.name = str(path), path.name
        self.table = pq.read_table(path / ITEMS)
        self.about: Mapping[str, Any] = json.loads(self.table.schema.metadata[b"about"])
        self.marks = Marks(path / "marks.sqlite")

    @classmethod
    def open(cls, path: Path) -> ParquetStore:
        return cls(path)

    @classmethod
    def create(cls, path: Path, tables: Iterator[pa.Table], about: Mapping[str, Any]) -> None:
        with new_folder(path) as folder:
            pq.write_table(about_itself(pa.concat_tables(tables), about), folder / ITEMS)

    @staticmethod
    def is_unfinished(path: Path) -> bool:
        return False

    @staticmethod
    def column_name(name: str, taken: Collection[str] = ()) -> str:
        return name if name not in taken else ParquetStore.column_name(f"{name}_", taken)

    def append(self, tables: Iterator[pa.Table], sources: Sequence[Mapping[str, Any]], *, replace: bool) -> None:
        grown = pa.concat_tables([self.table, *tables], promote_options="default").to_pandas()
        first = grown.groupby("id", sort=False).ngroup()  # the row that an id has, its first
        latest = grown.groupby(first).tail(1).assign(row=first).sort_values("row").drop(columns="row")
        assert replace or len(latest) == len(grown)
        table = pa.Table.from_pandas(latest, self.table.schema, preserve_index=False)
        self._write(table, {**self.about, "sources": list(sources)})

    def write_sources(self, sources: Sequence[Mapping[str, Any]]) -> None:
        self._write(self.table, {**self.about, "sources": list(sources)})

    def _write(self, table: pa.Table, about: Mapping[str, Any]) -> None:
        with hold(self.path / ".lock"), atomic(self.path / ITEMS) as temporary:
            pq.write_table(about_itself(table, about), temporary)
        self.__init__(self.path)  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def dim(self) -> int:
        return int(self.table.schema.field("vector").type.list_size)

    @property
    def columns(self) -> dict[str, str]:
        fields = [field for field in self.table.schema if field.name not in HIDDEN]
        return {field.name: text_or_number(field) for field in fields} | {MARKED: "text"}

    def identities(self) -> tuple[list[str], list[int]]:
        return self.table["id"].to_pylist(), self.table["content"].to_pylist()

    def column(self, name: str, rows: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        if name == MARKED:
            values = pd.Series([self.marks.all().get(id) for id in self.table["id"].to_pylist()], dtype=object)
        elif name in self.columns:
            values = pd.Series(self.table[name].to_pylist(), dtype=object if self.columns[name] == "text" else float)
        else:
            raise UserError(f"column: {self.name} has no column '{name}'")
        found = values.to_numpy()
        return found if rows is None else found[np.asarray(rows, np.int64)]

    def vectors(self, rows: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        found = self.table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, self.dim)
        return found if rows is None else found[np.asarray(rows, np.int64)]

    def blocks(self, size: int = 65536) -> Iterator[np.ndarray]:
        yield from (self.vectors()[first : first + size] for first in range(0, len(self), size))

    def thumbnails(self, rows: Sequence[int] | np.ndarray) -> list[bytes | None]:
        return self.table.take(np.asarray(rows, np.int64))["thumbnail"].to_pylist()

    def find(self, id: str) -> int | None:
        ids = self.table["id"].to_pylist()
        return ids.index(id) if id in ids else None

    def where(self, expression: str, limit: int | None = None) -> np.ndarray:
        sql = parse(expression, self.columns).sql
        with sqlite3.connect(":memory:") as engine:
            pd.DataFrame({name: self.column(name) for name in self.columns}).to_sql("items", engine, index_label="row")
            found = engine.execute(f"SELECT row FROM items WHERE {sql} ORDER BY row LIMIT {limit or -1}").fetchall()
        return np.array([row for (row,) in found], np.int64)

    def search(self, query: np.ndarray, k: int = 10, *, where: str | None = None, exact: bool = False) -> Hits:
        rows = np.arange(len(self)) if where is None else self.where(where)
        return nearest_of(query, k, rows, self.vectors(rows))

    def write_columns(self, columns: Mapping[str, np.ndarray | Sequence[Any]]) -> None:
        table = self.table.drop_columns([name for name in columns if name in self.table.schema.names])
        for name, values in columns.items():
            table = table.append_column(name, pa.array(values, from_pandas=True))
        self._write(table, self.about)

    def refresh_columns(self) -> bool:
        before, self.table = self.table, pq.read_table(self.path / ITEMS)
        return bool(before.schema != self.table.schema)

    def build_index(self) -> None:
        """All items are looked at."""
