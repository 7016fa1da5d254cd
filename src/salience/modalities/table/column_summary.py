"""The summary of one column of a table, collected in one pass over its cells."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

FEW_WORDS = 3
MOSTLY = 0.9


@dataclass
class ColumnSummary:
    """The summary of one column, for the rows read so far.

    Attributes:
        kinds: Kinds of its chunks.
        wide: Whether it needs float64 as a column of numbers.
        cells: Number of texts that are not words for a missing value.
        numbers: Number of these texts that are numbers.
        odd: Texts that are not numbers -> row of their first occurrence.
        odd_cells: Number of cells with such texts.
        words: Missing-value words of pandas -> number of cells.
        named: Whether it contains words given with --missing.
        texts: Distinct texts, up to the limit of categories.
        padded: Whether an integer begins with a zero.
        forms: Number formats that need a note -> first such text and its row.
        signs: Unambiguous decimal signs -> number of cells.
        dotted: Texts such as 1.234.567 -> row of their first occurrence; numbers if the decimal sign is a comma.
        dotted_cells: Number of cells with such texts.
        other_sign: First number with another decimal sign than the one given by the user, and its row.
        other_cells: Number of such cells.
        rounded: First integer that a float cannot represent, and its row.
        kept: Whether the user declares the column as categorical.
        numbering: The numbers of a column without a name.
    """

    kinds: set[str] = field(default_factory=set)
    wide: bool = False
    cells: int = 0
    numbers: int = 0
    odd: dict[str, int] = field(default_factory=dict)
    odd_cells: int = 0
    words: Counter[str] = field(default_factory=Counter)
    named: bool = False
    texts: set[str] = field(default_factory=set)
    padded: bool = False
    forms: dict[str, tuple[str, int]] = field(default_factory=dict)
    signs: Counter[str] = field(default_factory=Counter)
    numbering: list[np.ndarray] = field(default_factory=list)
    dotted: dict[str, int] = field(default_factory=dict)
    dotted_cells: int = 0
    other_sign: tuple[str, int] | None = None
    other_cells: int = 0
    rounded: tuple[str, int] | None = None
    kept: bool = False

    def is_mostly_numeric(self) -> bool:
        """Return whether a column of texts is read as numbers."""
        few_words = len(self.odd) <= FEW_WORDS and self.numbers > self.cells / 2
        return few_words or (self.numbers > 0 and self.numbers >= MOSTLY * self.cells)

    def is_mixed(self) -> bool:
        """Return whether most cells are numbers, but too many are not."""
        return self.numbers > self.cells / 2 and not self.is_mostly_numeric()

    def uses_other_sign(self) -> bool:
        """Return whether most cells are numbers with another decimal sign than the one given by the user."""
        return self.other_cells > self.cells / 2

    def resolve_dotted(self, *, comma: bool) -> None:
        """Read texts such as 1.234.567 as numbers if the decimal sign is a comma, otherwise as odd texts."""
        if not self.dotted:
            return
        if comma:
            self.forms.setdefault("grouped", next(iter(self.dotted.items())))
            return
        self.numbers -= self.dotted_cells
        self.odd_cells += self.dotted_cells
        self.odd = dict(sorted((self.odd | self.dotted).items(), key=lambda item: item[1]))

    def contains_row_numbers(self, *, index: bool) -> bool:
        """Return whether a column without a name contains the numbers from 0 or 1 on, each once, in any order.

        Args:
            index: Whether it was an index of pandas, perhaps of a part of the rows; then any distinct integers count.
        """
        if not self.numbering or self.odd:
            return False
        numbers = np.concatenate(self.numbering)
        ordered = np.sort(numbers)
        if index:
            whole = np.isfinite(numbers).all() and (numbers >= 0).all() and (numbers % 1 == 0).all()
            return bool(whole) and len(np.unique(numbers)) == len(numbers)
        return any(np.array_equal(ordered, np.arange(first, first + len(numbers))) for first in (0, 1))
