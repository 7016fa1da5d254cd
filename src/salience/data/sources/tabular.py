"""Parquet, Arrow, Feather, CSV and DataFrames: a table of numbers and categories, or a column of encoded images.

Files are read batch by batch, never whole.
"""

from __future__ import annotations

import csv as csv_module
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from salience.data.labels import encode_groups, encode_known, encode_labels
from salience.data.source import Encoded, Found, Frames, Source, mark_of, mark_of_files
from salience.data.sources.arrays import values_for
from salience.data.sources.query import SPLITS, Query, choose_split
from salience.errors import UserError
from salience.modalities.decode import Blob, Refused

BATCH_ROWS = 1024
CSV_ROWS = 65536
UNNAMED = "Unnamed: "
SEPARATORS = ",;\t|"
IMAGE_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")


@dataclass(frozen=True)
class Table:
    """Rows and columns from anywhere.

    names: of the columns;  rows: how many
    frames: DataFrames of these columns, in order
    features: Hugging Face's description of the columns, empty where there is none
    image: the column that holds encoded images, None where none does
    texts: every cell is a text as it stood in a file
    folder: of the data file; image paths are relative to it and may not leave it. None for what a program built
    verbatim: `frames` in which only an empty cell is missing, where that makes a difference: "None" may be a label
    """

    names: list[str]
    frames: Callable[[list[str]], Iterator[pd.DataFrame]]
    features: dict[str, Any]
    image: str | None
    texts: bool = False
    folder: Path | None = None
    verbatim: Callable[[list[str]], Iterator[pd.DataFrame]] | None = None


def file(path: Path, query: Query) -> Source:
    """A Parquet, Arrow (file or stream), Feather, CSV or TSV file."""
    choose_split(query.split, ["train"], str(path))
    if path.suffix.lower() == ".parquet":
        return parquet_files([path], path.stem, "train", query)
    table = _csv_table if path.suffix.lower() in (".csv", ".tsv") else _arrow_table
    return _from_file(path.stem, "train", str(path.resolve()), mark_of_files([path]), lambda: table(path), query)


def parquet_folder(path: Path, query: Query) -> Source:
    """A folder of Parquet files named by split, such as train-00000-of-00002.parquet; others are all train."""
    splits = _parquet_splits(path)
    split = choose_split(query.split, splits, str(path))
    return parquet_files(splits[split], path.resolve().name, split, query)


def parquet_files(paths: Sequence[Path], name: str, split: str, query: Query) -> Source:
    location = f"{paths[0].resolve()} {len(paths)}"
    return _from_file(name, split, location, mark_of_files(paths), lambda: _parquet_table(paths), query)


def frame(data: Any, query: Query) -> Source:
    """A DataFrame in memory."""
    if not isinstance(data, pd.DataFrame):
        raise UserError(f"source: a pandas {type(data).__name__} is not read; give a DataFrame")
    choose_split(query.split, ["train"], "a DataFrame")
    return Source("dataframe", "train", lambda: found_in(_frame_table(data), query))


def _from_file(name: str, split: str, location: str, mark: str, table: Callable[[], Table], query: Query) -> Source:
    def read() -> Found:
        return found_in(table(), query)

    options = f"labels {_short(query.labels)} groups {_short(query.groups)}"
    return Source(name, split, read, mark_of([mark, options]), f"{location} {options}")


def found_in(table: Table, query: Query) -> Found:
    """Images or rows of a table, with the label and group columns taken out."""
    if repeated := {name for name in table.names if table.names.count(name) > 1}:
        raise UserError(f"source: more than one column is named '{min(repeated)}'; name them apart")
    label = _label_column(table, query)
    group = _column(table, query.groups, "groups") if isinstance(query.groups, str) else None
    labels, classes, notes = _labels(table, label, query)
    groups = _groups(table, group, query)
    if table.image is not None:
        rows, chunks = _image_chunks(table, table.image)
        return Found(Encoded(rows, chunks), None, labels, classes, groups, notes=notes)
    names = [name for name in table.names if name not in (label, group)]
    indices = [name for name in names if name.startswith(UNNAMED) or name == "__index_level_0__"]
    if indices:
        notes += (f"column '{indices[0]}' is left out: it numbers the rows",)
    names = [name for name in names if name not in indices]
    return Found(Frames(lambda: table.frames(names), table.texts), None, labels, classes, groups, notes=notes)


def _label_column(table: Table, query: Query) -> str | None:
    """The label column: as named, else the one named label, else Hugging Face's only ClassLabel."""
    if isinstance(query.labels, str):
        return _column(table, query.labels, "labels")
    if query.labels is not None:
        return None
    named = [name for name in table.names if name.lower() == "label"]
    class_labels = [name for name in table.names if _class_names(table, name)]
    return next(iter(named), class_labels[0] if len(class_labels) == 1 else None)


