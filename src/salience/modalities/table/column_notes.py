"""Notes on the columns of a table, in plain words: what was found, where it was first, and how to say otherwise."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from salience.modalities.table.cells import Rules, has_groups, is_dotted, parse
from salience.units import counted, printable

if TYPE_CHECKING:
    from salience.modalities.table.column_summary import ColumnSummary

SHOWN = 5
LONGEST = 40
Finding = tuple[str, str, str]  # what was found, in which column, in words


def describe_category_column(
    seen: ColumnSummary, categories: Iterable[str], decimal: str | None
) -> list[tuple[str, str]]:
    """Words for a missing value that are kept as categories, numbers among texts, and texts that look alike.

    decimal: the decimal sign that the user named
    """
    known = set(categories)
    words = [word for word in seen.words if word in known]
    found = [("words", describe_kept_words(words, seen.words[words[0]], "category"))] if words else []
    if alike := describe_space_variants(known):
        found.append(("blanks", alike))
    if seen.kept:
        return found
    if seen.uses_other_sign():
        return [*found, ("sign", f"is read as categories: {explain_decimal_sign(seen, decimal)}")]
    return [*found, ("mixed", f"is read as categories: {explain_mixed(seen)}")] if seen.is_mixed() else found


def describe_space_variants(texts: Iterable[str]) -> str | None:
    """On the first texts that differ in the blanks around them alone."""
    found: dict[str, str] = {}
    for text in sorted(texts):
        other = found.setdefault(text.strip(), text)
        if other != text:
            return (
                f"contains {quote(other)} and {quote(text)}, which differ only in spaces and are kept apart; "
                "remove the spaces in the file to merge them"
            )
    return None


def explain_decimal_sign(seen: ColumnSummary, decimal: str | None) -> str:
    """Why a column of numbers is read as one of texts.  decimal: the sign that the user named"""
    text, row = seen.other_sign or ("", 0)
    other = "," if decimal == "." else "."
    return (
        f"most cells are numbers with the decimal sign '{other}', such as {quote(text)} in row {row}, but "
        f"--decimal {decimal} is given; use --decimal {other} to read them as numbers"
    )


def explain_mixed(seen: ColumnSummary) -> str:
    """Why a column that holds numbers for the most part is not one of numbers."""
    text, row = next(iter(seen.odd.items()))
    others = f" and {counted(seen.odd_cells - 1, 'other cell')} are" if seen.odd_cells > 1 else " is"
    return (
        f"most cells are numbers, but {quote(text)} in row {row}{others} not; "
        f"use --missing {shlex.quote(printable(text[:LONGEST]))}, once for each such word, to read it as numbers"
    )


def describe_kept_words(words: list[str], count: int, what: str) -> str:
    """words: for a missing value, kept in a column of texts;  count: cells with the first;  what: they are kept as"""
    also = f" (also {', '.join(map(quote, words[1:]))})" if words[1:] else ""
    options = " ".join(f"--missing {shlex.quote(printable(word))}" for word in words)
    cells = counted(count, "cell")
    return f"contains {quote(words[0])} in {cells}, kept as a {what}{also}; use {options} to read it as missing"


def describe_numeric_column(seen: ColumnSummary, rules: Rules, name: str, *, typed: bool) -> list[tuple[str, str]]:
    """How the cells of a column of numbers are read.

    name: of the column;  typed: its texts come from a source that knows numbers
    """
    found = []
    keep = f"--categorical {shlex.quote(printable(name))} to keep"
    if "text" in seen.kinds and typed:
        words = f"contains numbers stored as text and is read as numbers; use {keep} them as categories"
        found.append(("typed", words))
    if seen.odd:
        text, row = next(iter(seen.odd.items()))
        are = "this cell is" if seen.odd_cells == 1 else f"{seen.odd_cells:,} such cells are"
        words = f"is numeric, but {quote(text)} in row {row} is not a number; {are} read as missing"
        confirm = f"use --missing {shlex.quote(printable(text[:LONGEST]))} to confirm this"
        found.append(("odd", f"{words}; {confirm}, or {keep} all cells as categories"))
    for form, (first, where) in seen.forms.items():
        if _is_told(form, rules):
            unusual = form == "padded" or has_groups(first) or is_dotted(first)
            otherwise = f"; use {keep} the cells as categories" if unusual else ""
            words = f"contains {quote(first)} in row {where}, read as {parse(first, rules):.15g}{otherwise}"
            found.append((form, words))
    if seen.rounded:
        text, row = seen.rounded
        words = f"contains integers beyond 2^53, such as {text[:LONGEST]} in row {row}, which are rounded"
        found.append(("rounded", f"{words}; if they are identifiers, use {keep} them as categories"))
    found += [("date", "is read as days since 1970-01-01")] if "date" in seen.kinds else []
    return found + ([("duration", "is read as days")] if "duration" in seen.kinds else [])


def _is_told(form: str, rules: Rules) -> bool:
    """A decimal point needs no note, nor a decimal comma where there is a note on the whole table."""
    return form not in {".": ("point", "either."), ",": ("comma", "either,")}[rules.decimal]


def explain_row_names(seen: ColumnSummary, rows: int, name: str) -> str:
    """Why a column of texts is left out: there are nearly as many as rows."""
    keep = f"use --categorical {shlex.quote(printable(name))} to keep it"
    return f"{len(seen.texts):,} distinct texts in {rows:,} rows look like row names; {keep}"


def group_notes(findings: Iterable[Finding]) -> tuple[str, ...]:
    """One note for each kind of finding: on the first column in full, and the names of the others."""
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for kind, name, words in findings:
        by_kind.setdefault(kind, []).append((name, words))
    return tuple(_note(found) for found in by_kind.values())


def _note(found: list[tuple[str, str]]) -> str:
    (first, words), *others = found
    note = f"column {quote(first)} {words}"
    if not others:
        return note
    names = ", ".join(quote(name) for name, _ in others[:SHOWN]) + (", ..." if len(others) > SHOWN else "")
    return f"{note}; the same holds for {counted(len(others), 'more column')}: {names}"


def quote(text: str) -> str:
    """A text that came from outside, in a note."""
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
    return f"'{printable(short)}'"
