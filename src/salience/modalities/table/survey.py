"""What a table holds: the kind of every column, found in one pass, and a note on each decision.

A column of texts is one of numbers where most of its cells are numbers: at least nine in ten of them, or more than half
where the others are only a few words again and again, such as "?" and "unknown". The others are then missing values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from functools import cached_property

import numpy as np
import pandas as pd

from salience.errors import UserError
from salience.modalities.table import cells
from salience.modalities.table.cells import MISSING_WORDS, OTHER, Rules
from salience.modalities.table.column_notes import (
    Finding,
    describe_category_column,
    describe_numeric_column,
    explain_decimal_sign,
    explain_mixed,
    explain_row_names,
    group_notes,
    quote,
)
from salience.modalities.table.column_summary import ColumnSummary
from salience.modalities.table.spec import Column
from salience.reading import AS_FOUND, Reading

MOST_CATEGORIES = 1000
FEW_ROWS = 20
SAMPLE = 100  # texts of a chunk that are looked at for their decimal sign
INDEX = "__index_level_"
NAMELESS = ("Unnamed: ", INDEX)  # as readers and pandas call columns without a name
NUMERIC = ("number", "date", "duration")
SMALL = (np.float32, np.float16, np.int8, np.uint8, np.int16, np.uint16)  # float32 holds them
ALL_MISSING = "all its cells are missing"


class Survey:
    """Takes in a table chunk by chunk; what it holds is known after the last one.

    texts: every cell is a text as it stood in a file;  reading: what the user said;  comma: a text such as 1,234, which
    may have a decimal comma or a thousands separator, has a decimal comma where nothing in the table says more
    """

    def __init__(self, *, texts: bool, reading: Reading = AS_FOUND, comma: bool = False) -> None:
        self.texts, self.reading, self.comma = texts, reading, comma
        self.rows = 0
        self.seen: dict[str, ColumnSummary] = {}
        self.missing = tuple(reading.missing or ())
        self.unmet = set(self.missing)  # words that the user named and that no cell has held yet
        self._lenient = Rules(reading.decimal or ".", reading.decimal is not None, self.missing)

    @cached_property
    def rules(self) -> Rules:
        """How its numbers are written."""
        if self.reading.decimal is not None:
            return self._lenient
        signs = sum((seen.signs for seen in self.seen.values() if seen.is_mostly_numeric()), Counter())
        either = any("either," in seen.forms for seen in self.seen.values())
        comma = signs[","] > signs["."] or (self.comma and either and not signs["."])
        return Rules("," if comma else ".", False, self.missing)

    @property
    def wide(self) -> bool:
        """Whether a column of numbers holds more than float32 can."""
        return any(seen.wide and self.kind(name) in NUMERIC for name, seen in self.seen.items())

    def add(self, frame: pd.DataFrame) -> None:
        for name in map(str, frame.columns):
            column = cells.plain(frame[name])
            seen = self.seen.setdefault(name, ColumnSummary())
            seen.kept = name in (self.reading.categorical or ())
            kind = cells.kind_of(column)
            if kind is None:
                continue
            if self.unmet:
                self.unmet -= cells.find_words(column, self.unmet)
            kind = "category" if seen.kept else kind
            seen.kinds.add(kind)
            seen.wide |= column.dtype not in SMALL
            if kind == "text":
                self._add_texts(seen, column)
            elif kind == "category":
                self._add_categories(seen, cells.texts_of(column))
            elif kind == "number" and seen.wide and not seen.rounded:
                self._add_rounded(seen, column, cells.read_numbers(column, kind, self._lenient).values)
            if name.startswith(NAMELESS) and kind in ("number", "text"):
                seen.numbering.append(cells.parse_numbers(column, self._lenient).values)
        self.rows += len(frame)

    def finish(self) -> None:
        """After the last chunk."""
        for seen in self.seen.values():
            seen.resolve_dotted(comma=self.rules.decimal == ",")

    def _add_rounded(self, seen: ColumnSummary, column: pd.Series, values: np.ndarray) -> None:
        if seen.rounded is None and (found := cells.first_rounded(column, values)):
            seen.rounded = (found[1], self.rows + found[0])

    def _add_categories(self, seen: ColumnSummary, texts: pd.Series) -> None:
        if seen.kept:
            words = texts[texts.isin(MISSING_WORDS - {*self.missing})]
            seen.words.update(words)
        if len(seen.texts) <= MOST_CATEGORIES:
            seen.texts.update(text for text in texts.dropna().unique() if text.strip() not in self.missing)

    def _add_texts(self, seen: ColumnSummary, column: pd.Series) -> None:
        texts = cells.texts_of(column).reset_index(drop=True)
        read = cells.parse_numbers(texts, self._lenient)
        self._add_categories(seen, texts)
        numbers = ~np.isnan(read.values)
        seen.numbers += int(numbers.sum())
        seen.cells += int((numbers | read.odd).sum())
        self._add_odd(seen, texts[read.odd])
        self._add_rounded(seen, texts, read.values)
        words = texts[~numbers & ~read.odd].dropna()
        seen.words.update(word for word in words if word.strip() in MISSING_WORDS - {*self.missing})
        seen.named |= any(word.strip() in self.missing for word in words)
        padded = texts[numbers][texts[numbers].str.match(r"-?0\d").astype(bool)]
        seen.padded |= bool(len(padded))
        self._add_form(seen, "padded", padded.head(1))
        fractions = np.isfinite(read.values) & (np.modf(read.values)[0] != 0)
        self._add_forms(seen, texts[read.written], texts[fractions & ~read.written])

    def _add_odd(self, seen: ColumnSummary, odd: pd.Series) -> None:
        """odd: cells that are neither numbers nor missing"""
        if self.reading.decimal is None:
            are_dotted = np.array([cells.is_dotted(text) for text in odd], bool)
            dotted, odd = odd[are_dotted], odd[~are_dotted]
            seen.numbers += len(dotted)  # until the decimal sign is known
            seen.dotted_cells += len(dotted)
            self._keep_first(seen.dotted, dotted)
        else:
            rules = Rules(OTHER[self.reading.decimal], strict=True)
            found = odd[np.array([cells.parse(text, rules) is not None for text in odd], bool)]
            seen.other_cells += len(found)
            if len(found) and seen.other_sign is None:
                seen.other_sign = (found.iloc[0], self.rows + int(str(found.index[0])))
        seen.odd_cells += len(odd)
        self._keep_first(seen.odd, odd)

    def _keep_first(self, rows: dict[str, int], texts: pd.Series) -> None:
        """The row where each text was first, of as many texts as there may be categories."""
        if len(rows) <= MOST_CATEGORIES:
            for row, text in texts.drop_duplicates().items():
                rows.setdefault(text, self.rows + int(str(row)))

    def _add_form(self, seen: ColumnSummary, form: str, texts: pd.Series) -> None:
        for row, text in texts.items():
            seen.forms.setdefault(form, (text, self.rows + int(str(row))))

    def _add_forms(self, seen: ColumnSummary, written: pd.Series, fractions: pd.Series) -> None:
        """written: numbers in need of a note, first of them first;  fractions: numbers with a decimal point"""
        percent = written.str.rstrip().str.endswith("%")
        for texts in (written[percent].head(1), written[~percent].head(SAMPLE), fractions.head(SAMPLE)):
            for row, text in texts.items():
                sign = cells.decimal_sign(text)
                seen.signs.update([sign] if sign else [])
                if form := _form(text, sign):
                    seen.forms.setdefault(form, (text, self.rows + int(str(row))))

    def kind(self, name: str) -> str:
        """number, date, duration, category, or why the column is left out."""
        seen = self.seen[name]
        if not seen.kinds:
            return ALL_MISSING
        if seen.contains_row_numbers(index=name.startswith(INDEX)):
            return "it contains row numbers"
        known = (*NUMERIC, "category", "text")
        if reason := next((kind for kind in sorted(seen.kinds) if kind not in known), None):
            return reason
        if self._reads_as_numbers(seen):
            return "number"
        if seen.kinds <= {"text", "category"}:
            return self._category(seen, name)
        return next(iter(seen.kinds)) if len(seen.kinds) == 1 else f"it mixes types: {' and '.join(sorted(seen.kinds))}"

    def _reads_as_numbers(self, seen: ColumnSummary) -> bool:
        """Whether a column of texts is one of numbers.

        Where a source knows numbers, plain numbers that are texts all the same were made texts on purpose. They stay
        texts as far as they can be categories, and so do texts such as 007.
        """
        if not (seen.kinds <= {"text", "number"} and "text" in seen.kinds and seen.is_mostly_numeric()):
            return False
        plain = {"point", "either.", "padded"}
        on_purpose = not (seen.odd or seen.words or seen.named or seen.forms.keys() - plain)
        return self.texts or not (seen.padded or (on_purpose and self._category(seen, "") == "category"))

    def _category(self, seen: ColumnSummary, name: str) -> str:
        if len(seen.texts) > MOST_CATEGORIES:
            return f"more than {MOST_CATEGORIES:,} distinct texts"
        if seen.kept:
            return "category" if seen.texts else ALL_MISSING
        many = len(seen.texts) > self.rows / 2 and self.rows > FEW_ROWS
        if many and seen.uses_other_sign():
            return explain_decimal_sign(seen, self.reading.decimal)
        if many and seen.is_mixed():
            return explain_mixed(seen)
        if many:
            return explain_row_names(seen, self.rows, name)
        return "category" if seen.texts else ALL_MISSING

    def holds_numbers(self, name: str) -> bool:
        """Whether it can be a column of numbers, as it was one in training."""
        seen = self.seen[name]
        fit = seen.is_mostly_numeric() or not seen.odd
        return seen.kinds <= {*NUMERIC, "category"} or (seen.kinds <= {*NUMERIC, "text"} and fit)

    def columns(self) -> tuple[tuple[Column, ...], tuple[str, ...]]:
        """The columns that are used, and notes: on what is left out, and on how the others are read."""
        used: list[Column] = []
        left_out: list[Finding] = []
        for name, seen in self.seen.items():
            kind = self.kind(name)
            if seen.kept and kind != "category":
                raise UserError(f"categorical: column {quote(name)} cannot be kept as categories: {kind}; leave it out")
            if kind in NUMERIC:
                used.append(Column(name))
            elif kind == "category":
                used.append(Column(name, "category", tuple(sorted(seen.texts))))
            else:
                left_out.append((kind.partition(";")[0], name, f"is left out: {kind}"))
        return tuple(used), (*group_notes(left_out), *self.notes(used))

    def note_unused_words(self, elsewhere: Collection[str]) -> tuple[str, ...]:
        """On words for a missing value that the user named and no cell holds.  elsewhere: those that labels hold"""
        words = [word for word in self.missing if word in self.unmet and word not in elsewhere]
        return (f"no cell contains {', '.join(map(quote, words))}, given with --missing",) if words else ()

    def notes(self, columns: Iterable[Column]) -> tuple[str, ...]:
        """On how the cells of these columns are read."""
        found: list[Finding] = []
        for column in columns:
            seen = self.seen[column.name]
            on = (
                describe_category_column(seen, column.categories, self.reading.decimal)
                if column.kind == "category"
                else describe_numeric_column(seen, self.rules, column.name, typed=not self.texts)
            )
            found += [(what, column.name, words) for what, words in on]
        return (*self._on_decimals([column.name for column in columns if column.kind == "number"]), *group_notes(found))

    def _on_decimals(self, names: list[str]) -> tuple[str, ...]:
        if self.reading.decimal is not None or self.rules.decimal == ".":
            return ()
        forms = [(name, form) for form in ("comma", "either,") for name in names if form in self.seen[name].forms]
        where = [(name, *self.seen[name].forms[form]) for name, form in forms]
        return tuple(
            f"numbers are read with a decimal comma, such as {quote(text)} in row {row} of column {quote(name)}; "
            "use --decimal . to read them with a decimal point"
            for name, text, row in where[:1]
        )


def survey(chunks: Iterable[pd.DataFrame], *, texts: bool, reading: Reading = AS_FOUND, comma: bool = False) -> Survey:
    """Looks through a table once."""
    found = Survey(texts=texts, reading=reading, comma=comma)
    for frame in chunks:
        found.add(frame)
    found.finish()
    return found


def _form(text: str, sign: str | None) -> str | None:
    """comma, point: a decimal sign beyond doubt;  "either," "either.": 1,234, 1.234;  percent;  grouped: the rest

    None for a number without any such sign, such as 1e-3.
    """
    if text.rstrip().endswith("%"):
        return "percent"
    if sign is None:
        grouped = "grouped" if cells.has_groups(text) else None
        return next((f"either{either}" for either in ",." if either in text), grouped)
    alone = text.count(sign) == 1 and len(set(text) & set(",.")) == 1
    return {",": "comma", ".": "point"}[sign] if alone else "grouped"
