"""CSV files that are safe to open in a spreadsheet, which runs cells that begin with = + - @ as formulas.

An apostrophe is written before such a cell, as OWASP recommends against CSV injection; plain numbers are unchanged. A
cell that already begins with an apostrophe gets another one, so that `unescape_formula` restores the text.
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
    """Detect the encoding of a text file: UTF-16 if it begins with its byte order mark, otherwise UTF-8."""
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet might run a text as a formula, also after removal of leading apostrophes."""
    return FORMULA.match(text) is not None and NUMBER.fullmatch(text.lstrip("'")) is None


def escape_formula(text: str) -> str:
    return f"'{text}" if is_formula(text) else text


def unescape_formula(text: str) -> str:
    """Undo `escape_formula`: remove the apostrophe before a formula."""
    return text[1:] if text.startswith("'") and is_formula(text) else text


def as_csv(table: pd.DataFrame, float_format: str) -> tuple[str, int]:
    """Convert a table to CSV. Return the text, and the number of cells and column names with an added apostrophe."""
    cells = [*map(str, table.columns)]
    columns = [table.iloc[:, at] for at in range(table.shape[1])]
    texts = [column.dtype == object or str(column.dtype) in ("str", "string", "category") for column in columns]
    fixed = table.copy(deep=False)
    for at, column in enumerate(columns):
        if texts[at]:
            cells += [value for value in column if isinstance(value, str)]
            fixed.isetitem(at, [escape_formula(value) if isinstance(value, str) else value for value in column])
    fixed.columns = [escape_formula(str(name)) for name in table.columns]
    return fixed.to_csv(index=False, float_format=float_format, lineterminator="\n"), sum(map(is_formula, cells))


def write_csv(path: Path | str, table: pd.DataFrame, float_format: str, *, make_folder: bool = False) -> None:
    """Write a table as CSV. A Note reports the number of cells with an added apostrophe."""
    text, count = as_csv(table, float_format)
    write_text(path, text, make_folder=make_folder)
    warn_about_escapes(count, Path(path).name)  # its folder may have a temporary name


def warn_about_escapes(count: int, where: str) -> None:
    """Warn that `count` cells were written with an added apostrophe."""
    if count:
        many = count != 1
        cells = f"{count:,} cell{'s' * many} that a spreadsheet would run as {'formulas' if many else 'a formula'}"
        warnings.warn(
            f"{where}: an apostrophe was written before {cells}; "
            "`predict` removes it when it reads the file, in other programs remove it yourself",
            Note,
            stacklevel=3,
        )
