"""Listing of the images below a folder. The names of all skipped files and folders are kept for notes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from salience.errors import UserError
from salience.fields.source import mark_of_stat
from salience.modalities.image.headers import EXTENSIONS
from salience.units import counted, printable

SHOWN = 3


@dataclass
class Listing:
    """The content of a folder. Paths are sorted, relative to the folder, and use / as separator.

    Attributes:
        paths: Paths of the images.
        marks: State of each image on the disk, which changes when the image does.
        ignored: Files that are not images.
        repeated: Links to folders that were listed already.
        closed: Folders that cannot be listed, with the reason.
    """

    paths: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    closed: list[tuple[str, str]] = field(default_factory=list)

    def notes(self) -> tuple[str, ...]:
        """Return one note for each kind of skipped files and folders."""
        found = []
        if self.ignored:
            were = "is not an image and was" if len(self.ignored) == 1 else "are not images and were"
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


def list_images(root: Path) -> Listing:
    """List every image below `root`. Links are followed, each folder is listed once, hidden names are skipped.

    Raises:
        UserError: `root` itself cannot be listed.
    """
    listing, images, visited = Listing(), list[tuple[str, str]](), set[tuple[int, int]]()
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
            elif is_image(entry.name):
                images.append((name, _mark(entry)))
            else:
                listing.ignored.append(name)
    images.sort()
    paths, marks = [path for path, _ in images], [mark for _, mark in images]
    return Listing(paths, marks, sorted(listing.ignored), sorted(listing.repeated), sorted(listing.closed))


def _entries(folder: Path, prefix: str, listing: Listing, visited: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
    """List a folder by name, so that of two links to one folder, every machine lists the same one."""
    state = folder.stat()
    if (state.st_dev, state.st_ino) in visited:
        listing.repeated.append(prefix.rstrip("/"))
        return []
    visited.add((state.st_dev, state.st_ino))
    shown = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    return sorted(shown, key=lambda entry: entry.name, reverse=True)  # the stack restores the order


def is_image(name: str) -> bool:
    """Return whether a file is an image, by its extension."""
    return "." + name.rpartition(".")[2].lower() in EXTENSIONS


def folders_with_images(folder: Path) -> list[str]:
    """Return the sorted names of the folders directly in `folder` that contain an image at any depth.

    Raises:
        UserError: `folder` cannot be listed.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if _is_folder(entry) and entry.name[0] != ".")
    except OSError as error:
        raise UserError(f"source: cannot list {folder}: {error.strerror}") from error
    return [name for name in names if _holds_image(folder / name)]


def images_directly_in(folder: Path) -> int:
    """Count the images directly in `folder`."""
    return sum(is_image(entry.name) and not _is_folder(entry) for entry in _visible(folder))


def _holds_image(folder: Path) -> bool:
    """Return whether there is an image at any depth. Stops at the first one."""
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
        if any(is_image(entry.name) and not _is_folder(entry) for entry in entries):
            return True
        waiting += [Path(entry.path) for entry in entries if _is_folder(entry)]
    return False


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
