"""Arrays in memory and in .npy and .npz files. Pickled objects are never loaded."""

from __future__ import annotations

import math
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from salience.data.labels import encode_class_numbers, encode_groups, encode_labels_with_notes, note_unused_words
from salience.data.sources.query import SPLITS, Query, choose_split, require_train_split
from salience.errors import UserError
from salience.fields.content import Arrays, Found, Frames
from salience.fields.source import Source, mark_of, mark_of_files, mark_of_values
from salience.fields.space import require_memory
from salience.units import counted, printable

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = "biuf"
LABELS = "biufSUOMm"  # kinds of types
REMEDIES = {
    "c": "give the real and imaginary parts as separate columns",
    "O": "convert it with .astype(float), or give a DataFrame for texts and missing values",
    "M": "give a DataFrame, which supports columns of dates",
    "m": "give a DataFrame, which supports columns of durations",
    "V": "give pandas.DataFrame(array), which supports columns of different types",
}
SHOWN = 20  # names in a message
FRAME_ROWS = 65536
LABEL_FORMAT = 2  # version of the reading of labels; increase it to invalidate prepared data
X_NAMES = ("x", "X", "images", "data", "arr_0")
Y_NAMES = ("y", "Y", "labels", "label", "target")


def open_memory(source: Any, query: Query) -> Source:
    """Open an array, a tensor, nested lists of numbers, or a list of arrays of different lengths."""
    require_train_split(query, "an array")
    if (listed := _unequal_arrays(source)) is not None:
        return Source("list", query.split or "train", lambda: _read_list(listed, query))
    array = _as_array(source)
    return Source("array", query.split or "train", lambda: read_array(array, query))


def open_npy(path: Path, query: Query) -> Source:
    """Open a .npy file, memory-mapped."""
    require_train_split(query, str(path))
    return Source(
        path.stem,
        "train",
        lambda: read_array(_checked(load_npy(path, "source", mapped=True), str(path)), query),
        mark_of([mark_of_files([path]), make_side_mark(query)]),
        str(path.resolve()),
    )


def open_npz(path: Path, query: Query) -> Source:
    """Open a .npz file with an array x (or images, data) and optional labels y, or with both for each split."""
    names = names_in_npz(path)
    splits = {split: pair for split in SPLITS if (pair := _pair(names, split))}
    if not splits:
        splits = {"train": _only_pair(names, path)}
    split = choose_split(query.split, splits, str(path))
    x_name, y_name = splits[split]

    def read() -> Found:
        x = _checked(load_member(path, x_name), f"{path}, array {printable(x_name)}")
        y = load_member(path, y_name) if y_name and query.labels is None else None
        return read_array(x, query, y)

    mark = mark_of([mark_of_files([path]), make_side_mark(query)])
    several = tuple(splits) if len(splits) > 1 else ()
    return Source(path.stem, split, read, mark, str(path.resolve()), several)


def read_values(given: Any, count: int, argument: str) -> np.ndarray | pd.Series | None:
    """Return labels or groups [count], given as values or as a .npy file; None if not given.

    Masked values are missing.
    """
    if given is None:
        return None
    if isinstance(given, (str, Path)):
        path = Path(given).expanduser()
        if path.suffix != ".npy" or not path.is_file():
            raise UserError(
                f"{argument}: an array has no column '{given}'; give the values [n], or a .npy file with the values"
            )
        given = load_npy(path, argument)
    values = _as_numpy(given, argument).reshape(-1)
    if values.dtype.kind not in LABELS or values.dtype in ("M8", "m8"):  # times without a unit
        raise UserError(f"{argument}: expected numbers, texts or dates, got {_short(values.dtype)}; convert the values")
    if len(values) != count:
        raise UserError(
            f"{argument}: expected one value per item, got {counted(len(values), 'value')} for {counted(count, 'item')}"
        )
    if np.ma.is_masked(values):
        return _with_missing(values)
    return np.asarray(values, dtype=values.dtype.newbyteorder("="))  # pandas knows no other byte order


def _with_missing(values: np.ndarray) -> pd.Series:
    """Convert masked values to missing values of pandas; integers stay integers."""
    import pandas as pd

    return pd.Series(values.data, dtype=object).mask(np.ma.getmaskarray(values)).convert_dtypes()


def read_array(
    x: np.ndarray,
    query: Query,
    y: np.ndarray | None = None,
    *,
    classes: tuple[str, ...] = (),
    views: str | None = None,
) -> Found:
    """Return an array with its labels: those of the user, otherwise `y`. With `classes`, `y` are class numbers."""
    groups = read_values(query.groups, len(x), "groups")
    group_codes = None if groups is None else encode_groups(groups)
    given = read_values(query.labels, len(x), "labels")
    if given is None and y is not None:
        given = read_values(y, len(x), "labels")
        if classes:
            return Found(x, None, encode_class_numbers(given, classes, "labels"), classes, group_codes, views=views)
    if given is None:
        return Found(_content(x), None, None, (), group_codes, views=views)
    by_user = query.labels is not None
    labels, names, notes = encode_labels_with_notes(
        given, "the label array", query.reading.missing or (), measurements=by_user
    )
    if not query.of_run and not np.ma.is_masked(x):  # in a table, --missing may refer to masked values
        notes += note_unused_words(given, query.reading.missing or ())
    return Found(_content(x), None, labels, names, group_codes, views=views, notes=notes)


