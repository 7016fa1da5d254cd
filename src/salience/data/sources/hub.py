"""Hugging Face: Dataset objects, and hf://owner/name, downloaded with the datasets library."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from salience.data.sources.columnar import arrow_image_column, binary_columns
from salience.data.sources.query import Query, choose_split
from salience.data.sources.raw_table import Table
from salience.data.sources.tabular import BATCH_ROWS, CELLS, read_items
from salience.errors import MissingPackage, UserError
from salience.fields.source import Source, mark_of


def open_dataset(data: Any, query: Query) -> Source:
    """Open a Dataset, or one split of a DatasetDict."""
    kind = type(data).__name__
    if kind == "DatasetDict":
        split = choose_split(query.split, data.keys(), "the DatasetDict")
        return replace(_source(data[split], "dataset", split, query), splits=tuple(data))
    if kind != "Dataset":
        raise UserError(f"source: unsupported Hugging Face type {kind}; give a Dataset (load it without streaming)")
    split = str(data.split or "train")
    choose_split(query.split, [split], "the Dataset")
    return _source(data, data.info.dataset_name or "dataset", split, query)


def open_named(name: str, query: Query) -> Source:
    """Open owner/name or owner/name/configuration, downloaded to Hugging Face's cache."""
    parts = name.strip("/").split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise UserError(f"source: expected hf://owner/name or hf://owner/name/configuration, got hf://{name}")
    datasets = _library()
    identity = "/".join(parts[:2])
    try:
        there = datasets.get_dataset_split_names(identity, *parts[2:])
        split = choose_split(query.split, there, f"hf://{name}")
        data = datasets.load_dataset(identity, *parts[2:], split=split)
    except UserError:
        raise
    except Exception as error:  # the library can raise any exception for what it cannot download
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"source: hf://{name} cannot be opened: {reason}; check the name and the network") from error
    return replace(_source(data, parts[1], split, query), splits=tuple(there))


def _library() -> Any:
    os.environ["HF_UPDATE_DOWNLOAD_COUNTS"] = "0"  # opening data must not be reported to a server
    try:
        import datasets
    except ImportError as error:
        raise MissingPackage("source: hf:// needs datasets; install it with pip install 'salience[hub]'") from error
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    return datasets


def _source(data: Any, name: str, split: str, query: Query) -> Source:
    features = data.features.to_dict()
    schema = data.features.arrow_schema
    arrow = data.with_format("arrow")

    def frames(columns: list[str]) -> Iterator[pd.DataFrame]:
        for batch in arrow.select_columns(columns).iter(BATCH_ROWS):
            yield batch.to_pandas()

    table = Table(
        list(schema.names),
        frames,
        features,
        arrow_image_column(schema, features, frames),
        binary=binary_columns(schema),
    )
    options = [split, query.labels, query.groups, query.reading]
    mark = mark_of([data._fingerprint, CELLS, *options])
    return Source(
        name, split, lambda: read_items(table, replace(query, split=None), name), mark, mark_of([name, *options])
    )
