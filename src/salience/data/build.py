"""From what a source holds to stored rows: converted in order, block by block, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from salience.batch import Column, Spec
from salience.data.built import Built, Options, check_modality
from salience.data.decoding import build_encoded
from salience.data.progress import progress_bar
from salience.data.rows import BLOCK_BYTES, Scan, store
from salience.data.source import Encoded, Found, Frames
from salience.errors import UserError
from salience.modalities import image, table
from salience.modalities.cells import LARGEST_EXACT
from salience.modalities.square import square_arrays
from salience.modalities.survey import survey
from salience.reading import AS_FOUND, Aspect, Reading

LARGEST_PIXEL = 1e37  # images are computed with in float32, whose largest is 3.4e38


def build(found: Found, options: Options, folder: Path | None, *, in_memory: bool) -> Built:
    """Raises UserError where nothing can be read, values are not finite, or the data do not fit `options.spec`."""
    content, path = found.content, None if folder is None else folder / "x.bin"
    pictures = isinstance(content, Encoded) or (isinstance(content, np.ndarray) and content.ndim != 2)
    check_modality("image" if pictures else "table", options.spec)
    if isinstance(content, Encoded):
        return build_encoded(content, found, options, path)
    if isinstance(content, Frames):
        return build_frames(content, options, path)
    if not len(content) or not content.size:
        raise UserError(f"source: an array of shape {content.shape} has no items")
    # In memory, or mapped from the user's own file: used where it lies, if nothing has to change.
    lies_well = in_memory or isinstance(content, np.memmap)
    if content.ndim == 2:
        return build_matrix(content, options, path, lies_well)
    return build_images(content, found, options, path, lies_well)


@dataclass(frozen=True)
class Plan:
    """What becomes of an array of images: how a block is converted, into what, and whether nothing changes at all."""

    convert: Callable[[np.ndarray], np.ndarray]
    shape: tuple[int, ...]
    dtype: np.dtype
    unchanged: bool
    notes: tuple[str, ...] = ()


def build_images(array: np.ndarray, found: Found, options: Options, path: Path | None, lies_well: bool) -> Built:
    """From an array [n h w], [n c h w] or [n h w c]."""
    images, want = image.as_images(array), options.spec
    if want is not None:
        refuse_one_alone(array.shape, want)
    plan = _own_plan(images, options) if want is None else plan_for(images, want, options.aspect)
    blocks = _blocks(images, plan.convert, options.progress)
    x, scan = _keep(images, blocks, plan.shape, plan.dtype, path, plan.unchanged and lies_well)
    spec = want or image.make_spec(plan.shape, plan.dtype.name, scan.moments, views=found.views)
    return Built(x, spec, len(images), len(images), scan.fingerprint, notes=plan.notes)


def _own_plan(images: np.ndarray, options: Options) -> Plan:
    dtype, channels = image.stored_dtype(images), images.shape[1]
    side, notes = image.choose_resolution(np.array([images.shape[:1:-1]]), options.resolution, options.aspect)
    unchanged = images.shape[2:] == (side, side) and images.dtype == dtype
    return Plan(
        lambda block: square_arrays(image.as_stored(block, dtype), side, options.aspect),
        (channels, side, side),
        dtype,
        unchanged,
        notes,
    )


def plan_for(images: np.ndarray, want: Spec, aspect: Aspect) -> Plan:
    """For images [n c h w] that are to be as a run's spec says."""
    image.check_convertible(images.shape[1], want)
    have = image.read_by_type(images.shape[1:], images.dtype, want)

    def convert(block: np.ndarray) -> np.ndarray:
        image.require_scale(block, have, want)
        return image.convert(image.as_stored(block, np.dtype(have.dtype)), have, want, aspect)

    unchanged = images.shape[1:] == want.shape and images.dtype == want.dtype
    notes = image.reading_notes(np.array([images.shape[:1:-1]]), np.array([images.shape[1]]), want, aspect)
    return Plan(convert, want.shape, np.dtype(want.dtype), unchanged, notes)


def refuse_one_alone(shape: tuple[int, ...], want: Spec) -> None:
    """One colour image [h w 3] or [3 h w] would be read as grey ones [n h w]."""
    if len(shape) == 3 and want.channels == 3 and 3 in (shape[0], shape[-1]):
        raise UserError(
            f"source: an array of shape {shape} may be one RGB image, or {shape[0]} grey ones; "
            "give one image alone as x[None], grey ones as x[:, None]"
        )


def build_matrix(array: np.ndarray, options: Options, path: Path | None, lies_well: bool) -> Built:
    """From numbers [n columns], each column a number; float32 and float64 stay, other types become float64."""
    want = options.spec
    native = array.dtype.newbyteorder("=")
    stored = native if native in (np.float32, np.float64) else np.dtype(np.float64)
    if want is not None:
        _check_columns(array.shape[1], want)
        stored = np.dtype(want.dtype)
    blocks = _blocks(array, lambda block: block.astype(stored, copy=False), options.progress, stored)
    x, scan = _keep(array, blocks, array.shape[1:], stored, path, array.dtype == stored and lies_well)
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
                return (f"the array holds whole numbers beyond 2^53, such as {value}, which are rounded",)
    return ()


