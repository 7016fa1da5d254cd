"""CSV that is safe to open: a spreadsheet runs cells that begin with = + - @ as formulas, of whoever named a file.

Such a cell is written with an apostrophe before it, as OWASP advises ("CSV injection"); plain numbers stay as they are.
A cell that has the apostrophe already gets another one, so that `original` gives back what was written.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from salience.errors import Note
from salience.files import write_text

if TYPE_CHECKING:
    import pandas as pd

FORMULA = re.compile(r"'*(?:[\t\r\n]|\s*[=+\-@＝＋－＠])")
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def encoding_of(path: Path) -> str:
    """Of a text file: UTF-16 where it begins with the mark of that, else UTF-8, with a mark or without."""
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def is_formula(text: str) -> bool:
    """Whether a spreadsheet might run it, or would with apostrophes before it taken away."""
    return FORMULA.match(text) is not None and NUMBER.fullmatch(text.lstrip("'")) is None


def safe(text: str) -> str:
    return f"'{text}" if is_formula(text) else text


def original(text: str) -> str:
    """What `safe` was given."""
    return text[1:] if text.startswith("'") and is_formula(text) else text


def as_csv(table: pd.DataFrame, float_format: str) -> tuple[str, int]:
    """The table as CSV, and in how many cells, names of columns among them, an apostrophe was put before the text."""
    cells = [*map(str, table.columns)]
    columns = [table.iloc[:, at] for at in range(table.shape[1])]
    texts = [column.dtype == object or str(column.dtype) in ("str", "string", "category") for column in columns]
    fixed = table.copy(deep=False)
    for at, column in enumerate(columns):
        if texts[at]:
            cells += [value for value in column if isinstance(value, str)]
            fixed.isetitem(at, [safe(value) if isinstance(value, str) else value for value in column])
    fixed.columns = [safe(str(name)) for name in table.columns]
    return fixed.to_csv(index=False, float_format=float_format, lineterminator="\n"), sum(map(is_formula, cells))


def write_csv(path: Path | str, table: pd.DataFrame, float_format: str, *, make_folder: bool = False) -> None:
    """Writes the table, and says in a Note in how many cells an apostrophe was put."""
    text, count = as_csv(table, float_format)
    write_text(path, text, make_folder=make_folder)
    tell(count, Path(path).name)  # its folder may have another name until it is whole


def tell(count: int, where: str) -> None:
    """count: cells with an apostrophe that was put there"""
    if count:
        many = count != 1
        cells = f"{count:,} cell{'s' * many} that a spreadsheet would run as {'formulas' if many else 'a formula'}"
        warnings.warn(
            f"{where}: an apostrophe was written before {cells}; "
            "`predict` removes it when it reads the file, in other programs remove it yourself",
            Note,
            stacklevel=3,
        )
