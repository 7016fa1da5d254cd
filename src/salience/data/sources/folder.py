"""A folder of images, flat or by class, perhaps in split folders. Listed by us: nothing is dropped silently."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from salience.data.ids import Ids
from salience.data.labels import encode_groups, labelled
from salience.data.source import Encoded, Found, Source, mark_of, mark_of_files
from salience.data.sources.query import SPLITS, Query, choose_split
from salience.errors import UserError
from salience.label_files import Matched, match_items, read_label_file
from salience.modalities.decode import EXTENSIONS, Blob
from salience.units import counted, printable

CHUNK_FILES = 1024
SHOWN = 3


@dataclass
class Listing:
    """Images below a folder: relative paths with / in them, sorted, what marks their state, and what is no image."""

    paths: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def images(path: Path, query: Query) -> Source:
    """Raises UserError where there is no image, or not the split."""
    root, split, split_roots = _split_folder(path, query)
    listing = list_images(root)
    if not listing.paths:
        seen = f"; it has {counted(len(listing.ignored), 'other file')}" if listing.ignored else ""
        raise UserError(f"source: no image in {root}{seen}; images end in .jpg, .png, .tif, .bmp, .webp and the like")
    classes = _classes(split_roots)
    side = _label_file(query)
    mark = mark_of(
        [*listing.paths, *listing.marks, *classes, query.groups, mark_of_files([side] if side else []), query.reading]
    )
    return Source(
        path.resolve().name or "folder",
        split,
        lambda: _found(root, listing, classes, query),
        mark,
        f"{root.resolve()} labels {query.labels} groups {query.groups} {query.reading}",
    )


def one_image(path: Path, query: Query) -> Source:
    """A single file as a set of one."""
    choose_split(query.split, ["train"], str(path))
    listing = Listing([path.name])
    return Source(
        path.name,
        "train",
        lambda: _found(path.parent, listing, (), query),
        mark_of_files([path]),
        str(path.resolve()),
    )


def list_images(root: Path) -> Listing:
    """Every image below `root`, links followed, each folder once. Hidden files are passed over."""
    listing = Listing()
    _walk(root, "", listing, set())
    order = sorted(range(len(listing.paths)), key=listing.paths.__getitem__)
    return Listing([listing.paths[i] for i in order], [listing.marks[i] for i in order], sorted(listing.ignored))


def _walk(folder: Path, prefix: str, listing: Listing, visited: set[tuple[int, int]]) -> None:
    state = folder.stat()
    if (state.st_dev, state.st_ino) in visited:
        return
    visited.add((state.st_dev, state.st_ino))
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise UserError(f"source: cannot list {folder}: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            _walk(Path(entry.path), f"{prefix}{entry.name}/", listing, visited)
        elif _suffix(entry.name) in EXTENSIONS:
            listing.paths.append(prefix + entry.name)
            listing.marks.append(_mark(entry))
        else:
            listing.ignored.append(prefix + entry.name)


def _suffix(name: str) -> str:
    return "." + name.rpartition(".")[2].lower()


def _mark(entry: os.DirEntry[str]) -> str:
    try:
        stat = entry.stat()
    except OSError:  # a broken link: reading it gives the reason
        return "gone"
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _split_folder(path: Path, query: Query) -> tuple[Path, str, list[Path]]:
    """The folder to read, its split, and the folders of all splits.

    Top-level folders are splits only if train is among them and all are split names; else they are classes.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"source: cannot list {path}: {error.strerror}") from error
    if "train" in names and all(name in SPLITS for name in names):
        split = choose_split(query.split, names, str(path))
        return path / split, split, [path / name for name in names]
    split = choose_split(query.split, ["train"], str(path))
    return path, split, [path]


def _classes(roots: list[Path]) -> tuple[str, ...]:
    """Names of the class folders of all splits, so that labels mean the same in each."""
    names = {entry.name for root in roots for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != "."}
    return tuple(sorted(names))


def _found(root: Path, listing: Listing, classes: tuple[str, ...], query: Query) -> Found:
    labels, notes = None, _notes(listing)
    if query.labels is not None:
        labels, classes, more = _labels_from_file(listing.paths, query)
        notes += more
    elif classes:
        number = {name: code for code, name in enumerate(classes)}
        labels = np.array([number.get(path.split("/")[0], -1) for path in listing.paths], dtype=np.int64)
        classes, labels = _without_empty(classes, labels)
    return Found(
        Encoded(len(listing.paths), lambda: _chunks(root, listing.paths)),
        Ids.of(listing.paths),
        labels,
        classes,
        _groups(listing.paths, query.groups),
        notes=notes,
    )


def _without_empty(classes: tuple[str, ...], labels: np.ndarray) -> tuple[tuple[str, ...], np.ndarray | None]:
    return (classes, labels) if (labels >= 0).any() else ((), None)


def _chunks(root: Path, paths: list[str]) -> Iterator[list[Blob]]:
    for start in range(0, len(paths), CHUNK_FILES):
        yield [f"{root}/{path}" for path in paths[start : start + CHUNK_FILES]]


def _notes(listing: Listing) -> tuple[str, ...]:
    if not listing.ignored:
        return ()
    shown = ", ".join(map(printable, listing.ignored[:SHOWN])) + (", ..." if len(listing.ignored) > SHOWN else "")
    count = len(listing.ignored)
    were = "is no image and was" if count == 1 else "are no images and were"
    return (f"{counted(count, 'file')} {were} passed over: {shown}",)


def _groups(paths: list[str], pattern: object) -> np.ndarray | None:
    if pattern is None:
        return None
    try:
        expression = re.compile(str(pattern))
    except re.error as error:
        raise UserError(f"groups: {pattern!r} is no regular expression: {error}") from error
    matches = [expression.search(path) for path in paths]
    if not any(matches):
        raise UserError(f"groups: {pattern!r} is found in none of the paths, such as {printable(paths[0])}")
    return encode_groups([m and (m[1] if expression.groups else m[0]) for m in matches])


def _label_file(query: Query) -> Path | None:
    if query.labels is None:
        return None
    path = Path(str(query.labels)).expanduser()
    if path.suffix.lower() != ".csv" or not path.is_file():
        raise UserError(f"labels: for a folder of images give a CSV file with columns item,label, not {query.labels!r}")
    return path


def _labels_from_file(paths: list[str], query: Query) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Class numbers, names of the classes, and notes."""
    file = Path(str(query.labels)).expanduser()
    lines = read_label_file(file, empty=True)
    found = match_items(lines, paths, file, name="the folder", strangers=True)
    if not found.label_of:
        example = printable(paths[0])
        raise UserError(f"labels: no item of {query.labels} is in the folder; items are paths such as {example}")
    labels, classes, notes = labelled(
        [found.label_of.get(row) for row in range(len(paths))],
        "the labels file",
        query.reading.missing or (),
        texts=True,
    )
    return labels, classes, (*_stranger_notes(found, query), *notes)


def _stranger_notes(found: Matched, query: Query) -> tuple[str, ...]:
    if not found.strangers:
        return ()
    first, count = found.strangers[0], len(found.strangers)
    name = "names" if count == 1 else "name"
    return (
        f"{counted(count, 'line')} of {query.labels} {name} no item of the folder, "
        f"the first is line {first.number}: '{printable(first.item)}'",
    )
