"""Tables as sources: rows of numbers and categories, or a column of encoded images, with labels and groups.

`columnar` and `delimited` read the files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from salience.data.labels import encode_class_numbers, encode_groups, encode_labels_with_notes
from salience.data.sources.arrays import read_values
from salience.data.sources.binary_texts import decode_byte_columns
from salience.data.sources.query import Query
from salience.data.sources.raw_table import Table
from salience.data.sources.split_column import get_requested_split, select_split
from salience.data.sources.text_column import find_text_column, read_texts
from salience.errors import UserError
from salience.fields.content import Encoded, Found, Frames
from salience.fields.source import Source, mark_of
from salience.modalities.image import MODALITY as IMAGE
from salience.modalities.image.extensions import EXTENSIONS
from salience.modalities.image.headers import Blob, Refused
from salience.modalities.table.cells import Rules, find_words, parse, plain
from salience.modalities.table.survey import survey
from salience.units import printable

BATCH_ROWS = 1024
LOOKED_AT = 20  # number of cells that are examined to detect images
CHUNK_ROWS = 65536
CELLS = 3  # version of the reading of cells; increase it to invalidate prepared data
IMAGE_MAGIC = (
    *(b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*", b"\0\0\1\0"),
    *(b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
)


def open_frame(data: Any, query: Query) -> Source:
    """Open a DataFrame."""
    if not isinstance(data, pd.DataFrame):
        raise UserError(f"source: unsupported pandas type {type(data).__name__}; give a DataFrame")
    return Source("dataframe", get_requested_split(query), lambda: read_items(_frame_table(data), query, "a DataFrame"))


def from_file(name: str, split: str, location: str, mark: str, table: Callable[[], Table], query: Query) -> Source:
    def read() -> Found:
        return read_items(table(), query, name)

    options = f"cells {CELLS} labels {_short(query.labels)} groups {_short(query.groups)} {query.reading}"
    return Source(name, split, read, mark_of([mark, options]), f"{location} {options}")


def read_items(table: Table, query: Query, name: str) -> Found:
    """Read the images or rows of a table, without the columns of labels, groups and splits.

    Args:
        table: The table.
        query: The options of the user.
        name: Name of the source, for errors.
    """
    if repeated := [name for name, count in Counter(table.names).items() if count > 1]:
        raise UserError(f"source: more than one column is named '{min(repeated)}'; rename all but one")
    chosen = select_split(decode_byte_columns(table), query, name)
    table = chosen.table
    label = _label_column(table, query)
    group = _column(table, query.groups, "groups") if isinstance(query.groups, str) else None
    labels, classes, notes = _labels(table, label, query)
    groups = _groups(table, group, query)
    if table.image is not None and query.reading.categorical:
        raise UserError(
            f"categorical: the items are the images in column '{printable(table.image)}', which have no categories; "
            "leave this option out"
        )
    if table.image is not None:
        rows, chunks = _image_chunks(table, table.image)
        if others := [name for name in table.names if name not in (label, group, table.image)]:
            shown = ", ".join(map(printable, others[:5])) + (", ..." if len(others) > 5 else "")
            notes += (f"the items are the images in column '{printable(table.image)}'; other columns ignored: {shown}",)
        return Found(
            Encoded(IMAGE.name, rows, chunks),
            chosen.ids,
            labels,
            classes,
            groups,
            notes=table.notes + notes,
            splits=chosen.splits,
        )
    if (text := find_text_column(table, [label, group], query)) is not None:
        return read_texts(table, chosen, text, Found(None, chosen.ids, labels, classes, groups, notes=notes), query)  # type: ignore[arg-type]
    names = [name for name in table.names if name not in (label, group)]
    if was_index := [name for name in names if name in table.index]:
        notes += (f"column '{was_index[0]}' is left out: it was the index of the saved DataFrame",)
        names = [name for name in names if name not in was_index]
    taken = [name for name in (label, group) if name is not None]
    content = Frames(
        lambda: table.frames(names), table.texts, query.reading, table.comma, _find_named_words(table, taken, query),
        table.late_notes, tuple(names),
    )  # fmt: skip
    return Found(
        content, chosen.ids, labels, classes, groups, notes=table.notes + notes, reading=table.found,
        splits=chosen.splits,
    )  # fmt: skip


def _label_column(table: Table, query: Query) -> str | None:
    """Return the label column: as given, otherwise the one named label or the only ClassLabel of Hugging Face."""
    if isinstance(query.labels, str):
        return _column(table, query.labels, "labels")
    if query.labels is not None:
        return None
    named = [name for name in table.names if name.lower() == "label"]
    class_labels = [name for name in table.names if _class_names(table, name)]
    return next(iter(named), class_labels[0] if len(class_labels) == 1 else None)


def _column(table: Table, name: str, argument: str) -> str:
    if name not in table.names:
        raise UserError(f"{argument}: no column '{name}'; the columns are: {', '.join(table.names[:20])}")
    return name


def _labels(table: Table, column: str | None, query: Query) -> tuple[Any, tuple[str, ...], tuple[str, ...]]:
    missing = query.reading.missing or ()
    if column is None:
        given = None if query.labels is None else read_values(query.labels, _count(table), "labels")
        return (
            (None, (), ())
            if given is None
            else encode_labels_with_notes(given, "the label array", missing, measurements=True)
        )
    values = _values(table.frames, column)
    if names := _class_names(table, column):
        return encode_class_numbers(values, names, f"labels: column '{column}'"), tuple(names), ()
    named = isinstance(query.labels, str)  # named by the user, who may want a regression target
    try:
        rules = _rules(table, values, query)
        return encode_labels_with_notes(
            values, f"column '{column}'", missing, texts=table.texts, measurements=named, rules=rules
        )
    except UserError:
        if named:
            raise
        note = f"column '{column}' is left out: it contains measurements, not classes; use --labels to predict it"
        return None, (), (note,)


def _rules(table: Table, values: pd.Series, query: Query) -> Rules | None:
    """Return the format of numbers in a text file, inferred from the whole table if the labels are ambiguous."""
    if not table.texts:
        return None
    strict = Rules(",", strict=True)
    if not any("," in text and parse(text, strict) is not None for text in values.dropna().unique()):
        return Rules(query.reading.decimal or ".", query.reading.decimal is not None)
    return survey(table.frames(table.names), texts=True, reading=query.reading, comma=table.comma).rules


def _groups(table: Table, column: str | None, query: Query) -> Any:
    if column is not None:
        values = _values(table.frames, column)
        return encode_groups(values.mask(values.isin(query.reading.missing or ())))
    given = None if query.groups is None else read_values(query.groups, _count(table), "groups")
    return None if given is None else encode_groups(given)


def _find_named_words(table: Table, columns: list[str], query: Query) -> frozenset[str]:
    """Return the words given with --missing that occur in labels or groups."""
    given = [values for values in (query.labels, query.groups) if values is not None and not isinstance(values, str)]
    words = query.reading.missing or ()
    if not words:
        return frozenset()
    series = [*(_values(table.frames, name) for name in columns), *(pd.Series(values) for values in given)]
    return frozenset().union(*(find_words(plain(values), words) for values in series))


def _values(frames: Callable[[list[str]], Iterator[pd.DataFrame]], column: str) -> pd.Series:
    parts = [chunk[column] for chunk in frames([column])]
    if not parts:
        raise UserError("source: the table has no rows")
    return pd.concat(parts, ignore_index=True)


def _count(table: Table) -> int:
    return sum(len(chunk) for chunk in table.frames(table.names[:1]))


def _image_chunks(table: Table, column: str) -> tuple[int, Callable[[], Iterator[list[Blob]]]]:
    """Return the number of images, and a function that iterates over their bytes or paths."""

    folder = table.folder and table.folder.resolve()

    def chunks() -> Iterator[list[Blob]]:
        for chunk in table.frames([column]):
            cells = chunk[column].to_list()
            for start in range(0, len(cells), BATCH_ROWS):
                yield [_blob(cell, folder) for cell in cells[start : start + BATCH_ROWS]]

    other = next((name for name in table.names if name != column), column)
    return sum(len(chunk) for chunk in table.frames([other])), chunks


def _blob(cell: Any, folder: Path | None) -> Blob:
    """Return the encoded image of a cell: bytes, a path, or {"bytes": ..., "path": ...}."""
    if isinstance(cell, dict):
        cell = cell.get("bytes") if cell.get("bytes") is not None else cell.get("path")
    if isinstance(cell, str):
        return cell if folder is None else _path_within(folder, cell)
    return bytes(cell) if isinstance(cell, (bytes, bytearray, memoryview)) else None


def _path_within(folder: Path, name: str) -> str | Refused:
    """Return a path inside the folder, or a refusal. Foreign data must not make the user's other files visible."""
    try:
        path = (folder / name).resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, a loop of links
        return Refused("its path is not valid")
    return str(path) if path.is_relative_to(folder) else Refused("its path is outside the folder of the data file")