def _column(table: Table, name: str, argument: str) -> str:
    if name not in table.names:
        raise UserError(f"{argument}: there is no column '{name}'; there are: {', '.join(table.names[:20])}")
    return name


def _labels(table: Table, column: str | None, query: Query) -> tuple[Any, tuple[str, ...], tuple[str, ...]]:
    if column is None:
        given = None if query.labels is None else values_for(query.labels, _count(table), "labels")
        return (None, (), ()) if given is None else (*encode_labels(given, measurements=True), ())
    values = _values(table.verbatim or table.frames, column)
    if names := _class_names(table, column):
        return encode_known(values, names, f"labels: column '{column}'"), tuple(names), ()
    named = isinstance(query.labels, str)  # by the user, who may want a regression target
    try:
        return (*encode_labels(_parsed(values) if table.texts else values, measurements=named), ())
    except UserError:
        if named:
            raise
        told = f"column '{column}' is left out: it holds measurements, not classes; name it with --labels to predict it"
        return None, (), (told,)


def _groups(table: Table, column: str | None, query: Query) -> Any:
    if column is not None:
        return encode_groups(_values(table.frames, column))
    given = None if query.groups is None else values_for(query.groups, _count(table), "groups")
    return None if given is None else encode_groups(given)


def _values(frames: Callable[[list[str]], Iterator[pd.DataFrame]], column: str) -> pd.Series:
    return pd.concat([chunk[column] for chunk in frames([column])], ignore_index=True)


def _parsed(values: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce")
    return numbers if numbers.notna().sum() == values.notna().sum() else values


def _count(table: Table) -> int:
    return sum(len(chunk) for chunk in table.frames(table.names[:1]))


def _image_chunks(table: Table, column: str) -> tuple[int, Callable[[], Iterator[list[Blob]]]]:
    """How many images there are, and their bytes or paths."""

    folder = table.folder and table.folder.resolve()

    def chunks() -> Iterator[list[Blob]]:
        for chunk in table.frames([column]):
            cells = chunk[column].to_list()
            for start in range(0, len(cells), BATCH_ROWS):
                yield [_blob(cell, folder) for cell in cells[start : start + BATCH_ROWS]]

    other = next((name for name in table.names if name != column), column)
    return sum(len(chunk) for chunk in table.frames([other])), chunks


def _blob(cell: Any, folder: Path | None) -> Blob:
    """An encoded image out of a cell: bytes, a path, or {"bytes": ..., "path": ...}."""
    if isinstance(cell, dict):
        cell = cell.get("bytes") if cell.get("bytes") is not None else cell.get("path")
    if isinstance(cell, str):
        return cell if folder is None else _path_within(folder, cell)
    return bytes(cell) if isinstance(cell, (bytes, bytearray, memoryview)) else None


def _path_within(folder: Path, name: str) -> str | Refused:
    """Data from elsewhere must not name the user's other files: what is shown of them could be passed on."""
    try:
        path = (folder / name).resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, a loop of links
        return Refused("its path is no path")
    return str(path) if path.is_relative_to(folder) else Refused("its path leads out of the data file's folder")


def _class_names(table: Table, column: str) -> list[str]:
    feature = table.features.get(column, {})
    return list(feature.get("names") or []) if feature.get("_type") == "ClassLabel" else []


def arrow_image_column(schema: pa.Schema, features: dict[str, Any]) -> str | None:
    """The first column that Hugging Face calls an image, or that is a struct with bytes, or is named so and binary."""
    for column in schema:
        described = features.get(column.name, {}).get("_type") == "Image"
        struct = pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0
        binary = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
        if described or struct or binary:
            name: str = column.name
            return name
    return None


def arrow_features(schema: pa.Schema) -> dict[str, Any]:
    """What Hugging Face's metadata say of the columns."""
    metadata = (schema.metadata or {}).get(b"huggingface")
    try:
        return dict(json.loads(metadata)["info"]["features"]) if metadata else {}
    except (ValueError, KeyError, TypeError):
        return {}


def _parquet_table(paths: Sequence[Path]) -> Table:
    try:
        schema = pq.read_schema(paths[0])
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"source: {paths[0]} cannot be read as Parquet: {_one_line(error)}") from error
    features = arrow_features(schema)

    def frames(columns: list[str]) -> Iterator[pd.DataFrame]:
        for path in paths:
            yield from _guarded(_parquet_batches(path, columns), path)

    return Table(schema.names, frames, features, arrow_image_column(schema, features), folder=paths[0].parent)


