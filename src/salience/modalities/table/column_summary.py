"""What was seen of one column of a table, while it was looked through."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

FEW_WORDS = 3
MOSTLY = 0.9


@dataclass
class ColumnSummary:
    """What was seen of one column so far.

    kinds: of its chunks;  wide: as a column of numbers it needs float64
    cells, numbers: texts that are no words for a missing value, and those of them that are numbers
    odd: a text that is no number -> the row where it was first;  odd_cells: how many there are
    words: words that pandas knows for a missing value -> how often;  named: there are words that the user named
    texts: the different texts, as far as they may be categories;  padded: a whole number begins with a zero
    forms: a way to write numbers that needs a note -> the first such text and its row
    signs: decimal signs that can be no other -> how often
    dotted: texts such as 1.234.567 -> the row where each was first; they are numbers if the decimal sign is a comma
    dotted_cells: how many there are
    other_sign: the first number with another decimal sign than the user named, and its row;  other_cells: how many
    rounded: the first whole number too long for a float, and its row
    kept: the user says that its values are categories
    numbering: the numbers, of a column without a name
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
        """Whether a column of texts is one of numbers."""
        few_words = len(self.odd) <= FEW_WORDS and self.numbers > self.cells / 2
        return few_words or (self.numbers > 0 and self.numbers >= MOSTLY * self.cells)

    def is_mixed(self) -> bool:
        """Whether most cells are numbers, and too many others are not."""
        return self.numbers > self.cells / 2 and not self.is_mostly_numeric()

    def uses_other_sign(self) -> bool:
        """Whether most cells are numbers with another decimal sign than the user named."""
        return self.other_cells > self.cells / 2

    def resolve_dotted(self, *, comma: bool) -> None:
        """Once the decimal sign is known: texts such as 1.234.567 are numbers if it is a comma, else odd."""
        if not self.dotted:
            return
        if comma:
            self.forms.setdefault("grouped", next(iter(self.dotted.items())))
            return
        self.numbers -= self.dotted_cells
        self.odd_cells += self.dotted_cells
        self.odd = dict(sorted((self.odd | self.dotted).items(), key=lambda item: item[1]))

    def contains_row_numbers(self, *, index: bool) -> bool:
        """Whether the cells of a column without a name are the numbers from 0 or 1 on, each once, in any order.

        index: pandas says that it was an index, perhaps of some of the rows: then any different whole numbers will do
        """
        if not self.numbering or self.odd:
            return False
        numbers = np.concatenate(self.numbering)
        ordered = np.sort(numbers)
        if index:
            whole = np.isfinite(numbers).all() and (numbers >= 0).all() and (numbers % 1 == 0).all()
            return bool(whole) and len(np.unique(numbers)) == len(numbers)
        return any(np.array_equal(ordered, np.arange(first, first + len(numbers))) for first in (0, 1))