def build_frames(frames: Frames, options: Options, path: Path | None) -> Built:
    """From DataFrames, one after another."""
    want, there = options.spec, _check_names(frames, options.spec)
    wanted = None if want is None else [column.name for column in want.columns]

    def chunks() -> Iterator[pd.DataFrame]:
        named = (frame.rename(columns=str) for frame in frames.chunks())
        return named if wanted is None else (frame[wanted] for frame in named)

    seen = survey(chunks(), texts=frames.texts, reading=frames.reading, comma=frames.comma)
    columns, notes = seen.columns() if want is None else (want.columns, seen.notes(want.columns))
    notes += seen.never_held(frames.held) if want is None else table.unused(there, want)
    if not seen.rows or not columns:
        what = "has no rows" if not seen.rows else f"has no column of numbers or categories ({'; '.join(notes)})"
        raise UserError(f"source: the table {what}")
    if want is not None:
        table.refuse_texts(seen, columns)
    dtype = np.dtype(want.dtype if want else "float64" if seen.wide else "float32")
    coder = table.RowCoder(columns, dtype.name, seen.rules)

    x, scan = store(_encoded(chunks(), coder), seen.rows, (len(columns),), dtype, path)
    spec = want or table.make_spec(columns, dtype.name, scan.moments)
    notes = (*frames.notes(), *notes, *coder.notes())
    commas = frames.texts and seen.rules.decimal == "," and not coder.mixed
    found = Reading(decimal=",") if commas else AS_FOUND
    return Built(x, spec, scan.count, scan.count, scan.fingerprint, notes=notes, reading=found)


def _check_names(frames: Frames, want: Spec | None) -> list[str]:
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


def _blocks(
    array: np.ndarray,
    convert: Callable[[np.ndarray], np.ndarray],
    progress: bool,
    stored: np.dtype | None = None,
) -> Iterator[np.ndarray]:
    """Converted pieces of an array, in order. Raises UserError at a value that is not finite, or not in `stored`."""
    step = max(1, BLOCK_BYTES // max(1, array[:1].nbytes))
    with progress_bar(len(array), "preparing", progress and array.nbytes > 16 * BLOCK_BYTES) as bar:
        for start in range(0, len(array), step):
            block = array[start : start + step]
            refuse_not_finite(block, start, stored)
            yield convert(block)
            bar.update(len(block))


def refuse_not_finite(block: np.ndarray, first_row: int, stored: np.dtype | None = None) -> None:
    """Raises UserError where a value is missing or infinite, or larger than can be computed with.

    stored: what a table is stored as; images are computed with in float32
    """
    if block.dtype.kind != "f" or not block.size:
        return
    limit = LARGEST_PIXEL if stored is None else float(np.finfo(stored).max)
    low, high = float(block.min()), float(block.max())
    if low >= -limit and high <= limit:  # of NaN neither is true
        return
    with np.errstate(over="ignore"):  # of long doubles
        at = np.argwhere(~(np.abs(block.astype(np.float64)) <= limit))[0]
    value = block[tuple(at)]
    where = f"row {first_row + at[0]}, " + (
        f"column {at[1]}" if len(at) == 2 else f"position {tuple(map(int, at[1:]))}"
    )
    if np.isfinite(value):
        raise UserError(f"source: the array holds {value!s} at {where}, beyond {limit:.3g}; rescale the values")
    raise UserError(
        f"source: the array holds {value} at {where}; remove or replace such values "
        "(missing values belong to DataFrames and CSV files, as empty cells, and to masked arrays)"
    )


def _refuse_overflow(block: np.ndarray, columns: Sequence[Column], first_row: int) -> None:
    """Raises UserError for a number beyond the type it is stored as.  block: [n columns]"""
    if not np.isinf(block).any():
        return
    row, column = np.argwhere(np.isinf(block))[0]
    raise UserError(
        f"source: the value at row {first_row + row}, column '{columns[column].name}' is beyond "
        f"{np.finfo(block.dtype).max:.3g}, the largest that {block.dtype} holds; rescale the column"
    )


def _keep(
    array: np.ndarray,
    blocks: Iterable[np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    path: Path | None,
    as_is: bool,
) -> tuple[np.ndarray | None, Scan]:
    """Where the rows are (None: in the file) and what they are. `as_is`: the array is used where it lies."""
    if not as_is:
        return store(blocks, len(array), shape, dtype, path)
    scan = Scan(shape, dtype)
    for block in blocks:
        scan.add(block)
    return array, scan


def _check_columns(found: int, want: Spec) -> None:
    if found != len(want.columns):
        raise UserError(f"source: mismatched columns: the run was trained on {len(want.columns)}, this has {found}")
    categories = [column.name for column in want.columns if column.kind == "category"]
    if categories:
        raise UserError(
            f"source: mismatched columns: the run was trained on texts in column '{categories[0]}'; "
            "give a DataFrame or a file with named columns, not an array"
        )
