"""CSV and TSV files, read in chunks, never whole. Every cell stays a text until its column's kind is known."""

from __future__ import annotations

import csv as csv_module
import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from salience.data.source import Source, mark_of_files
from salience.data.sources.query import Query, choose_split
from salience.data.sources.tabular import CHUNK_ROWS, UNNAMED, Table, from_file, one_line
from salience.errors import UserError

SEPARATORS = ",;\t|"


def csv(path: Path, query: Query) -> Source:
    """A CSV or TSV file."""
    choose_split(query.split, ["train"], str(path))
    return from_file(path.stem, "train", str(path.resolve()), mark_of_files([path]), lambda: _csv_table(path), query)


def _csv_table(path: Path) -> Table:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"source: {path} cannot be read as CSV: {one_line(error)}; save it as UTF-8") from error
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
            path, sep=separator, names=names, header=0, index_col=False, dtype=str, chunksize=CHUNK_ROWS,
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
        raise UserError(f"source: {path} cannot be read as CSV: {one_line(error)}") from error