def _class_names(table: Table, column: str) -> list[str]:
    feature = table.features.get(column, {})
    return list(feature.get("names") or []) if feature.get("_type") == "ClassLabel" else []


def _frame_table(data: pd.DataFrame) -> Table:
    notes: tuple[str, ...] = ()
    if isinstance(data.columns, pd.MultiIndex):
        names = ["_".join(str(part) for part in parts if str(part)) for parts in data.columns]
        notes = (f"multi-level column names are joined by '_', such as '{names[0]}'",) if names else ()
        data = data.set_axis(names, axis=1)
    data = data.rename(columns=str)

    def frames(columns: list[str]) -> Iterator[pd.DataFrame]:
        yield data[columns]

    names = [str(name) for name in data.columns]
    candidates = [name for name in dict.fromkeys(names) if names.count(name) == 1 and data[name].dtype == object]
    return Table(names, frames, {}, image_column(candidates, frames), binary=tuple(candidates), notes=notes)


def image_column(candidates: Iterable[str], frames: Callable[[list[str]], Iterator[pd.DataFrame]]) -> str | None:
    """Return the first of these columns whose first cells are mostly encoded images, by their bytes or names."""
    return next((name for name in candidates if _holds_images(next(frames([name]), None), name)), None)


def _holds_images(frame: pd.DataFrame | None, name: str) -> bool:
    if frame is None:
        return False
    cells = [cell for cell in islice(frame[name].dropna(), LOOKED_AT) if isinstance(cell, dict | bytes)]
    found = [_is_image(cell) for cell in cells]
    return bool(found) and sum(found) >= len(found) / 2


def _is_image(cell: dict[str, Any] | bytes) -> bool:
    if isinstance(cell, bytes):
        return cell.startswith(IMAGE_MAGIC) or cell[4:8] == b"ftyp"
    content, path = cell.get("bytes"), cell.get("path")
    if isinstance(content, bytes):
        return _is_image(content)
    return isinstance(path, str) and "." + path.rpartition(".")[2].lower() in EXTENSIONS


def _short(given: Any) -> str:
    if given is None or isinstance(given, str):
        return str(given)
    return mark_of(pd.Series(given).astype(str))


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
