"""Conversion of arrays block by block, in constant memory, with a check for values that are not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from salience.errors import UserError
from salience.fields.row_writer import BLOCK_BYTES, Scan, store
from salience.progress import progress_bar

LARGEST_FLOAT32 = 1e37  # most networks compute in float32, whose largest value is 3.4e38


def can_use_in_place(content: np.ndarray, *, in_memory: bool) -> bool:
    """Return whether an unchanged array may be used without a copy: in memory, or memory-mapped from its file."""
    return in_memory or isinstance(content, np.memmap)


def convert_blocks(
    array: np.ndarray,
    convert: Callable[[np.ndarray], np.ndarray],
    progress: bool,
    stored: np.dtype | None = None,
) -> Iterator[np.ndarray]:
    """Iterate over converted blocks of an array. Raises UserError for a value that is not finite or too large."""
    step = max(1, BLOCK_BYTES // max(1, array[:1].nbytes))
    with progress_bar(len(array), "preparing", progress and array.nbytes > 16 * BLOCK_BYTES) as bar:
        for start in range(0, len(array), step):
            block = array[start : start + step]
            refuse_not_finite(block, start, stored)
            yield convert(block)
            bar.update(len(block))


def refuse_not_finite(block: np.ndarray, first_row: int, stored: np.dtype | None = None) -> None:
    """Raise UserError if a value is missing, infinite or too large.

    Args:
        block: [n ...] values.
        first_row: Row number of the first value, for the error.
        stored: Type that a table is stored as; images are limited by float32.
    """
    if block.dtype.kind != "f" or not block.size:
        return
    limit = LARGEST_FLOAT32 if stored is None else float(np.finfo(stored).max)
    low, high = float(block.min()), float(block.max())
    if low >= -limit and high <= limit:  # false for NaN
        return
    with np.errstate(over="ignore"):  # long doubles
        at = np.argwhere(~(np.abs(block.astype(np.float64)) <= limit))[0]
    value = block[tuple(at)]
    where = f"row {first_row + at[0]}, " + (
        f"column {at[1]}" if len(at) == 2 else f"position {tuple(map(int, at[1:]))}"
    )
    if np.isfinite(value):
        raise UserError(f"source: the array contains {value!s} at {where}, beyond {limit:.3g}; rescale the values")
    raise UserError(
        f"source: the array contains {value} at {where}; remove or replace such values "
        "(missing values are supported in DataFrames, in masked arrays, and as empty cells of CSV files)"
    )


def keep_rows(
    array: np.ndarray,
    blocks: Iterable[np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    path: Path | None,
    as_is: bool,
) -> tuple[np.ndarray | None, Scan]:
    """Store the blocks, or use the array itself if `as_is`. Return the rows (None: in the file) and the scan."""
    if not as_is:
        return store(blocks, len(array), shape, dtype, path)
    scan = Scan(shape, dtype)
    for block in blocks:
        scan.add(block)
    return array, scan