def _unequal_arrays(source: Any) -> list[np.ndarray] | None:
    """Return the arrays or tensors of a list if their shapes differ; otherwise None."""
    if not isinstance(source, (list, tuple)) or not source:
        return None
    torch = sys.modules.get("torch")
    types = (np.ndarray,) if torch is None else (np.ndarray, torch.Tensor)
    if not all(isinstance(item, types) for item in source) or len({tuple(item.shape) for item in source}) == 1:
        return None
    return [_as_numpy(item, "source") for item in source]


def _read_list(items: list[np.ndarray], query: Query) -> Found:
    """Return arrays of different shapes, with labels and groups of the user."""
    for row, item in enumerate(items):
        if item.dtype.kind not in NUMBERS:
            raise UserError(f"source: item {row} of the list must contain numbers, got {_short(item.dtype)}")
    filled = [np.ma.filled(item.astype(np.float64), np.nan) if np.ma.is_masked(item) else item for item in items]
    axes = max(item.ndim for item in filled)
    content = Arrays(None, len(items), lambda: iter([list(filled)]), axes=axes)
    return replace(read_array(np.empty((len(items), 0)), query), content=content)


def _content(x: np.ndarray) -> np.ndarray | Frames:
    """Return the array, or a table with missing values if it is masked. Raises UserError for masked pixels."""
    if not np.ma.is_masked(x):
        return np.asarray(x) if isinstance(x, np.ma.MaskedArray) else x
    assert isinstance(x, np.ma.MaskedArray)
    if x.ndim > 2:
        at = tuple(map(int, np.argwhere(np.ma.getmaskarray(x))[0]))
        raise UserError(
            f"source: the value at row {at[0]}, position {at[1:]} is masked, but images cannot have missing values; "
            "replace masked values with .filled(VALUE), or remove these rows"
        )
    return Frames(lambda: _frames(x))


def _frames(x: np.ma.MaskedArray) -> Iterator[pd.DataFrame]:
    import pandas as pd

    dtype = x.dtype if x.dtype in (np.float32, np.float64) else np.dtype(np.float64)
    for start in range(0, len(x), FRAME_ROWS):
        rows = x[start : start + FRAME_ROWS]
        yield pd.DataFrame(np.where(np.ma.getmaskarray(rows), np.nan, rows.data).astype(dtype))


def _as_array(source: Any) -> np.ndarray:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(source, torch.Tensor):
        return _checked(_of_tensor(source, "source"), "the tensor")
    if isinstance(source, np.ndarray):
        return _checked(_as_numpy(source, "source"), "the array")
    if hasattr(source, "toarray"):
        raise UserError("source: sparse matrices are not supported; convert it with .toarray()")
    if not isinstance(source, (list, tuple)) and not hasattr(source, "__array__"):
        raise UserError(
            f"source: unsupported type {type(source).__name__}; "
            "give a path, an array, a tensor, a DataFrame or a Hugging Face Dataset"
        )
    return _checked(_as_numpy(source, "source"), type(source).__name__)


def _as_numpy(values: Any, argument: str) -> np.ndarray:
    """Convert values to a plain array, or to a masked array if values are masked."""
    torch = sys.modules.get("torch")
    try:
        if torch is not None and isinstance(values, (list, tuple)) and values and isinstance(values[0], torch.Tensor):
            values = torch.stack(list(values))
        if torch is not None and isinstance(values, torch.Tensor):
            return _of_tensor(values, argument)
        if isinstance(values, (list, tuple)) and any(isinstance(value, np.ma.MaskedArray) for value in values):
            return np.ma.stack(values)
        if isinstance(values, np.ma.MaskedArray):
            return values.view(np.ma.MaskedArray)
        return np.asarray(values)
    except UserError:
        raise
    except Exception as error:  # `__array__` of a foreign type can raise anything
        raise UserError(
            f"{argument}: cannot convert {type(values).__name__} to an array: {_one_line(error)}"
        ) from error


