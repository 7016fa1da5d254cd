"""Parquet, Arrow and Feather files, read batch by batch, never whole."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from salience.data.source import Source, mark_of_files
from salience.data.sources.query import SPLITS, Query, choose_split
from salience.data.sources.tabular import BATCH_ROWS, CHUNK_ROWS, Table, from_file, image_column, one_line
from salience.errors import UserError


def parquet(path: Path, query: Query) -> Source:
    """A Parquet file."""
    choose_split(query.split, ["train"], str(path))
    return parquet_files([path], path.stem, "train", query)


def arrow(path: Path, query: Query) -> Source:
    """An Arrow file or stream, or a Feather file."""
    choose_split(query.split, ["train"], str(path))
    return from_file(path.stem, "train", str(path.resolve()), mark_of_files([path]), lambda: _arrow_table(path), query)


def parquet_folder(path: Path, query: Query) -> Source:
    """A folder of Parquet files named by split, such as train-00000-of-00002.parquet; others are all train."""
    splits = _parquet_splits(path)
    split = choose_split(query.split, splits, str(path))
    return parquet_files(splits[split], path.resolve().name, split, query)


def parquet_files(paths: Sequence[Path], name: str, split: str, query: Query) -> Source:
    location = f"{paths[0].resolve()} {len(paths)}"
    return from_file(name, split, location, mark_of_files(paths), lambda: _parquet_table(paths), query)


def arrow_image_column(
    schema: pa.Schema, features: dict[str, Any], frames: Callable[[list[str]], Iterator[pd.DataFrame]]
) -> str | None:
    """The column that Hugging Face calls an image, else the first one of bytes, or of structs with bytes, that are."""
    names: list[str] = [column.name for column in schema]
    described = (name for name in names if features.get(name, {}).get("_type") == "Image")
    return next(described, None) or image_column([column.name for column in schema if _has_bytes(column.type)], frames)


def _has_bytes(kind: pa.DataType) -> bool:
    struct = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    return struct or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


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
        raise UserError(f"source: {paths[0]} cannot be read as Parquet: {one_line(error)}") from error
    features = arrow_features(schema)

    def frames(columns: list[str]) -> Iterator[pd.DataFrame]:
        for path in paths:
            yield from _guarded(_parquet_batches(path, columns), path)

    return Table(schema.names, frames, features, arrow_image_column(schema, features, frames), folder=paths[0].parent)


def _parquet_batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path, memory_map=True) as file:
        yield from file.iter_batches(
            BATCH_ROWS if _is_wide(file.schema_arrow, columns) else CHUNK_ROWS, columns=columns
        )


def _is_wide(schema: pa.Schema, columns: list[str]) -> bool:
    return any(
        pa.types.is_nested(schema.field(name).type) or pa.types.is_binary(schema.field(name).type) for name in columns
    )


def _arrow_table(path: Path) -> Table:
    try:
        with _ipc(path) as reader:
            schema = reader.schema
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"source: {path} cannot be read as Arrow: {one_line(error)}") from error
    features = arrow_features(schema)

    def frames(columns: list[str]) -> Iterator[pd.DataFrame]:
        yield from _guarded(_arrow_batches(path, columns), path)

    return Table(schema.names, frames, features, arrow_image_column(schema, features, frames), folder=path.parent)


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
            for start in range(0, batch.num_rows, CHUNK_ROWS):
                yield batch.slice(start, CHUNK_ROWS).select(columns)


def _guarded(batches: Iterator[pa.RecordBatch], path: Path) -> Iterator[pd.DataFrame]:
    try:
        for batch in batches:
            yield batch.to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"source: {path} is damaged: {one_line(error)}") from error


def _parquet_splits(folder: Path) -> dict[str, list[Path]]:
    files = sorted(Path(entry.path) for entry in os.scandir(folder) if entry.name.endswith(".parquet"))
    splits: dict[str, list[Path]] = {}
    for path in files:
        match = re.match(rf"({'|'.join(SPLITS)})(?![A-Za-z])", path.name)
        splits.setdefault(match[1] if match else "train", []).append(path)
    return splits
