"""Tables from DataFrames or from matrices to stored rows [n columns]."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from salience.errors import UserError
from salience.fields.blocks import can_use_in_place, convert_blocks, keep_rows
from salience.fields.build_options import Built, Options
from salience.fields.content import Found, Frames
from salience.fields.row_writer import BLOCK_BYTES, store
from salience.modalities.table import row_coder as table
from salience.modalities.table.cells import LARGEST_EXACT
from salience.modalities.table.spec import Column, TableSpec
from salience.modalities.table.survey import survey
from salience.reading import AS_FOUND, Reading


def build(found: Found, options: Options) -> Built:
    """Raises UserError where nothing can be read, values are not finite, or they do not fit `options.spec`."""
    if isinstance(found.content, Frames):
        return build_frames(found.content, options)
    assert isinstance(found.content, np.ndarray)
    return build_matrix(found.content, options)


def build_matrix(array: np.ndarray, options: Options) -> Built:
    """From numbers [n columns], each column a number; float32 and float64 stay, other types become float64."""
    want = options.spec
    native = array.dtype.newbyteorder("=")
    stored = native if native in (np.float32, np.float64) else np.dtype(np.float64)
    if want is not None:
        _check_columns(array.shape[1], want)
        stored = np.dtype(want.dtype)
    blocks = convert_blocks(array, lambda block: block.astype(stored, copy=False), options.progress, stored)
    as_is = array.dtype == stored and can_use_in_place(array, in_memory=options.path is None)
    x, scan = keep_rows(array, blocks, array.shape[1:], stored, options.path, as_is)
    columns = [Column(str(position)) for position in range(array.shape[1])]
    spec = want or table.make_spec(columns, stored.name, scan.moments)
    return Built(x, spec, len(array), len(array), scan.fingerprint, notes=_rounded(array))


def _rounded(array: np.ndarray) -> tuple[str, ...]:
    """On integers [n columns] that are other ones as floats."""
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8:
        return ()
    step = max(1, BLOCK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        block = array[start : start + step]
        large = np.flatnonzero(
            (block.astype(np.float64) >= LARGEST_EXACT) | (block.astype(np.float64) <= -LARGEST_EXACT)
        )
        for at in large:
            row, column = divmod(int(at), array.shape[1])
            if int(block[row, column]) != int(float(block[row, column])):
                value = f"{block[row, column]} in row {start + row}, column {column}"
                return (f"the array contains integers beyond 2^53, such as {value}, which are rounded",)
    return ()


def build_frames(frames: Frames, options: Options) -> Built:
    """From DataFrames, one after another."""
    want, there = options.spec, _check_names(frames, options.spec)
    wanted = None if want is None else [column.name for column in want.columns]

    def chunks() -> Iterator[pd.DataFrame]:
        named = (frame.rename(columns=str) for frame in frames.chunks())
        return named if wanted is None else (frame[wanted] for frame in named)

    seen = survey(chunks(), texts=frames.texts, reading=frames.reading, comma=frames.comma)
    columns, notes = seen.columns() if want is None else (want.columns, seen.notes(want.columns))
    notes += seen.note_unused_words(frames.held) if want is None else table.note_unused_columns(there, want)
    if not seen.rows or not columns:
        what = "has no rows" if not seen.rows else f"has no column of numbers or categories ({'; '.join(notes)})"
        raise UserError(f"source: the table {what}")
    if want is not None:
        table.require_numeric_columns(seen, columns)
    dtype = np.dtype(want.dtype if want else "float64" if seen.wide else "float32")
    coder = table.RowCoder(columns, dtype.name, seen.rules)

    x, scan = store(_encoded(chunks(), coder), seen.rows, (len(columns),), dtype, options.path)
    spec = want or table.make_spec(columns, dtype.name, scan.moments)
    notes = (*frames.notes(), *notes, *coder.notes())
    commas = frames.texts and seen.rules.decimal == "," and not coder.mixed
    found = Reading(decimal=",") if commas else AS_FOUND
    return Built(x, spec, scan.count, scan.count, scan.fingerprint, notes=notes, reading=found)


def _check_names(frames: Frames, want: TableSpec | None) -> list[str]:
    """The names of the columns, where they matter and there are rows. Raises UserError where some are missing."""
    named = frames.reading.categorical or ()
    first = next(iter(frames.chunks()), None) if want is not None or named else None
    if first is None:
        return []
    there = [str(name) for name in first.columns]
    if want is not None:
        table.match_columns(there, want)
    table.check_categorical(named, there, want)
    return there


def _encoded(chunks: Iterable[pd.DataFrame], coder: table.RowCoder) -> Iterator[np.ndarray]:
    """Blocks of rows. Raises UserError for a number beyond the type they are stored as."""
    for frame in chunks:
        row = coder.row
        with np.errstate(over="ignore"):  # refused in the next line, with its place
            block = coder.encode(frame)
        _refuse_overflow(block, coder.columns, row)
        yield block


def _refuse_overflow(block: np.ndarray, columns: Sequence[Column], first_row: int) -> None:
    """Raises UserError for a number beyond the type it is stored as.  block: [n columns]"""
    if not np.isinf(block).any():
        return
    row, column = np.argwhere(np.isinf(block))[0]
    raise UserError(
        f"source: the value at row {first_row + row}, column '{columns[column].name}' is beyond "
        f"{np.finfo(block.dtype).max:.3g}, the largest {block.dtype} value; rescale the column"
    )


def _check_columns(found: int, want: TableSpec) -> None:
    if found != len(want.columns):
        raise UserError(f"source: mismatched columns: the run was trained on {len(want.columns)}, got {found}")
    categories = [column.name for column in want.columns if column.kind == "category"]
    if categories:
        raise UserError(
            f"source: mismatched columns: the run was trained on texts in column '{categories[0]}'; "
            "give a DataFrame or a file with named columns, not an array"
        )