def _of_tensor(tensor: Any, argument: str) -> np.ndarray:
    import torch

    if tensor.layout != torch.strided:
        raise UserError(f"{argument}: sparse tensors are not supported; convert it with .to_dense()")
    try:
        tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
        if tensor.is_quantized:
            tensor = tensor.dequantize()
        if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
            tensor = tensor.float()  # bfloat16 and 8-bit floats, which NumPy does not support
        values: np.ndarray = tensor.numpy()
        return values
    except (RuntimeError, TypeError, NotImplementedError) as error:  # tensors on the meta device, nested tensors
        raise UserError(
            f"{argument}: cannot convert {type(tensor).__name__} to an array: {_one_line(error)}"
        ) from error


def _checked(array: np.ndarray, what: str) -> np.ndarray:
    if array.dtype.kind not in NUMBERS:
        remedy = REMEDIES.get(array.dtype.kind, "for texts and categories give a DataFrame")
        raise UserError(f"source: {what} must contain numbers, got {_short(array.dtype)}; {remedy}")
    if not 2 <= array.ndim <= 4:
        raise UserError(
            f"source: {what} must have 2 to 4 axes, got shape {array.shape}; give [n h w], [n c h w] or [n h w c] for "
            "images, [n columns] for a table (for a single item, give x[None])"
        )
    return array


def load_npy(path: Path, argument: str, *, mapped: bool = False) -> np.ndarray:
    """Load the array of a .npy file. Raises UserError if it is damaged or pickled, since pickles can run code."""
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                raise ValueError("it is a .npz archive of arrays; rename it to .npz")
            file.seek(0)
            _require_whole(file, path.stat().st_size, f"{argument}: {path}", mapped=mapped)
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except UserError:
        raise
    except Exception as error:  # numpy can raise any exception for a damaged file
        raise UserError(f"{argument}: {path} cannot be read as .npy: {_one_line(error)}") from error
    return _require_text(array, f"{argument}: {path}")


def _require_whole(file: IO[bytes], size: int, what: str, *, mapped: bool = False) -> None:
    """Check the header of a .npy file of `size` bytes.

    Raises:
        ValueError: The header declares more bytes than follow.
        UserError: The array does not fit into memory and is not memory-mapped.
    """
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError("it contains Python objects, which are never unpickled: that could run code from the file")
    needed, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or needed > there:
        raise ValueError(f"its header declares {needed:,} bytes of values, but {there:,} follow")
    if not mapped:
        require_memory(needed, what)


def _require_text(array: np.ndarray, what: str) -> np.ndarray:
    """Raise UserError for invalid Unicode characters."""
    if array.dtype.kind == "U" and array.size and array.dtype.itemsize:
        codes = np.ascontiguousarray(array).view(array.dtype.byteorder.replace("|", "=") + "u4")
        if codes.max() > sys.maxunicode:
            raise UserError(f"{what} is damaged: it contains invalid Unicode characters")
    return array


def names_in_npz(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except Exception as error:  # zipfile raises whatever the damage provokes
        raise UserError(f"source: {path} cannot be read as .npz: {_one_line(error)}") from error


def load_member(path: Path, name: str) -> np.ndarray:
    what = f"source: array '{printable(name)}' of {path}"
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(f"{name}.npy" if f"{name}.npy" in archive.NameToInfo else name)
            with archive.open(info) as file:
                _require_whole(file, info.file_size, what)
            with archive.open(info) as file:
                return _require_text(np.lib.format.read_array(file, allow_pickle=False), what)
    except UserError:
        raise
    except Exception as error:  # zipfile and numpy raise whatever the damage provokes: encryption, unknown compression
        raise UserError(f"{what} cannot be read: {_one_line(error)}") from error


def _short(dtype: np.dtype) -> str:
    return "a structured type" if dtype.names else str(dtype)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _pair(names: list[str], split: str) -> tuple[str, str | None] | None:
    """Return the names of the array and labels of a split: x_train and y_train, or train_images and train_labels."""

    def first(stems: tuple[str, ...]) -> str | None:
        return next((name for stem in stems for name in (f"{stem}_{split}", f"{split}_{stem}") if name in names), None)

    x = first(X_NAMES)
    return (x, first(Y_NAMES)) if x else None


def _only_pair(names: list[str], path: Path) -> tuple[str, str | None]:
    x = next((name for name in X_NAMES if name in names), names[0] if len(names) == 1 else None)
    if x is None:
        shown = ", ".join(printable(name)[:80] for name in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
        raise UserError(f"source: {path} has no array named x, images or data; it has: {shown or 'none'}")
    return x, next((name for name in Y_NAMES if name in names), None)


def make_side_mark(query: Query) -> str:
    """Hash the labels and groups given with an array, as values or files, and how labels are read."""
    marks = [f"labels {LABEL_FORMAT} {query.reading.missing}"]
    for side in (query.labels, query.groups):
        if isinstance(side, (str, Path)):
            path = Path(side).expanduser()
            marks.append(mark_of_files([path]) if path.is_file() else str(side))
        else:
            marks.append("" if side is None else mark_of_values(_as_numpy(side, "labels")))
    return mark_of(marks)
