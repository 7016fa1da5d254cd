"""Labels files: CSV with the columns item and label. An item is a relative path as in the source, or a row number.

Cells are separated by commas, semicolons or tabs. Spaces around a cell are removed, spaces within quotes are kept.

This module imports no large packages, so that a command can check a file before it loads torch.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from salience.csv_text import encoding_of, unescape_formula
from salience.errors import UserError
from salience.units import counted, printable
from salience.untrusted import shown

SEPARATORS = ",;\t"
CALLED = {",": "commas", ";": "semicolons", "\t": "tabs"}
BLANKS = " \t"
MOST_DIGITS = 18  # of a row number
MOST_COMPARED = 100_000  # number of names up to which a similar name is searched


@dataclass(frozen=True)
class Line:
    """A line of a labels file. `number`: its number in the file, from 1; `label`: empty without a label."""

    number: int
    item: str
    label: str


@dataclass(frozen=True)
class Matched:
    """Matched lines. `label_of`: row of an item -> its label; `unmatched`: lines that name no item of the source."""

    label_of: dict[int, str]
    unmatched: tuple[Line, ...] = ()


def read_label_file(path: Path, *, empty: bool = False) -> list[Line]:
    """Read a labels file. Empty lines are skipped.

    Args:
        path: The file.
        empty: Whether a label may be empty.

    Raises:
        UserError: A line is not valid CSV, or lacks an item or a label. The error names the line.
    """
    text = _text_of(path)
    separator = _separator(text)
    reader = csv.reader(io.StringIO(_without_blanks(text, separator), newline=""), delimiter=separator)
    columns: list[str] | None = None
    found = []
    try:
        for cells in reader:
            some = any(cell.strip() for cell in cells)
            if some and columns is None:
                columns = read_header([cell.strip() for cell in cells], path, reader.line_num)
            elif some and columns is not None:
                found.append(_line(cells, columns, path, reader.line_num, separator, empty=empty))
    except csv.Error as error:
        raise UserError(f"labels: {path} line {reader.line_num} cannot be read as CSV: {error}") from error
    return found


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding=encoding_of(path))
    except UnicodeError:
        raise UserError(f"labels: {path} is not text in UTF-8; save it as CSV in UTF-8") from None
    except OSError as error:
        raise UserError(f"labels: {path} cannot be read: {error.strerror}") from error


def _separator(text: str) -> str:
    """Return the separator between item and label in the header. Default: a comma."""
    header = next((line for line in text.split("\n") if line.strip()), "")
    columns = {mark: [cell.strip(BLANKS + '"').lower() for cell in header.split(mark)] for mark in SEPARATORS}
    return next((mark for mark in SEPARATORS if {"item", "label"} <= set(columns[mark])), ",")


def _without_blanks(text: str, separator: str) -> str:
    """Remove spaces around cells, but not within quotes."""
    blank = f"[{BLANKS.replace(separator, '')}]"
    before = f"(?:^|(?<={separator})){blank}*+"
    quoted = re.compile(
        rf'{before}("(?:[^"]|"")*+")|{before}|(?<!{blank}){blank}++(?={separator}|[\r\n]|\Z)', re.MULTILINE
    )
    return quoted.sub(lambda found: found[1] or "", text)


def _line(cells: list[str], columns: list[str], path: Path, number: int, separator: str, *, empty: bool) -> Line:
    if len(cells) != len(columns):
        raise UserError(
            f"labels: {path} line {number}: expected {counted(len(columns), 'cell')} as in the header, got "
            f"{len(cells)}; put text that contains {CALLED[separator]} in quotes"
        )
    line = Line(number, unescape_formula(cells[columns.index("item")]), unescape_formula(cells[columns.index("label")]))
    if not line.item.strip() or not (line.label or empty):
        missing = "label" if line.item.strip() else "item"
        raise UserError(f"labels: {path} line {number} has no {missing}; fill it in or remove the line")
    return line


def read_header(cells: list[str], path: Path, line: int) -> list[str]:
    """Return the names of the columns in lower case. Raises UserError if item or label is missing or repeated."""
    columns = [cell.lower() for cell in cells]
    if columns.count("item") != 1 or columns.count("label") != 1:
        raise UserError(
            f"labels: {path} line {line}: expected the columns item and label, got {shown(','.join(cells))}; "
            "write 'item,label' above the items"
        )
    return columns


def match_items(
    lines: Iterable[Line],
    ids: Sequence[str],
    path: Path,
    *,
    name: str,
    bad: Mapping[str, str] | None = None,
    unmatched: bool = False,
) -> Matched:
    """Match the lines of a labels file with items. Lines without a label are skipped.

    Args:
        lines: The lines.
        ids: Ids of the items.
        path: The file, for errors.
        name: Name of the source, for errors.
        bad: Items that were left out, with the reason.
        unmatched: Whether lines may name items that do not exist.

    Raises:
        UserError: An item does not exist, or has two labels. The error names the line.
    """
    row_of = {item: row for row, item in enumerate(ids)}
    found: dict[int, Line] = {}
    unknown: list[Line] = []
    for line in lines:
        row = find_item(line.item, row_of, bad or {})
        if row is None and not unmatched:
            raise UserError(f"labels: {path} line {line.number}: {_reason(line.item, row_of, name, bad or {})}")
        if row is None:
            unknown.append(line)
        elif line.label:
            _refuse_conflict(found.setdefault(row, line), line, path)
    return Matched({row: line.label for row, line in found.items()}, tuple(unknown))


def _refuse_conflict(before: Line, line: Line, path: Path) -> None:
    if before.label != line.label:
        raise UserError(
            f"labels: {path} line {line.number} labels {shown(line.item)} as {shown(line.label)}, "
            f"line {before.number} as {shown(before.label)}; keep one of them"
        )


def find_item(item: str, row_of: Mapping[str, int], bad: Mapping[str, str]) -> int | None:
    """Find the row of an item by its id, or by its row number if the ids are names. Return None if not found."""
    spelt = _spellings(item)
    row = next((row_of[one] for one in spelt if one in row_of), None)
    if row is not None or any(one in bad for one in spelt):
        return row
    number = _number(item)
    return number if number is not None and number < len(row_of) and not are_numbers(row_of) else None


def _spellings(item: str) -> list[str]:
    number = _number(item)
    path = str(PurePosixPath(item.replace("\\", "/")))
    return [item, path, *([] if number is None else [str(number)]), *([item.strip()] if item != item.strip() else [])]


def _number(item: str) -> int | None:
    return int(item) if item.isdecimal() and len(item) <= MOST_DIGITS else None


def are_numbers(ids: Iterable[str]) -> bool:
    """Return whether ids are row numbers of the source, which are not positions if items were left out."""
    return all(map(str.isdecimal, ids))


def _reason(item: str, row_of: Mapping[str, int], name: str, bad: Mapping[str, str]) -> str:
    left_out = next((bad[one] for one in _spellings(item) if one in bad), None)
    if left_out is not None:
        return f"{shown(item)} could not be read ({printable(left_out)}) and was left out; remove the line"
    return f"{name} has no item {shown(item)}; {remedy(item, row_of)}"


def remedy(item: str, row_of: Mapping[str, int]) -> str:
    """Suggest a replacement for an item that does not exist."""
    if row_of and are_numbers(row_of):
        numbers = [int(name) for name in row_of]
        return f"row numbers go from {min(numbers)} to {max(numbers)}"
    if item.isdecimal():
        return f"row numbers go from 0 to {len(row_of) - 1}"
    near = get_close_matches(item, row_of, n=1) if len(row_of) <= MOST_COMPARED else []
    if near:
        return f"did you mean {shown(near[0])}?"
    return f"expected an item such as {shown(next(iter(row_of), ''))}, or a row number"
