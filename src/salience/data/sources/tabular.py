"""A table from anywhere: rows of numbers and categories, or a column of encoded images; its labels and groups.

Files are read by `columnar` and `delimited`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from salience.data.labels import encode_groups, encode_known, encode_labels
from salience.data.source import Encoded, Found, Frames, Source, mark_of
from salience.data.sources.arrays import values_for
from salience.data.sources.query import Query, choose_split
from salience.errors import UserError
from salience.modalities.decode import Blob, Refused

BATCH_ROWS = 1024
CHUNK_ROWS = 65536
UNNAMED = "Unnamed: "
IMAGE_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")


@dataclass(frozen=True)
class Table:
    """Rows and columns from anywhere.

    names: of the columns;  rows: how many
    frames: DataFrames of these columns, in order
    features: Hugging Face's description of the columns, empty where there is none
    image: the column that holds encoded images, None where none does
    texts: every cell is a text as it stood in a file
    folder: of the data file; image paths are relative to it and may not leave it. None for what a program built
    verbatim: `frames` in which only an empty cell is missing, where that makes a difference: "None" may be a label
    index: columns that were the index of the DataFrame that was saved; they are used as labels or groups only
    """

    names: list[str]
    frames: Callable[[list[str]], Iterator[pd.DataFrame]]
    features: dict[str, Any]
    image: str | None
    texts: bool = False
    folder: Path | None = None
    verbatim: Callable[[list[str]], Iterator[pd.DataFrame]] | None = None
    index: tuple[str, ...] = ()


def frame(data: Any, query: Query) -> Source:
    """A DataFrame in memory."""
    if not isinstance(data, pd.DataFrame):
        raise UserError(f"source: a pandas {type(data).__name__} is not read; give a DataFrame")
    choose_split(query.split, ["train"], "a DataFrame")
    return Source("dataframe", "train", lambda: found_in(_frame_table(data), query))


def from_file(name: str, split: str, location: str, mark: str, table: Callable[[], Table], query: Query) -> Source:
    def read() -> Found:
        return found_in(table(), query)

    options = f"labels {_short(query.labels)} groups {_short(query.groups)} {query.reading}"
    return Source(name, split, read, mark_of([mark, options]), f"{location} {options}")


def found_in(table: Table, query: Query) -> Found:
    """Images or rows of a table, with the label and group columns taken out."""
    if repeated := {name for name in table.names if table.names.count(name) > 1}:
        raise UserError(f"source: more than one column is named '{min(repeated)}'; name them apart")
    label = _label_column(table, query)
    group = _column(table, query.groups, "groups") if isinstance(query.groups, str) else None
    labels, classes, notes = _labels(table, label, query)
    groups = _groups(table, group, query)
    if table.image is not None:
        rows, chunks = _image_chunks(table, table.image)
        return Found(Encoded(rows, chunks), None, labels, classes, groups, notes=notes)
    names = [name for name in table.names if name not in (label, group)]
    indices = [name for name in names if name.startswith(UNNAMED) or name == "__index_level_0__"]
    if indices:
        notes += (f"column '{indices[0]}' is left out: it numbers the rows",)
    names = [name for name in names if name not in indices]
    if was_index := [name for name in names if name in table.index]:
        notes += (f"column '{was_index[0]}' is left out: it was the index of the DataFrame that was saved",)
        names = [name for name in names if name not in was_index]
    return Found(Frames(lambda: table.frames(names), table.texts), None, labels, classes, groups, notes=notes)


def _label_column(table: Table, query: Query) -> str | None:
    """The label column: as named, else the one named label, else Hugging Face's only ClassLabel."""
    if isinstance(query.labels, str):
        return _column(table, query.labels, "labels")
    if query.labels is not None:
        return None
    named = [name for name in table.names if name.lower() == "label"]
    class_labels = [name for name in table.names if _class_names(table, name)]
    return next(iter(named), class_labels[0] if len(class_labels) == 1 else None)


