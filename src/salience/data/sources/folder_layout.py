"""Detection of the layout of a folder of items: whether subfolders are splits, classes, or ignored.

photos/cat photos/dog                     classes
photos/Training/cat photos/Testing/cat    splits, and classes in them
archive/photos/cat archive/photos/dog     classes: a folder that contains only one folder is skipped
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salience.data.sources.folder_tree import folders_with_items, items_directly_in
from salience.data.sources.query import Query, choose_split, split_of
from salience.errors import UserError
from salience.units import counted, printable

if TYPE_CHECKING:
    from salience.modalities import Modality

SHOWN = 5


@dataclass(frozen=True)
class Layout:
    """The layout of a folder of items.

    Attributes:
        root: The folder that is listed; ids of items are relative to it.
        split: Name of the split.
        classes: Names of the class folders of all splits, so that a label is the same in each; empty without classes.
        inside: Path from `root` to the class folders, "" or "photos/".
        notes: What was inferred, and how to change it.
        splits: Names of all splits, if there are several.
    """

    root: Path
    split: str = "train"
    classes: tuple[str, ...] = ()
    inside: str = ""
    notes: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()

    def class_of(self, path: str) -> str | None:
        """Return the class folder of a path relative to `root`; None if there is none."""
        first, below, _ = path.removeprefix(self.inside).partition("/")
        return first if below and path.startswith(self.inside) else None


def find_layout(path: Path, query: Query, kind: Modality[Any]) -> Layout:
    """Return the layout of the folder at `path`: as given by `query.reading`, otherwise inferred from folder names.

    Args:
        path: The folder.
        query: The options of the user.
        kind: The kind of data of its items.

    Raises:
        UserError: The requested split does not exist, or the folder cannot be listed.
    """
    said = query.reading.folders
    if said == "flat":
        return Layout(path, choose_split(query.split, ["train"], str(path)))
    top = path if said == "classes" else _unwrapped(path, kind)
    names = folders_with_items(top, kind.item_extensions)
    splits = {} if said == "classes" else _splits(names, everything=said == "splits")
    if said == "splits" and not splits:
        raise UserError(
            f"source: {path} has no subfolder of {kind.plural} to read as a split; leave out --folders splits"
        )
    if splits:
        return _of_split(top, splits, names, query, kind)
    split = choose_split(query.split, ["train"], str(path))
    inside = "" if top == path else f"{top.relative_to(path).as_posix()}/"
    layout = Layout(path, split, tuple(names), inside)
    return replace(layout, notes=(*_class_notes(layout, query), *_split_warnings(top, names, query, kind)))


def _unwrapped(folder: Path, kind: Modality[Any], *, within_split: bool = False) -> Path:
    """Descend through folders that contain only one folder of folders, and return the last one.

    Args:
        folder: The folder to start from.
        kind: The kind of data of the items.
        within_split: Whether it is a split already, so that a folder with the name of a split is skipped too
            (train/train/cat).
    """
    while True:
        names = folders_with_items(folder, kind.item_extensions)
        if (
            len(names) != 1
            or items_directly_in(folder, kind.item_extensions)
            or (split_of(names[0]) and not within_split)
        ):
            return folder
        if within_split and names[0] == folder.name:  # test/test/1.png: no class of that name
            folder /= names[0]
            continue
        if not folders_with_items(folder / names[0], kind.item_extensions):
            return folder  # its items are one class
        folder /= names[0]


def _splits(names: list[str], *, everything: bool) -> dict[str, str]:
    """Return the folder of each split; empty if the folders are not splits.

    Folders are splits if all of them, or at least two, have the name of a split.

    Raises:
        UserError: Two folders have names of the same split.
    """
    found: dict[str, str] = {}
    for name in names:
        split = split_of(name) or (name if everything else None)
        if split is None:
            continue
        if split in found:
            both = f"{printable(found[split])} and {printable(name)}"
            raise UserError(
                f"source: {both} both name the split {split}; rename one, or give --folders classes or flat"
            )
        found[split] = name
    return found if len(found) == len(names) or len(found) > 1 else {}


def _of_split(top: Path, splits: dict[str, str], names: list[str], query: Query, kind: Modality[Any]) -> Layout:
    split = choose_split(query.split, list(splits), str(top))
    holders = {name: _unwrapped(top / folder, kind, within_split=True) for name, folder in splits.items()}
    classes = sorted({name for holder in holders.values() for name in folders_with_items(holder, kind.item_extensions)})
    root, holder = top / splits[split], holders[split]
    inside = "" if holder == root else f"{holder.relative_to(root).as_posix()}/"
    layout = Layout(root, split, tuple(classes), inside, splits=tuple(splits) if len(splits) > 1 else ())
    shown = ", ".join(name if name == folder else f"{name} ({printable(folder)})" for name, folder in splits.items())
    notes = [f"folders are read as splits: {shown}; this is {split}; use --folders classes or flat to change this"]
    if others := [name for name in names if name not in splits.values()]:
        notes.append(f"{counted(len(others), 'folder')} outside the splits skipped: {_format_names(others)}")
    if beside := items_directly_in(top, kind.item_extensions):
        notes.append(f"{counted(beside, kind.item, kind.plural)} outside the folders of the splits skipped")
    return replace(layout, notes=(*notes, *_class_notes(layout, query)))


def _class_notes(layout: Layout, query: Query) -> tuple[str, ...]:
    if not layout.classes or query.labels is not None:  # labels from a file take the place of classes
        return ()
    where = f" in {printable(layout.inside)}" if layout.inside else ""
    found = counted(len(layout.classes), "class", "classes")
    return (f"folders{where} are read as {found}: {_format_names(layout.classes)}; use --folders flat to ignore them",)


def _split_warnings(top: Path, classes: list[str], query: Query, kind: Modality[Any]) -> tuple[str, ...]:
    if query.reading.folders is not None:
        return ()
    named = [name for name in classes if split_of(name)]
    if not named:
        return _splits_in_classes(top, classes, kind)
    is_one = f"the class folder {printable(named[0])} has the name of a split"
    return (f"{is_one}; use --folders splits to read it as one",)


def _splits_in_classes(top: Path, classes: list[str], kind: Modality[Any]) -> tuple[str, ...]:
    """Return a note if each class folder contains splits (cats/train, cats/test), which are read together."""
    inside = {name for one in classes[:SHOWN] for name in folders_with_items(top / one, kind.item_extensions)}
    if not inside or not all(map(split_of, inside)):
        return ()
    return (
        f"the subfolders of each class have names of splits ({_format_names(sorted(inside))}) and are read together; "
        "to read them as splits, put the classes into one folder per split: train/cat, test/cat",
    )


def _format_names(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(map(printable, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")
