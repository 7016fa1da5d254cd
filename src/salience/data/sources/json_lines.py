"""JSON lines: a file with one JSON object a line, also compressed. Objects are rows of a table.

A line ends with a line feed or a carriage return only, because JSON texts may contain any other separator, such as
U+2028.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import pandas as pd

from salience.data.sources.query import Query
from salience.data.sources.raw_table import Table
from salience.data.sources.split_column import get_requested_split
from salience.data.sources.tabular import from_file
from salience.errors import UserError
from salience.fields.source import Source, mark_of_files
from salience.modalities.text.encodings import SURROGATE, find_encoding
from salience.units import counted

ROWS = 4096  # of a chunk
MOST_BYTES = 1 << 26  # of the lines of a chunk
LONGEST = 1 << 28  # bytes of a line
PIECE = 1 << 20  # bytes that are read at once


def open_json_lines(path: Path, query: Query) -> Source:
    """Open a file of JSON lines, or a compressed one (.jsonl.gz)."""
    name = path.name.split(".jsonl")[0].split(".ndjson")[0]
    location, mark = str(path.resolve()), mark_of_files([path])
    return from_file(name, get_requested_split(query), location, mark, lambda: _table(path), query)


def _table(path: Path) -> Table:
    file = _File(path)
    return Table(file.columns(), file.frames, {}, None, folder=path.parent, late_notes=file.notes)


@dataclass
class _File:
    """A file of JSON lines.

    Attributes:
        bad: (number of the line, reason) of lines that are no objects, of the last pass.
    """

    path: Path
    bad: list[tuple[int, str]] = field(default_factory=list)

    def columns(self) -> list[str]:
        """Return the names of all objects, in order. Raises UserError if no line is an object."""
        names: dict[str, None] = {}
        rows = 0
        for some in self._chunks():
            rows += len(some)
            for one in some:
                names.update(dict.fromkeys(one))
        if not rows:
            first = f"; line {self.bad[0][0]} {self.bad[0][1]}" if self.bad else ""
            raise UserError(f"source: {self.path}: expected a JSON object on each line, found none{first}")
        return list(names)

    def frames(self, columns: list[str]) -> Iterator[pd.DataFrame]:
        """Iterate over the objects as rows; nested values become JSON text."""
        for some in self._chunks():
            yield pd.DataFrame({name: pd.Series([_cell(one.get(name)) for one in some]) for name in columns})

    def notes(self) -> tuple[str, ...]:
        """Return a note on the lines that are left out."""
        if not self.bad:
            return ()
        number, reason = self.bad[0]
        verb = "is" if len(self.bad) == 1 else "are"
        return (f"{counted(len(self.bad), 'line')} {verb} left out; the first is line {number:,}, which {reason}",)

    def _chunks(self) -> Iterator[list[dict[str, Any]]]:
        self.bad = []
        rows, size = list[dict[str, Any]](), 0
        for number, line in self._lines():
            row = self._parsed(number, line)
            if row is None:
                continue
            rows.append(row)
            size += len(line or b"")
            if len(rows) >= ROWS or size >= MOST_BYTES:
                yield rows
                rows, size = [], 0
        if rows:
            yield rows

    def _parsed(self, number: int, line: bytes | None) -> dict[str, Any] | None:
        if line is None:
            self.bad.append((number, f"is longer than {LONGEST >> 20} MB"))
            return None
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError:
            self.bad.append((number, "is not UTF-8"))
        except (ValueError, RecursionError) as error:
            self.bad.append((number, f"is not JSON ({' '.join(str(error).split())[:80]})"))
        else:
            if isinstance(row, dict):
                return {SURROGATE.sub("\ufffd", name): value for name, value in row.items()}
            self.bad.append((number, f"is {type(row).__name__}, not an object"))
        return None

    def _lines(self) -> Iterator[tuple[int, bytes | None]]:
        """Iterate over (number, line) of lines that are not empty; None for one that is too long."""
        try:
            with self._open() as file:
                for number, line in enumerate(_split(file), 1):
                    if line is None or line.strip():
                        yield number, line
        except (OSError, EOFError, zlib.error, UnicodeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise UserError(f"source: {self.path} cannot be read as JSON lines: {reason}") from error

    def _open(self) -> BinaryIO:
        """Open the file as UTF-8, without a byte order mark."""
        opened = cast(BinaryIO, gzip.open(self.path) if self.path.suffix.lower() == ".gz" else self.path.open("rb"))  # noqa: SIM115
        encoding = find_encoding(opened.read(4))
        opened.seek(0)
        if encoding.startswith(("utf-16", "utf-32")):
            return cast(BinaryIO, _Recoded(opened, encoding))
        if encoding == "utf-8-sig":
            opened.read(3)
        return opened


class _Recoded:
    """A binary file in another encoding, read as UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        import codecs

        self.file = file
        self.decoder = codecs.getincrementaldecoder(encoding)()

    def __enter__(self) -> _Recoded:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def read(self, size: int) -> bytes:
        while data := self.file.read(size):
            if text := self.decoder.decode(data):
                return text.encode("utf-8", "replace")
        return self.decoder.decode(b"", final=True).encode("utf-8", "replace")


def _split(file: Any) -> Iterator[bytes | None]:
    """Iterate over lines in constant memory; None for one that is too long."""
    parts, size = list[bytes](), 0
    while piece := file.read(PIECE):
        *ended, rest = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in ended:
            yield None if size > LONGEST else b"".join([*parts, line])
            parts, size = [], 0
        size += len(rest)
        parts = [*parts, rest] if size <= LONGEST else []
    if size:
        yield None if size > LONGEST else b"".join(parts)


def _cell(value: Any) -> Any:
    """Return a value as a cell: nested ones as JSON, texts without surrogates, which Arrow cannot store."""
    if isinstance(value, dict | list):
        return json.dumps(value)
    return SURROGATE.sub("\ufffd", value) if isinstance(value, str) and not value.isascii() else value