def _column(table: Table, name: str, argument: str) -> str:
    if name not in table.names:
        raise UserError(f"{argument}: there is no column '{name}'; there are: {', '.join(table.names[:20])}")
    return name


def _labels(table: Table, column: str | None, query: Query) -> tuple[Any, tuple[str, ...], tuple[str, ...]]:
    if column is None:
        given = None if query.labels is None else values_for(query.labels, _count(table), "labels")
        return (None, (), ()) if given is None else (*encode_labels(given, measurements=True), ())
    values = _values(table.verbatim or table.frames, column)
    if names := _class_names(table, column):
        return encode_known(values, names, f"labels: column '{column}'"), tuple(names), ()
    named = isinstance(query.labels, str)  # by the user, who may want a regression target
    try:
        return (*encode_labels(_parsed(values) if table.texts else values, measurements=named), ())
    except UserError:
        if named:
            raise
        told = f"column '{column}' is left out: it holds measurements, not classes; name it with --labels to predict it"
        return None, (), (told,)


def _groups(table: Table, column: str | None, query: Query) -> Any:
    if column is not None:
        return encode_groups(_values(table.frames, column))
    given = None if query.groups is None else values_for(query.groups, _count(table), "groups")
    return None if given is None else encode_groups(given)


def _values(frames: Callable[[list[str]], Iterator[pd.DataFrame]], column: str) -> pd.Series:
    return pd.concat([chunk[column] for chunk in frames([column])], ignore_index=True)


def _parsed(values: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce")
    return numbers if numbers.notna().sum() == values.notna().sum() else values


def _count(table: Table) -> int:
    return sum(len(chunk) for chunk in table.frames(table.names[:1]))


def _image_chunks(table: Table, column: str) -> tuple[int, Callable[[], Iterator[list[Blob]]]]:
    """How many images there are, and their bytes or paths."""

    folder = table.folder and table.folder.resolve()

    def chunks() -> Iterator[list[Blob]]:
        for chunk in table.frames([column]):
            cells = chunk[column].to_list()
            for start in range(0, len(cells), BATCH_ROWS):
                yield [_blob(cell, folder) for cell in cells[start : start + BATCH_ROWS]]

    other = next((name for name in table.names if name != column), column)
    return sum(len(chunk) for chunk in table.frames([other])), chunks


def _blob(cell: Any, folder: Path | None) -> Blob:
    """An encoded image out of a cell: bytes, a path, or {"bytes": ..., "path": ...}."""
    if isinstance(cell, dict):
        cell = cell.get("bytes") if cell.get("bytes") is not None else cell.get("path")
    if isinstance(cell, str):
        return cell if folder is None else _path_within(folder, cell)
    return bytes(cell) if isinstance(cell, (bytes, bytearray, memoryview)) else None


def _path_within(folder: Path, name: str) -> str | Refused:
    """Data from elsewhere must not name the user's other files: what is shown of them could be passed on."""
    try:
        path = (folder / name).resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, a loop of links
        return Refused("its path is no path")
    return str(path) if path.is_relative_to(folder) else Refused("its path leads out of the data file's folder")


def _class_names(table: Table, column: str) -> list[str]:
    feature = table.features.get(column, {})
    return list(feature.get("names") or []) if feature.get("_type") == "ClassLabel" else []


def _frame_table(data: pd.DataFrame) -> Table:
    data = data.rename(columns=str)

    def frames(columns: list[str]) -> Iterator[pd.DataFrame]:
        yield data[columns]

    image = next((str(name) for name in data.columns if _holds_images(data[name])), None)
    return Table([str(name) for name in data.columns], frames, {}, image)


def _holds_images(column: Any) -> bool:
    if not isinstance(column, pd.Series) or column.dtype != object or column.dropna().empty:
        return False
    cell = column.dropna().iloc[0]
    if isinstance(cell, dict):
        return "bytes" in cell
    return isinstance(cell, bytes) and cell.startswith(IMAGE_MAGIC)


def _short(given: Any) -> str:
    if given is None or isinstance(given, str):
        return str(given)
    return mark_of(pd.Series(given).astype(str))


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
