"""CSV and TSV files, read in chunks. Cells stay text until the kind of their column is known."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, cast

import pandas as pd

from salience.data.sources.dialect import COMMENT, SPACE, Dialect, find_dialect, read_numbered_rows
from salience.data.sources.query import Query
from salience.data.sources.raw_table import Table
from salience.data.sources.split_column import get_requested_split
from salience.data.sources.tabular import CHUNK_ROWS, from_file, one_line
from salience.errors import UserError
from salience.fields.source import Source, mark_of_files
from salience.reading import Reading
from salience.units import counted

READ_AT_ONCE = 1 << 18  # characters
EMPTY = [" " * count for count in range(33)]  # cells of spaces alone are empty


def open_csv(path: Path, query: Query) -> Source:
    """Open a CSV or TSV file."""
    location, mark = str(path.resolve()), mark_of_files([path])
    return from_file(
        path.stem, get_requested_split(query), location, mark, lambda: _csv_table(path, query.reading), query
    )


def _csv_table(path: Path, reading: Reading) -> Table:
    dialect = find_dialect(path, reading)
    file = _File(path, dialect)
    return Table(
        file.columns, file.frames, {}, None, texts=True, folder=path.parent, comma=dialect.separator == ";",
        notes=dialect.notes, late_notes=file.notes, found=dialect.header.found,
    )  # fmt: skip


@dataclass
class _File:
    """A CSV file with its dialect. `maybe_short`: a last cell is missing, so a row may have fewer cells."""

    path: Path
    dialect: Dialect
    maybe_short: bool = False

    @property
    def names(self) -> list[str]:
        """Names of all cells of a row, including the row name."""
        return self.dialect.header.names

    @property
    def columns(self) -> list[str]:
        return self.names[self.dialect.header.row_names :]

    def frames(self, columns: list[str]) -> Iterator[pd.DataFrame]:
        """Iterate over chunks of cells as text; empty cells are missing. A row longer than the header is an error."""
        try:
            with _table_in(self.path, self.dialect) as file, _reader(file, self.dialect) as reader:
                while (chunk := _next(reader)) is not None:
                    self.maybe_short |= bool(chunk[self.names[-1]].isna().any())
                    yield chunk[columns]
        except UnicodeError as error:
            reason = f"{one_line(error)}; save it as UTF-8"
            raise UserError(f"source: {self.path} cannot be read as CSV: {reason}") from error
        except (ValueError, OSError, pd.errors.ParserWarning) as error:
            self._refuse_long_rows()
            raise UserError(f"source: {self.path} cannot be read as CSV: {one_line(error)}") from error

    def notes(self) -> tuple[str, ...]:
        """Return a note on rows with fewer cells than columns."""
        if not self.maybe_short:
            return ()
        width = len(self.names)
        short = [row for row, (_, cells) in enumerate(self._rows()) if len(cells) < width]
        if not short:
            return ()
        have = "has" if len(short) == 1 else "have"
        return (
            f"{counted(len(short), 'row')} {have} fewer cells than the {width} columns, the first is row {short[0]}; "
            "missing cells at the end are missing values",
        )

    def _refuse_long_rows(self) -> None:
        width = len(self.names)
        for row, (line, cells) in enumerate(self._rows()):
            if len(cells) > width:
                raise UserError(
                    f"source: {self.path} cannot be read as CSV: expected {counted(width, 'cell')} in each row, as in "
                    f"its first line, got {len(cells)} in row {row} (line {line}); put texts that contain the "
                    "separator in quotes"
                )

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Iterate over (line number, cells) of every row below the header."""
        with _table_in(self.path, self.dialect) as file:
            rows = read_numbered_rows(file, self.dialect.separator, self.path, blanks=self.dialect.blanks)
            if self.dialect.header.there:
                next(rows, None)
            yield from ((line + self.dialect.skip, cells) for line, cells in rows)


def _reader(file: TextIO, dialect: Dialect) -> pd.io.parsers.TextFileReader:
    separator = r"\s+" if dialect.separator == SPACE else dialect.separator
    return pd.read_csv(
        file, sep=separator, names=dialect.header.names, header=0 if dialect.header.there else None, index_col=False,
        dtype=str, chunksize=CHUNK_ROWS, skipinitialspace=dialect.blanks, keep_default_na=False, na_values=EMPTY,
    )  # fmt: skip


def _next(reader: pd.io.parsers.TextFileReader) -> pd.DataFrame | None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return next(reader, None)


def _table_in(path: Path, dialect: Dialect) -> TextIO:
    """Open the file at the start of its table."""
    file = path.open(encoding=dialect.encoding, newline="")
    for _ in range(dialect.skip):
        file.readline()
    return cast(TextIO, _WithoutComments(file)) if dialect.comments else file


class _WithoutComments(io.TextIOBase):
    """A text file without the lines that begin with #."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def read(self, size: int | None = -1) -> str:
        most = READ_AT_ONCE if size is None or size < 0 else size
        lines: list[str] = []
        while sum(map(len, lines[-1:])) < most and (line := self.readline()):
            lines.append(line)
            most -= len(line)
        return "".join(lines)

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        while (line := self.file.readline()).startswith(COMMENT):
            pass
        return line

    def close(self) -> None:
        self.file.close()
        super().close()
