"""Notes on the columns of a table, in plain words: what was found, where it was first, and how to say otherwise."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from salience.modalities.table.cells import Rules, parse
from salience.units import counted, printable

if TYPE_CHECKING:
    from salience.modalities.table.survey import Seen

SHOWN = 5
LONGEST = 40
Finding = tuple[str, str, str]  # what was found, in which column, in words


def on_category(seen: Seen, categories: Iterable[str]) -> list[tuple[str, str]]:
    """Words for a missing value that are kept as categories, and numbers among texts."""
    words = [word for word in seen.words if word in set(categories)]
    found = [("words", kept_words(words, seen.words[words[0]], "category"))] if words else []
    return [*found, ("mixed", f"is read as categories: {mixed(seen)}")] if seen.are_mixed() else found


def mixed(seen: Seen) -> str:
    """Why a column that holds numbers for the most part is not one of numbers."""
    text, row = next(iter(seen.odd.items()))
    others = f" and {counted(seen.odd_cells - 1, 'other cell')}" if seen.odd_cells > 1 else ""
    return (
        f"most of its cells are numbers, but {quoted(text)} in row {row}{others} not; "
        f"--missing {shlex.quote(printable(text[:LONGEST]))}, and so on for each such word, reads it as numbers"
    )


def kept_words(words: list[str], count: int, what: str) -> str:
    """words: for a missing value, kept in a column of texts;  count: cells with the first;  what: they are kept as"""
    also = f" (and likewise {', '.join(map(quoted, words[1:]))})" if words[1:] else ""
    options = " ".join(f"--missing {shlex.quote(printable(word))}" for word in words)
    cells = counted(count, "cell")
    return f"has {quoted(words[0])} in {cells}, kept as a {what}{also}; {options} makes it a missing value"


def on_numbers(seen: Seen, rules: Rules, *, typed: bool) -> list[tuple[str, str]]:
    """How the cells of a column of numbers are read.  typed: its texts come from a source that knows numbers"""
    found = []
    if "text" in seen.kinds and typed:
        found.append(("typed", "holds texts that are numbers and is read as numbers; as categorical it keeps them"))
    if seen.odd:
        text, row = next(iter(seen.odd.items()))
        are = "this cell is" if seen.odd_cells == 1 else f"{seen.odd_cells:,} such cells are"
        words = f"holds numbers, but {quoted(text)} in row {row}; {are} read as missing; "
        found.append(("odd", f"{words}--missing {shlex.quote(printable(text[:LONGEST]))} confirms it"))
    for form, (first, where) in seen.forms.items():
        if _is_told(form, rules):
            found.append((form, f"has {quoted(first)} in row {where}, read as {parse(first, rules):.15g}"))
    found += [("date", "is read as days since 1970-01-01")] if "date" in seen.kinds else []
    return found + ([("duration", "is read as days")] if "duration" in seen.kinds else [])


def _is_told(form: str, rules: Rules) -> bool:
    """A decimal point needs no note, nor a decimal comma where there is a note on the whole table."""
    return form not in {".": ("point", "either."), ",": ("comma", "either,")}[rules.decimal]


def grouped(findings: Iterable[Finding]) -> tuple[str, ...]:
    """One note for each kind of finding: on the first column in full, and the names of the others."""
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for kind, name, words in findings:
        by_kind.setdefault(kind, []).append((name, words))
    return tuple(_note(found) for found in by_kind.values())


def _note(found: list[tuple[str, str]]) -> str:
    (first, words), *others = found
    note = f"column {quoted(first)} {words}"
    if not others:
        return note
    names = ", ".join(quoted(name) for name, _ in others[:SHOWN]) + (", ..." if len(others) > SHOWN else "")
    return f"{note}; likewise {counted(len(others), 'more column')}: {names}"


def quoted(text: str) -> str:
    """A text that came from outside, in a note."""
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
    return f"'{printable(short)}'"
