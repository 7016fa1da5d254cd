"""Notes on the columns of a table: what was inferred, where it occurs first, and how to change it."""

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
Finding = tuple[str, str, str]  # kind of the finding, name of the column, text of the note


def describe_category_column(
    seen: ColumnSummary, categories: Iterable[str], decimal: str | None
) -> list[tuple[str, str]]:
    """Describe a column of categories: missing-value words, numbers among texts, and texts that differ in spaces.

    Args:
        seen: Summary of the column.
        categories: Names of the categories.
        decimal: The decimal sign given by the user.

    Returns:
        Pairs (kind of the finding, text of the note).
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
    """Describe the first two texts that differ only in leading or trailing spaces; None without any."""
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
    """Explain that a column of numbers is read as text because of the decimal sign given by the user."""
    text, row = seen.other_sign or ("", 0)
    other = "," if decimal == "." else "."
    return (
        f"most cells are numbers with the decimal sign '{other}', such as {quote(text)} in row {row}, but "
        f"--decimal {decimal} is given; use --decimal {other} to read them as numbers"
    )


def explain_mixed(seen: ColumnSummary) -> str:
    """Explain why a column with mostly numbers is not read as numbers."""
    text, row = next(iter(seen.odd.items()))
    others = f" and {counted(seen.odd_cells - 1, 'other cell')} are" if seen.odd_cells > 1 else " is"
    return (
        f"most cells are numbers, but {quote(text)} in row {row}{others} not; "
        f"use --missing {shlex.quote(printable(text[:LONGEST]))}, once for each such word, to read it as numbers"
    )


def describe_kept_words(words: list[str], count: int, what: str) -> str:
    """Describe missing-value words that are kept as values.

    Args:
        words: The words.
        count: Number of cells with the first word.
        what: What they are kept as: "category" or "class".
    """
    also = f" (also {', '.join(map(quote, words[1:]))})" if words[1:] else ""
    options = " ".join(f"--missing {shlex.quote(printable(word))}" for word in words)
    cells = counted(count, "cell")
    return f"contains {quote(words[0])} in {cells}, kept as a {what}{also}; use {options} to read it as missing"


def describe_numeric_column(seen: ColumnSummary, rules: Rules, name: str, *, typed: bool) -> list[tuple[str, str]]:
    """Describe how the cells of a column of numbers are read.

    Args:
        seen: Summary of the column.
        rules: Format of numbers.
        name: Name of the column.
        typed: Whether the source distinguishes numbers from texts.

    Returns:
        Pairs (kind of the finding, text of the note).
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
        if _needs_note(form, rules):
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


def _needs_note(form: str, rules: Rules) -> bool:
    """Return whether a number format needs a note; a decimal point, or the comma of the whole table, does not."""
    return form not in {".": ("point", "either."), ",": ("comma", "either,")}[rules.decimal]


def explain_row_names(seen: ColumnSummary, rows: int, name: str) -> str:
    """Explain that a column of texts is left out because nearly every row has a different one."""
    keep = f"use --categorical {shlex.quote(printable(name))} to keep it"
    return f"{len(seen.texts):,} distinct texts in {rows:,} rows look like row names; {keep}"


def group_notes(findings: Iterable[Finding]) -> tuple[str, ...]:
    """Make one note for each kind of finding: the first column in full, then the names of the others."""
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
    """Quote a text from a source for a note, shortened and without control characters."""
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
    return f"'{printable(short)}'"
