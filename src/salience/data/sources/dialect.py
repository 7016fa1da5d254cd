"""Detection of the dialect of a CSV file: its encoding, the start of its table, and the separator of its cells.

The separator is the one that splits most lines into as many cells as the first line. (`csv.Sniffer` fails with decimal
commas and texts. Its criterion for a header, a different type than the cells below, is used in `csv_header`.)
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from salience.csv_text import encoding_of
from salience.data.sources.csv_header import SHOWN, Header, find_header, have_row_names, is_number
from salience.errors import UserError
from salience.reading import Reading
from salience.units import are, counted, printable

SEPARATORS = "\t;|,"  # if several fit, the first is used: commas may be decimal commas
RARE = ":~^"  # separators only if they split every line into the same number of cells
SPACE = " "
CALLED = {"\t": "tabs", ";": "semicolons", "|": "bars (|)", ",": "commas", ":": "colons", SPACE: "spaces"}
LINES = 200  # number of lines that are examined
LONGEST = 1 << 24  # characters of the lines that are examined
LOOKED_AT = 1 << 20  # characters that are examined for spaces after separators
COMMENT = "#"
EXCEL = "sep="
TIMES = re.compile(r"\d:\d|://")


@dataclass(frozen=True)
class Dialect:
    """The dialect of a CSV file.

    Attributes:
        encoding: Encoding of the text.
        separator: Separator of the cells.
        skip: Number of lines before the table.
        header: Names of the columns.
        blanks: Whether spaces after a separator are removed.
        comments: Whether the table may contain comment lines.
        notes: Notes on what was inferred.
    """

    encoding: str
    separator: str
    skip: int
    header: Header
    blanks: bool = False
    comments: bool = False
    notes: tuple[str, ...] = ()


def find_dialect(path: Path, reading: Reading) -> Dialect:
    """Detect the dialect of a CSV file. Raises UserError if it is empty or not a table."""
    encoding, lines = _first_lines(path)
    skip, said, comments = _preamble(lines)
    table = [line for line in lines[skip:] if line.strip() and not (comments and line.startswith(COMMENT))]
    if not table:
        raise UserError(f"source: {path} is empty; expected a line of column names, then rows")
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    separator = reading.separator or said or _separator(table, usual)
    blanks, notes = _blanks(table, separator)
    rows = split_rows(table, separator, path, blanks=blanks)
    if reading.separator is None:
        notes = (*_on_separator(table, rows, separator, usual), *notes)
    if comments:
        above_it = f"{counted(len(comments), 'comment line')} above the table {are(len(comments))}"
        notes += (f"{above_it} skipped: {printable(comments[0])[:SHOWN]}",)
    above = split_rows([comments[-1].lstrip(COMMENT)], separator, path, blanks=True)[:1] if comments else []
    header = find_header(rows, table[0], above[0] if above else [], reading.header)
    return Dialect(encoding, separator, skip, header, blanks, bool(comments), (*notes, *header.notes))


def split_rows(lines: Iterable[str], separator: str, path: Path, *, blanks: bool) -> list[list[str]]:
    """Split lines into rows of cells, with support for quotes. Empty lines are skipped."""
    return [cells for _, cells in read_numbered_rows(lines, separator, path, blanks=blanks)]


def read_numbered_rows(
    lines: Iterable[str], separator: str, path: Path, *, blanks: bool
) -> Iterator[tuple[int, list[str]]]:
    """Iterate over (number of the last line, cells) of each row. Raises UserError if a row is not valid CSV.

    Args:
        lines: The lines of the file.
        separator: Separator of the cells.
        path: The file, for errors.
        blanks: Whether spaces after a separator are removed.
    """
    if separator == SPACE:
        lines = (line.strip() + "\n" for line in lines)
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=blanks)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) or len(cells) > 1:
                yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(f"source: {path} cannot be read as CSV: line {reader.line_num}: {error}") from error


def _first_lines(path: Path) -> tuple[str, list[str]]:
    """Return the encoding of the file and its first complete lines."""
    lines: list[str] = []
    left = LONGEST
    try:
        encoding = encoding_of(path)
        with path.open(encoding=encoding, newline="") as file:
            while left > 0 and len(lines) < LINES and (line := file.readline(left)):
                lines.append(line)
                left -= len(line)
    except (OSError, UnicodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"source: {path} cannot be read as CSV: {reason}; save it as UTF-8") from error
    if left > 0:
        return encoding, lines
    if len(lines) == 1:
        raise UserError(f"source: {path} cannot be read as CSV: its first line is longer than {LONGEST:,} characters")
    return encoding, lines[:-1]  # the last line may be incomplete


def _preamble(lines: Sequence[str]) -> tuple[int, str | None, list[str]]:
    """Return the number of lines before the table, the separator named by one of them, and the comments."""
    separator, comments = None, []
    for position, line in enumerate(lines):
        text = line.strip("\r\n").strip('"')
        if text.lower().startswith(EXCEL) and len(text) == len(EXCEL) + 1 and separator is None:
            separator = text[-1]
        elif text.startswith(COMMENT):
            comments.append(text)
        elif text.strip():
            return position, separator, comments
    return len(lines), separator, comments


def _separator(lines: Sequence[str], usual: str) -> str:
    """Return the separator that splits most lines into as many cells as the first; spaces only between numbers.

    Args:
        lines: The first lines of the table.
        usual: The default for files with this extension.
    """
    shares = {separator: _share(lines, separator) for separator in SEPARATORS}
    best = max(SEPARATORS, key=shares.__getitem__)
    if shares[best] > 0:
        return best
    if len(lines) > 1 and _share(lines, SPACE) == 1 and _are_numbers(lines):
        return SPACE
    fit = (mark for mark in RARE if _splits_evenly(lines, mark))
    return next((mark for mark in fit if not (mark == ":" and any(map(TIMES.search, lines)))), usual)


def _splits_evenly(lines: Sequence[str], mark: str) -> bool:
    """Return whether a separator splits all of several lines into the same number of cells."""
    return len(lines) > 1 and _share(lines, mark) == 1


def _share(lines: Sequence[str], separator: str) -> float:
    try:
        rows = split_rows(lines, separator, Path(), blanks=True)
    except UserError:
        return 0.0
    if not rows or len(rows[0]) < 2:
        return 0.0
    if have_row_names(rows):
        return 1.0
    return sum(len(row) == len(rows[0]) for row in rows) / len(rows)


def _are_numbers(lines: Sequence[str]) -> bool:
    cells = [cell for row in split_rows(lines[1:], SPACE, Path(), blanks=True) for cell in row]
    return sum(is_number(cell) for cell in cells) > len(cells) / 2


def _blanks(lines: Sequence[str], separator: str) -> tuple[bool, tuple[str, ...]]:
    """Return whether to remove spaces after separators: all cells have them, or they precede a quote. Adds a note."""
    if separator == SPACE:
        return True, ()
    mark = re.escape(separator)
    cells = re.compile(rf'(^|{mark})( *+)("(?:[^"]|"")*+"|[^{mark}\r\n]*+)', re.MULTILINE)
    found = list(cells.finditer("".join(lines)[:LOOKED_AT]))
    later = [bool(cell[2]) for cell in found if cell[1] and cell[3].strip()]
    if not any(later) or all(later):
        return any(later), ()
    if not any(cell[2] and cell[3].startswith('"') for cell in found):
        return False, ()
    return True, ("some cells have spaces before a quote, so spaces after a separator are removed in all cells",)


def _on_separator(lines: Sequence[str], rows: Sequence[Sequence[str]], separator: str, usual: str) -> tuple[str, ...]:
    """Note that the separator is not the usual one, or that another one may be intended."""
    if max(map(len, rows)) > 1:
        called = CALLED.get(separator, printable(separator))
        return () if separator == usual else (f"cells are separated by {called}; use --separator to change this",)
    for mark in RARE:
        if _splits_evenly(lines, mark):
            count = len(split_rows(lines[:1], mark, Path(), blanks=True)[0]) - 1
            return (
                f"the file is read as one column, but each line contains '{mark}' {counted(count, 'time')}; "
                f"use --separator {mark} to split the lines",
            )
    return ()
