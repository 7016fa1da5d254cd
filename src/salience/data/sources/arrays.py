"""Arrays: in memory, or in .npy and .npz files. Nothing pickled is ever loaded."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from salience.data.labels import encode_groups, encode_known, labelled
from salience.data.source import Found, Source, mark_of, mark_of_files
from salience.data.sources.query import SPLITS, Query, choose_split, only_train
from salience.errors import UserError
from salience.units import counted

NUMBERS = "biuf"
LABELS = 2  # how labels are read; another number where it changes, so that what was prepared before is not used
X_NAMES = ("x", "X", "images", "data", "arr_0")
Y_NAMES = ("y", "Y", "labels", "label", "target")


def memory(source: Any, query: Query) -> Source:
    """An array, a tensor, or nested lists of numbers."""
    array = _as_array(source)
    only_train(query, "an array")
    return Source("array", query.split or "train", lambda: found_array(array, query))


def npy(path: Path, query: Query) -> Source:
    """A .npy file, mapped where it lies."""
    only_train(query, str(path))
    return Source(
        path.stem,
        "train",
        lambda: found_array(_checked(load_npy(path, "source", mapped=True), str(path)), query),
        mark_of([mark_of_files([path]), side_mark(query)]),
        str(path.resolve()),
    )


def npz(path: Path, query: Query) -> Source:
    """A .npz file with an array x (or images, data), labels y if there are any, or both for each split."""
    names = _names_in(path)
    splits = {split: pair for split in SPLITS if (pair := _pair(names, split))}
    if not splits:
        splits = {"train": _only_pair(names, path)}
    split = choose_split(query.split, splits, str(path))
    x_name, y_name = splits[split]

    def read() -> Found:
        with np.load(path, allow_pickle=False) as archive:
            x = _checked(_member(archive, x_name, path), f"{path}, array {x_name}")
            y = _member(archive, y_name, path) if y_name and query.labels is None else None
        return found_array(x, query, y)

    mark = mark_of([mark_of_files([path]), side_mark(query)])
    return Source(path.stem, split, read, mark, str(path.resolve()))


def values_for(given: Any, count: int, argument: str) -> np.ndarray | None:
    """[count] labels or groups, given as values or as a .npy file of them; None where not given."""
    if given is None:
        return None
    if isinstance(given, (str, Path)):
        path = Path(given).expanduser()
        if path.suffix != ".npy" or not path.is_file():
            raise UserError(
                f"{argument}: an array has no column '{given}'; give the values [n], or a .npy file of them"
            )
        given = load_npy(path, argument)
    values = _as_numpy(given).reshape(-1)
    if len(values) != count:
        raise UserError(
            f"{argument}: {counted(len(values), 'value')} for {counted(count, 'item')}; one for each is needed"
        )
    return values


def found_array(
    x: np.ndarray,
    query: Query,
    y: np.ndarray | None = None,
    *,
    classes: tuple[str, ...] = (),
    views: str | None = None,
) -> Found:
    """An array with its labels: as the user gave them, else `y`; where `classes` are known, y are numbers of them."""
    groups = values_for(query.groups, len(x), "groups")
    group_codes = None if groups is None else encode_groups(groups)
    given = values_for(query.labels, len(x), "labels")
    if given is None and y is not None:
        given = values_for(y, len(x), "labels")
        if classes:
            return Found(x, None, encode_known(given, classes, "labels"), classes, group_codes, views=views)
    if given is None:
        return Found(x, None, None, (), group_codes, views=views)
    labels, names, notes = labelled(given, "the label array", query.reading.missing or ())
    return Found(x, None, labels, names, group_codes, views=views, notes=notes)


def _as_array(source: Any) -> np.ndarray:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(source, torch.Tensor):
        tensor = source.detach().cpu()
        return _checked((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy(), "the tensor")
    if isinstance(source, np.ndarray):
        return _checked(source, "the array")
    if hasattr(source, "toarray"):
        raise UserError("source: a sparse matrix is not read; make it dense with .toarray()")
    if not isinstance(source, (list, tuple)) and not hasattr(source, "__array__"):
        raise UserError(
            f"source: {type(source).__name__} is of no kind we read; "
            "give a path, an array, a tensor, a DataFrame or a Hugging Face Dataset"
        )
    return _checked(_as_numpy(source), type(source).__name__)


def _as_numpy(values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise UserError(f"source: {type(values).__name__} makes no array: {error}") from error


def _checked(array: np.ndarray, what: str) -> np.ndarray:
    if array.dtype.kind not in NUMBERS:
        raise UserError(f"source: {what} holds {array.dtype}, not numbers; for texts and categories give a DataFrame")
    if not 2 <= array.ndim <= 4:
        raise UserError(
            f"source: {what} has shape {array.shape}; give [n h w], [n c h w] or [n h w c] for images, "
            "[n columns] for a table (one item alone: x[None])"
        )
    return array


def load_npy(path: Path, argument: str, *, mapped: bool = False) -> np.ndarray:
    """The array in a .npy file. Raises UserError where it is damaged, or pickled: that would run code from the file."""
    try:
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except Exception as error:  # numpy raises whatever the damage provokes
        raise UserError(f"{argument}: {path} cannot be read as .npy: {' '.join(str(error).split())}") from error
    if not isinstance(array, np.ndarray):
        raise UserError(f"{argument}: {path} cannot be read as .npy: it is a .npz file of several arrays; rename it")
    return array


def _names_in(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"source: {path} cannot be read as .npz: {error}") from error


def _member(archive: Any, name: str, path: Path) -> np.ndarray:
    try:
        return archive[name]
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"source: array '{name}' of {path} cannot be read: {' '.join(str(error).split())}") from error


def _pair(names: list[str], split: str) -> tuple[str, str | None] | None:
    """The names of a split's array and labels: x_train and y_train, or train_images and train_labels."""

    def first(stems: tuple[str, ...]) -> str | None:
        return next((name for stem in stems for name in (f"{stem}_{split}", f"{split}_{stem}") if name in names), None)

    x = first(X_NAMES)
    return (x, first(Y_NAMES)) if x else None


def _only_pair(names: list[str], path: Path) -> tuple[str, str | None]:
    x = next((name for name in X_NAMES if name in names), names[0] if len(names) == 1 else None)
    if x is None:
        raise UserError(f"source: {path} has no array named x, images or data; it has: {', '.join(names)}")
    return x, next((name for name in Y_NAMES if name in names), None)


def side_mark(query: Query) -> str:
    """Of labels and groups that are given beside an array: as values, or as files; and of how labels are read."""
    marks = [f"labels {LABELS} {query.reading.missing}"]
    for side in (query.labels, query.groups):
        if isinstance(side, (str, Path)):
            path = Path(side).expanduser()
            marks.append(mark_of_files([path]) if path.is_file() else str(side))
        else:
            marks.append("" if side is None else mark_of(_as_numpy(side).reshape(-1).tolist()))
    return mark_of(marks)