def _parquet_batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path, memory_map=True) as file:
        yield from file.iter_batches(BATCH_ROWS if _is_wide(file.schema_arrow, columns) else CSV_ROWS, columns=columns)


def _is_wide(schema: pa.Schema, columns: list[str]) -> bool:
    return any(
        pa.types.is_nested(schema.field(name).type) or pa.types.is_binary(schema.field(name).type) for name in columns
    )


def _arrow_table(path: Path) -> Table:
    try:
        with _ipc(path) as reader:
            schema = reader.schema
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"source: {path} cannot be read as Arrow: {_one_line(error)}") from error
    features = arrow_features(schema)

    def frames(columns: list[str]) -> Iterator[pd.DataFrame]:
        yield from _guarded(_arrow_batches(path, columns), path)

    return Table(schema.names, frames, features, arrow_image_column(schema, features), folder=path.parent)


def _ipc(path: Path) -> Any:
    source = pa.memory_map(str(path))
    try:
        return pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source)


def _arrow_batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with _ipc(path) as reader:
        files = hasattr(reader, "get_batch")
        batches = (reader.get_batch(i) for i in range(reader.num_record_batches)) if files else iter(reader)
        for batch in batches:
            for start in range(0, batch.num_rows, CSV_ROWS):
                yield batch.slice(start, CSV_ROWS).select(columns)


def _guarded(batches: Iterator[pa.RecordBatch], path: Path) -> Iterator[pd.DataFrame]:
    try:
        for batch in batches:
            yield batch.to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"source: {path} is damaged: {_one_line(error)}") from error


def _csv_table(path: Path) -> Table:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"source: {path} cannot be read as CSV: {_one_line(error)}; save it as UTF-8") from error
    if not line.strip():
        raise UserError(f"source: {path} is empty; a line of column names and rows are needed")
    separator = max(SEPARATORS, key=line.count)
    header = next(csv_module.reader([line], delimiter=separator, skipinitialspace=True))
    names = [name.strip() or f"{UNNAMED}{i}" for i, name in enumerate(header)]

    def frames(columns: list[str]) -> Iterator[pd.DataFrame]:
        for chunk in _csv_chunks(path, separator, names):
            yield chunk[columns]

    def verbatim(columns: list[str]) -> Iterator[pd.DataFrame]:
        for chunk in _csv_chunks(path, separator, names, verbatim=True):
            yield chunk[columns]

    return Table(names, frames, {}, None, texts=True, folder=path.parent, verbatim=verbatim)


def _csv_chunks(path: Path, separator: str, names: list[str], *, verbatim: bool = False) -> Iterator[pd.DataFrame]:
    """Cells as texts; empty ones are missing, and unless `verbatim` those that say so ("NA", "None", "nan").

    A row longer than the header is an error, never shifted or cut.
    """
    try:
        reader = pd.read_csv(
            path, sep=separator, names=names, header=0, index_col=False, dtype=str, chunksize=CSV_ROWS,
            encoding="utf-8-sig", skipinitialspace=True, keep_default_na=not verbatim, na_values=[""],
        )  # fmt: skip
        with reader:
            while True:
                with warnings.catch_warnings():
                    warnings.simplefilter("error", pd.errors.ParserWarning)
                    chunk = next(reader, None)
                if chunk is None:
                    return
                yield chunk
    except (ValueError, OSError, pd.errors.ParserWarning) as error:
        raise UserError(f"source: {path} cannot be read as CSV: {_one_line(error)}") from error


def _frame_table(data: pd.DataFrame) -> Table:
    data = data.rename(columns=str)

    def frames(columns: list[str]) -> Iterator[pd.DataFrame]:
        yield data[columns]

    image = next((str(name) for name in data.columns if _holds_images(data[name])), None)
    return Table([str(name) for name in data.columns], frames, {}, image)


def _holds_images(column: Any) -> bool:
    if not isinstance(column, pd.Series) or column.dtype != object or column.dropna().empty:
        return False
    cell = column.dropna().iloc[0]
    if isinstance(cell, dict):
        return "bytes" in cell
    return isinstance(cell, bytes) and cell.startswith(IMAGE_MAGIC)


def _parquet_splits(folder: Path) -> dict[str, list[Path]]:
    files = sorted(Path(entry.path) for entry in os.scandir(folder) if entry.name.endswith(".parquet"))
    splits: dict[str, list[Path]] = {}
    for path in files:
        match = re.match(rf"({'|'.join(SPLITS)})(?![A-Za-z])", path.name)
        splits.setdefault(match[1] if match else "train", []).append(path)
    return splits


def _short(given: Any) -> str:
    if given is None or isinstance(given, str):
        return str(given)
    return mark_of(pd.Series(given).astype(str))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
