"""How a CSV file is written: where its table begins, what separates its cells, whether its first line names columns.

The separator is the one that cuts most lines into as many cells as the first. (`csv.Sniffer` is misled by decimal
commas and by texts; its idea of a header, that it differs in type from what is below, is used here too.)
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from salience.errors import UserError
from salience.modalities.cells import MISSING_WORDS, Rules, parse
from salience.modalities.survey import NAMELESS
from salience.reading import Reading
from salience.units import are, counted, printable

SEPARATORS = "\t;|,"  # where several fit, the first: commas may be decimal commas
SPACE = " "
CALLED = {"\t": "tab", " ": "spaces"}
LINES = 200  # that are looked at
LONGEST = 1 << 24  # characters of the lines that are looked at
COMMENT = "#"
EXCEL = "sep="


@dataclass(frozen=True)
class Dialect:
    """skip: lines before the table;  header: whether its first line is `names`;  comments: it may have such lines

    notes: on what was found out
    """

    separator: str
    skip: int
    header: bool
    names: list[str]
    comments: bool = False
    notes: tuple[str, ...] = ()


def find_dialect(path: Path, reading: Reading) -> Dialect:
    """Raises UserError where the file is empty, or its first lines are none of a table."""
    lines = _first_lines(path)
    skip, said, comments = _preamble(lines)
    table = [line for line in lines[skip:] if line.strip() and not (comments and line.startswith(COMMENT))]
    if not table:
        raise UserError(f"source: {path} is empty; a line of column names and rows are needed")
    separator = reading.separator or said or _separator(table)
    rows = cut(table, separator, path)
    notes = []
    if reading.separator is None and (said or separator == SPACE):
        notes.append(
            f"cells are separated by {CALLED.get(separator, printable(separator))}; --separator says otherwise"
        )
    if comments:
        above_it = f"{counted(len(comments), 'line')} of comment above the table {are(len(comments))}"
        notes.append(f"{above_it} passed over: {printable(comments[0])[:60]}")
    above = cut([comments[-1].lstrip(COMMENT)], separator, path)[0] if comments else []
    first_is_row = not _is_header(rows) if reading.header is None else not reading.header
    if first_is_row and reading.header is None and len(above) == len(rows[0]) > 1:
        notes.append("the last line of comment names the columns; --no-header or --header say otherwise")
        return Dialect(separator, skip, False, _names(above), bool(comments), tuple(notes))
    if first_is_row and reading.header is None:
        notes.append(
            f"the first line holds values ('{printable(table[0].strip())[:60]}') and is read as a row; the columns are "
            "named 0, 1, ...; --header takes it as their names"
        )
    names = [str(position) for position in range(len(rows[0]))] if first_is_row else _names(rows[0])
    return Dialect(separator, skip, not first_is_row, names, bool(comments), tuple(notes))


def cut(lines: Iterable[str], separator: str, path: Path) -> list[list[str]]:
    """Lines into rows of cells, quotes understood; lines without anything are passed over."""
    return [cells for _, cells in numbered(lines, separator, path)]


def numbered(lines: Iterable[str], separator: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """(number of its last line, cells) of each row. Raises UserError where the cells cannot be told apart."""
    if separator == SPACE:
        lines = (line.strip() + "\n" for line in lines)
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) or len(cells) > 1:
                yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(f"source: {path} cannot be read as CSV: line {reader.line_num}: {error}") from error


def _first_lines(path: Path) -> list[str]:
    lines: list[str] = []
    left = LONGEST
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            while left > 0 and len(lines) < LINES and (line := file.readline(left)):
                lines.append(line)
                left -= len(line)
    except (OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"source: {path} cannot be read as CSV: {reason}; save it as UTF-8") from error
    if left > 0:
        return lines
    if len(lines) == 1:
        raise UserError(f"source: {path} cannot be read as CSV: its first line is longer than {LONGEST:,} characters")
    return lines[:-1]  # the last may be cut


def _preamble(lines: Sequence[str]) -> tuple[int, str | None, list[str]]:
    """How many lines stand before the table, the separator that one of them names, and comments among them."""
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


def _separator(lines: Sequence[str]) -> str:
    """The separator that cuts most lines into as many cells as the first; spaces only between numbers."""
    shares = {separator: _share(lines, separator) for separator in SEPARATORS}
    best = max(SEPARATORS, key=shares.__getitem__)
    if shares[best] > 0:
        return best
    return SPACE if len(lines) > 1 and _share(lines, SPACE) == 1 and _are_numbers(lines) else ","


def _share(lines: Sequence[str], separator: str) -> float:
    try:
        rows = cut(lines, separator, Path())
    except UserError:
        return 0.0
    if not rows or len(rows[0]) < 2:
        return 0.0
    return sum(len(row) == len(rows[0]) for row in rows) / len(rows)


def _are_numbers(lines: Sequence[str]) -> bool:
    cells = [cell for row in cut(lines[1:], SPACE, Path()) for cell in row]
    return sum(_is_number(cell) for cell in cells) > len(cells) / 2


def _is_number(cell: str) -> bool:
    return parse(cell, Rules()) is not None


def _is_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns: where a column holds numbers, its first cell is none.

    Whole numbers that count on by one are names too, such as 0, 1, 2 and 2019, 2020, 2021.
    """
    first, *below = rows
    numeric = [position for position in range(len(first)) if _holds_numbers(below, position)]
    if not numeric or any(first[position].strip() and not _is_number(first[position]) for position in numeric):
        return True
    heads = [first[position].strip() for position in numeric if first[position].strip()]
    counting = [str(int(heads[0]) + step) for step in range(len(heads))] if heads and heads[0].isdecimal() else None
    return heads == counting and len(heads) > 1


def _holds_numbers(rows: Sequence[Sequence[str]], position: int) -> bool:
    cells = [row[position].strip() for row in islice(rows, LINES) if position < len(row)]
    known = [cell for cell in cells if cell not in MISSING_WORDS]
    return bool(known) and sum(map(_is_number, known)) > len(known) / 2


def _names(cells: Sequence[str]) -> list[str]:
    return [" ".join(cell.split()) or f"{NAMELESS[0]}{position}" for position, cell in enumerate(cells)]
