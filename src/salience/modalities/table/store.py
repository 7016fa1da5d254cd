"""Tables from DataFrames or from matrices to stored rows [n columns]."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from salience.errors import UserError
from salience.fields.blocks import can_be_used_as_is, converted, keep
from salience.fields.built import Built, Options
from salience.fields.content import Found, Frames
from salience.fields.rows import store
from salience.modalities.table import rows as table
from salience.modalities.table.spec import Column, TableSpec
from salience.modalities.table.survey import survey


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
    blocks = converted(array, lambda block: block.astype(stored, copy=False), options.progress, stored)
    as_is = array.dtype == stored and can_be_used_as_is(array, in_memory=options.path is None)
    x, scan = keep(array, blocks, array.shape[1:], stored, options.path, as_is)
    columns = [Column(str(position)) for position in range(array.shape[1])]
    spec = want or table.make_spec(columns, stored.name, scan.moments)
    return Built(x, spec, len(array), len(array), scan.fingerprint)


def build_frames(frames: Frames, options: Options) -> Built:
    """From DataFrames, one after another."""
    want = options.spec
    if want is not None:
        _check_names(frames, want)
    wanted = None if want is None else [column.name for column in want.columns]

    def chunks() -> Iterator[pd.DataFrame]:
        named = (frame.rename(columns=str) for frame in frames.chunks())
        return named if wanted is None else (frame[wanted] for frame in named)

    seen = survey(chunks(), texts=frames.texts, reading=frames.reading, comma=frames.comma)
    columns, notes = seen.columns() if want is None else (want.columns, seen.notes(want.columns))
    if not seen.rows or not columns:
        what = "has no rows" if not seen.rows else f"has no column of numbers or categories ({'; '.join(notes)})"
        raise UserError(f"source: the table {what}")
    if want is not None:
        table.refuse_texts(seen, columns)
    dtype = np.dtype(want.dtype if want else "float64" if seen.wide else "float32")
    coder = table.RowCoder(columns, dtype.name, seen.rules)

    def blocks() -> Iterator[np.ndarray]:
        row = 0
        for frame in chunks():
            with np.errstate(over="ignore"):  # refused in the next line, with its place
                block = coder.encode(frame)
            _refuse_overflow(block, columns, row)
            yield block
            row += len(frame)

    x, scan = store(blocks(), seen.rows, (len(columns),), dtype, options.path)
    spec = want or table.make_spec(columns, dtype.name, scan.moments)
    notes = (*frames.notes(), *notes, *coder.notes())
    return Built(x, spec, scan.count, scan.count, scan.fingerprint, notes=notes)


def _check_names(frames: Frames, want: TableSpec) -> None:
    first = next(iter(frames.chunks()), None)
    if first is not None:
        table.match_columns([str(name) for name in first.columns], want)


def _refuse_overflow(block: np.ndarray, columns: Sequence[Column], first_row: int) -> None:
    """Raises UserError for a number beyond the type it is stored as.  block: [n columns]"""
    if not np.isinf(block).any():
        return
    row, column = np.argwhere(np.isinf(block))[0]
    raise UserError(
        f"source: the value at row {first_row + row}, column '{columns[column].name}' is beyond "
        f"{np.finfo(block.dtype).max:.3g}, the largest that {block.dtype} holds; rescale the column"
    )


def _check_columns(found: int, want: TableSpec) -> None:
    if found != len(want.columns):
        raise UserError(f"source: mismatched columns: the run was trained on {len(want.columns)}, this has {found}")
    categories = [column.name for column in want.columns if column.kind == "category"]
    if categories:
        raise UserError(
            f"source: mismatched columns: the run was trained on texts in column '{categories[0]}'; "
            "give a DataFrame or a file with named columns, not an array"
        )
