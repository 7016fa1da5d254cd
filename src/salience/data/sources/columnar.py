"""Parquet, Arrow and Feather files, read in batches by a separate process."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pandas.api.extensions import ExtensionDtype

from salience.data.sources.columnar_process import Reader
from salience.data.sources.query import Query, choose_split, split_of
from salience.data.sources.raw_table import Table
from salience.data.sources.split_column import get_requested_split
from salience.data.sources.tabular import BATCH_ROWS, CHUNK_ROWS, from_file, image_column, one_line
from salience.errors import UserError
from salience.fields.source import Source, mark_of_files

NULLABLE: dict[str, ExtensionDtype] = {
    "int8": pd.Int8Dtype(),
    "int16": pd.Int16Dtype(),
    "int32": pd.Int32Dtype(),
    "int64": pd.Int64Dtype(),
    "uint8": pd.UInt8Dtype(),
    "uint16": pd.UInt16Dtype(),
    "uint32": pd.UInt32Dtype(),
    "uint64": pd.UInt64Dtype(),
}


def open_parquet(path: Path, query: Query) -> Source:
    """Open a Parquet file."""
    return open_parquet_files([path], path.stem, get_requested_split(query), query)


def open_arrow(path: Path, query: Query) -> Source:
    """Open an Arrow file or stream, or a Feather file."""
    return from_file(
        path.stem,
        get_requested_split(query),
        str(path.resolve()),
        mark_of_files([path]),
        lambda: _table([path], "arrow"),
        query,
    )


def open_parquet_folder(path: Path, query: Query) -> Source:
    """Open a folder of Parquet files named by split, such as train-00000-of-00002.parquet; others belong to train."""
    splits = _parquet_splits(path)
    split = choose_split(query.split, splits, str(path))
    source = open_parquet_files(splits[split], path.resolve().name, split, replace(query, split=None))
    return replace(source, splits=tuple(splits) if len(splits) > 1 else ())


def open_parquet_files(paths: Sequence[Path], name: str, split: str, query: Query) -> Source:
    location = f"{paths[0].resolve()} {len(paths)}"
    return from_file(name, split, location, mark_of_files(paths), lambda: _table(paths, "parquet"), query)


def arrow_image_column(
    schema: pa.Schema, features: dict[str, Any], frames: Callable[[list[str]], Iterator[pd.DataFrame]]
) -> str | None:
    """Find the image column: the one declared by Hugging Face, otherwise the first whose bytes are images."""
    names: list[str] = [column.name for column in schema]
    described = (name for name in names if features.get(name, {}).get("_type") == "Image")
    return next(described, None) or image_column([column.name for column in schema if _has_bytes(column.type)], frames)


def binary_columns(schema: pa.Schema) -> tuple[str, ...]:
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return tuple(field.name for field in schema if any(is_kind(field.type) for is_kind in kinds))


def _has_bytes(kind: pa.DataType) -> bool:
    struct = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    return struct or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def arrow_features(schema: pa.Schema) -> dict[str, Any]:
    """Return Hugging Face's description of the columns from the metadata; empty if the metadata are damaged."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: feature for name, feature in features.items() if _is_feature(feature)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _is_feature(feature: Any) -> bool:
    if not isinstance(feature, dict):
        return False  # a list describes a column of lists
    names = feature.get("names")
    return names is None or (isinstance(names, list) and all(isinstance(name, str) for name in names))


def _table(paths: Sequence[Path], form: str) -> Table:
    """Make a table of files with the same columns, in order. `form`: "parquet" or "arrow"."""
    reader = Reader(form, rows=CHUNK_ROWS, wide_rows=BATCH_ROWS)
    schema = reader.schema(paths[0])
    names, features = _names(schema, paths[0]), arrow_features(schema)

    def frames(columns: list[str]) -> Iterator[pd.DataFrame]:
        for path in paths:
            for batch in reader.batches(path, columns):
                yield _to_pandas(batch, path)

    image = arrow_image_column(schema, features, frames)
    return Table(
        names,
        frames,
        features,
        image,
        folder=paths[0].parent,
        index=_named_index(schema),
        binary=binary_columns(schema),
    )


def _names(schema: pa.Schema, path: Path) -> list[str]:
    try:
        return list(schema.names)
    except UnicodeDecodeError as error:
        raise UserError(f"source: {path} is damaged: a column name is not valid text: {one_line(error)}") from error


def _named_index(schema: pa.Schema) -> tuple[str, ...]:
    """Return the named columns that were the index of the DataFrame saved by pandas."""
    try:
        columns = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
        return tuple(name for name in columns if isinstance(name, str) and not name.startswith("__index_level_"))
    except (ValueError, TypeError, AttributeError, RecursionError):  # damaged
        return ()


def _to_pandas(batch: pa.RecordBatch, path: Path) -> pd.DataFrame:
    """Convert a batch to pandas; integer columns with missing values stay integers."""
    incomplete = {column.type for column in batch.columns if column.null_count and pa.types.is_integer(column.type)}
    try:
        return batch.to_pandas(types_mapper=lambda kind: NULLABLE[str(kind)] if kind in incomplete else None)
    except Exception as error:  # pyarrow and pandas can raise any exception for a value out of range
        raise UserError(f"source: {path} contains values that pandas cannot represent: {one_line(error)}") from error


def _parquet_splits(folder: Path) -> dict[str, list[Path]]:
    files = sorted(Path(entry.path) for entry in os.scandir(folder) if entry.name.endswith(".parquet"))
    splits: dict[str, list[Path]] = {}
    for path in files:
        first = re.match(r"[A-Za-z]*", path.name)
        splits.setdefault((first and split_of(first[0])) or "train", []).append(path)
    return splits
