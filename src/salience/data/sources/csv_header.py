"""Detection of the header of a CSV file and of the column names.

As in pandas, a repeated name gets a number, `a.1`. If the first line is one cell shorter than the others, as in files
written by R, the first cell of each row is the name of the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from salience.modalities.table.cells import MISSING_WORDS, Rules, parse
from salience.modalities.table.survey import NAMELESS
from salience.reading import AS_FOUND, Reading
from salience.units import counted, printable

ROWS = 200  # number of rows that are examined
SHOWN = 60  # characters of a line in a message
MOST_NAMED = 5
EVEN = 8  # least number of evenly spaced numbers that are names and not values


@dataclass(frozen=True)
class Header:
    """The header of a CSV file.

    Attributes:
        names: Names of the columns, including the column of row names.
        there: Whether the first line contains the names.
        row_names: Whether the first cell of each row is the name of the row.
        found: The inferred option `header`, if a run needs it to read new data in the same way.
        notes: Notes on what was inferred.
    """

    names: list[str]
    there: bool
    row_names: bool = False
    found: Reading = AS_FOUND
    notes: tuple[str, ...] = ()


def find_header(rows: Sequence[Sequence[str]], first: str, above: Sequence[str], said: bool | None) -> Header:
    """Decide whether the first row of a table is a header.

    Args:
        rows: The first rows of the file, split into cells.
        first: The first line.
        above: Cells of the comment above the table.
        said: Whether it is a header according to the user; None if the user does not say.

    Returns:
        The header, with notes on what was inferred.
    """
    row_names = have_row_names(rows)
    below = [row[row_names:] for row in rows[1:]]
    names_columns = is_header(rows[0], below)
    there = names_columns if said is None else said
    if not there and said is None and len(above) == len(rows[0]) > 1:
        note = "the last comment line is read as the column names; use --header or --no-header to change this"
        names, notes = _named(above)
        return Header(names, False, notes=(note, *notes))
    if not there:
        names = [str(position) for position in range(len(rows[0]))]
        found = Reading(header=False) if said is None else AS_FOUND
        return Header(names, False, found=found, notes=_on_missing(rows[0], below, first, said))
    names, notes = _named(rows[0])
    if not row_names:
        return Header(names, True, notes=notes)
    note = (
        f"the first line has one cell fewer than the rows, so the first cell of each row ('{_shown(rows[1][0])}') is "
        "read as the name of the row; to read it as a column, add its name at the start of the first line"
    )
    return Header([_free("row names", names), *names], True, True, notes=(note, *notes))


def have_row_names(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether all rows have one cell more than the first one, not only a separator at the end."""
    width = len(rows[0])
    longer = len(rows) > 1 and width > 1 and all(len(row) == width + 1 for row in rows[1:])
    return longer and any(row[-1].strip() for row in rows[1:])


def is_header(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Return whether a row contains column names: a cell above a column of numbers is not a number.

    Consecutive integers, such as 0, 1, 2 and 2019, 2020, 2021, are also names, and so are evenly spaced times, such as
    0.0, 0.5, 1.0, of at least EVEN columns. If no column of numbers has a name, a
    text that does not occur in its own column is a name.
    """
    numeric = [position for position in range(len(first)) if _holds_numbers(below, position)]
    heads = [first[position].strip() for position in numeric if first[position].strip()]
    if not numeric or any(not is_number(head) for head in heads):
        return True
    if not heads:
        others = [position for position in range(len(first)) if position not in numeric and first[position].strip()]
        return any(first[position] not in _cells(below, position) for position in others)
    counting = [str(int(heads[0]) + step) for step in range(len(heads))] if heads[0].isdecimal() else None
    return (heads == counting and len(heads) > 1) or _are_times(heads)


def _are_times(heads: Sequence[str]) -> bool:
    """Return whether numbers increase in even steps, as the times of a series do."""
    times = [value for head in heads if (value := parse(head, Rules())) is not None]
    steps = [after - before for before, after in pairwise(times)]
    return len(steps) >= EVEN - 1 and min(steps) > 0 and max(steps) - min(steps) <= 1e-3 * max(steps)


def is_number(cell: str) -> bool:
    return parse(cell, Rules()) is not None


def _holds_numbers(rows: Sequence[Sequence[str]], position: int) -> bool:
    known = [cell for text in _cells(rows, position) if (cell := text.strip()) not in MISSING_WORDS]
    return bool(known) and sum(map(is_number, known)) > len(known) / 2


def _cells(rows: Sequence[Sequence[str]], position: int) -> list[str]:
    return [row[position] for row in islice(rows, ROWS) if position < len(row)]


def _on_missing(row: Sequence[str], below: Sequence[Sequence[str]], first: str, said: bool | None) -> tuple[str, ...]:
    """Note that the first line is read as a row, by inference or although it looks like column names."""
    line = f"'{_shown(first)}'"
    if said is None:
        return (
            f"the first line ({line}) contains values and is read as a row; the columns are named 0, 1, ...; "
            "use --header to read it as column names",
        )
    numeric = [position for position in range(len(row)) if _holds_numbers(below, position)]
    if numeric and all(row[position].strip() and not is_number(row[position]) for position in numeric):
        return (f"the first line ({line}) looks like column names, but is read as a row, as requested",)
    return ()


def _named(cells: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return a unique name for each cell, and a note on renamed ones."""
    given = [" ".join(cell.split()) or f"{NAMELESS[0]}{position}" for position, cell in enumerate(cells)]
    names: list[str] = []
    renamed = []
    for name in given:
        if name in names:
            renamed.append((name, _free(name, (*given, *names))))
            name = renamed[-1][1]
        names.append(name)
    if not renamed:
        return names, ()
    shown = ", ".join(f"'{printable(new)}'" for _, new in renamed[:MOST_NAMED]) + ", ..." * (len(renamed) > MOST_NAMED)
    columns, repeat = counted(len(renamed), "column"), "repeats" if len(renamed) == 1 else "repeat"
    return names, (f"{columns} {repeat} an earlier name, such as '{_shown(renamed[0][0])}': renamed to {shown}",)


def _free(name: str, taken: Sequence[str]) -> str:
    """Return the name, with a number if it is taken."""
    known, number, new = set(taken), 0, name
    while new in known:
        number += 1
        new = f"{name}.{number}"
    return new


def _shown(text: str) -> str:
    return printable(text.strip())[:SHOWN]
