"""Listing of the items below a folder, one file each. The names of all skipped files and folders are kept for notes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salience.errors import UserError
from salience.fields.source import mark_of_stat
from salience.units import counted, printable, with_article

if TYPE_CHECKING:
    from salience.modalities import Modality

SHOWN = 3
COUNTED = 10_000  # files that are looked at to choose the kind of data of a folder


@dataclass
class Listing:
    """The content of a folder. Paths are sorted, relative to the folder, and use / as separator.

    Attributes:
        kind: The kind of data of the items.
        paths: Paths of the items.
        marks: State of each item on the disk, which changes when the item does.
        ignored: Files that are not items.
        repeated: Links to folders that were listed already.
        closed: Folders that cannot be listed, with the reason.
    """

    kind: Modality[Any]
    paths: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    closed: list[tuple[str, str]] = field(default_factory=list)

    def notes(self) -> tuple[str, ...]:
        """Return one note for each kind of skipped files and folders."""
        found = []
        if self.ignored:
            one = len(self.ignored) == 1
            were = f"is not {with_article(self.kind.item)} and was" if one else f"are not {self.kind.plural} and were"
            found.append(f"{counted(len(self.ignored), 'file')} {were} skipped: {_format_names(self.ignored)}")
        if self.repeated:
            links = "folder link leads" if len(self.repeated) == 1 else "folder links lead"
            names = _format_names(self.repeated)
            found.append(f"{len(self.repeated):,} {links} to a folder that was listed already, skipped: {names}")
        for name, reason in self.closed[:SHOWN]:
            found.append(f"folder {printable(name)} cannot be listed ({reason}) and is skipped")
        if len(self.closed) > SHOWN:
            found.append(f"{len(self.closed) - SHOWN:,} more folders cannot be listed")
        return tuple(found)


def list_items(root: Path, kind: Modality[Any]) -> Listing:
    """List every item below `root`. Links are followed, each folder is listed once, hidden names are skipped.

    Args:
        root: The folder.
        kind: The kind of data of the items.

    Raises:
        UserError: `root` itself cannot be listed.
    """
    listing, items, visited = Listing(kind), list[tuple[str, str]](), set[tuple[int, int]]()
    waiting = [(root, "")]  # a stack instead of recursion, because folders may be nested a thousand deep
    while waiting:
        folder, prefix = waiting.pop()
        try:
            entries = _entries(folder, prefix, listing, visited)
        except OSError as error:
            if folder == root:
                raise UserError(f"source: cannot list {folder}: {error.strerror}") from error
            listing.closed.append((prefix.rstrip("/"), str(error.strerror)))
            continue
        for entry in entries:
            name = prefix + entry.name
            if _is_folder(entry):
                waiting.append((Path(entry.path), f"{name}/"))
            elif has_extension(entry.name, kind.item_extensions):
                items.append((name, _mark(entry)))
            else:
                listing.ignored.append(name)
    items.sort()
    paths, marks = [path for path, _ in items], [mark for _, mark in items]
    return Listing(kind, paths, marks, sorted(listing.ignored), sorted(listing.repeated), sorted(listing.closed))


def _entries(folder: Path, prefix: str, listing: Listing, visited: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
    """List a folder by name, so that of two links to one folder, every machine lists the same one."""
    state = folder.stat()
    if (state.st_dev, state.st_ino) in visited:
        listing.repeated.append(prefix.rstrip("/"))
        return []
    visited.add((state.st_dev, state.st_ino))
    shown = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    return sorted(shown, key=lambda entry: entry.name, reverse=True)  # the stack restores the order


def has_extension(name: str, extensions: Container[str]) -> bool:
    """Return whether the extension of a file is one of these, in any case."""
    return "." + name.rpartition(".")[2].lower() in extensions


def count_kinds(folder: Path, kinds: Iterable[Modality[Any]]) -> Counter[str]:
    """Count the items of each kind of data below `folder` by their extensions, at most `COUNTED` in all."""
    kind_of = {extension: kind.name for kind in kinds for extension in kind.item_extensions}
    found = Counter[str]()
    for name in islice(_names_below(folder), COUNTED):
        if kind := kind_of.get("." + name.rpartition(".")[2].lower()):
            found[kind] += 1
    return found


def folders_with_items(folder: Path, extensions: Container[str]) -> list[str]:
    """Return the sorted names of the folders directly in `folder` that contain an item at any depth.

    Raises:
        UserError: `folder` cannot be listed.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if _is_folder(entry) and entry.name[0] != ".")
    except OSError as error:
        raise UserError(f"source: cannot list {folder}: {error.strerror}") from error
    return [name for name in names if _holds_item(folder / name, extensions)]


def items_directly_in(folder: Path, extensions: Container[str]) -> int:
    """Count the items directly in `folder`."""
    return sum(has_extension(entry.name, extensions) and not _is_folder(entry) for entry in _visible(folder))


def _holds_item(folder: Path, extensions: Container[str]) -> bool:
    """Return whether there is an item at any depth. Stops at the first one."""
    return any(has_extension(name, extensions) for name in _names_below(folder))


def _names_below(folder: Path) -> Iterator[str]:
    """Iterate over the names of all files below `folder`; those directly in it come first."""
    waiting, visited = [folder], set[tuple[int, int]]()
    while waiting:
        here = waiting.pop()
        try:
            state = here.stat()
            entries = list(_visible(here))
        except OSError:
            continue
        if (state.st_dev, state.st_ino) in visited:
            continue
        visited.add((state.st_dev, state.st_ino))
        yield from (entry.name for entry in entries if not _is_folder(entry))
        waiting += [Path(entry.path) for entry in entries if _is_folder(entry)]


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    return (entry for entry in os.scandir(folder) if not entry.name.startswith("."))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: reading it reports the reason
        return False


def _mark(entry: os.DirEntry[str]) -> str:
    try:
        return mark_of_stat(entry.stat())  # waits only for a file that has just changed
    except OSError:  # a broken link: reading it reports the reason
        return "gone"


def _format_names(names: list[str]) -> str:
    return ", ".join(map(printable, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")
