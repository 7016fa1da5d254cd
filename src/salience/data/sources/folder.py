"""Folders of items, one file each: flat, by class, or by split. Every skipped file is reported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from salience.data.labels import encode_groups, encode_labels_with_notes, note_unused_words
from salience.data.sources.folder_layout import Layout, find_layout
from salience.data.sources.folder_tree import Listing, count_kinds, has_extension, list_items
from salience.data.sources.query import Query, choose_split
from salience.errors import UserError
from salience.fields.content import Encoded, Found
from salience.fields.ids import Ids
from salience.fields.source import Source, mark_of, mark_of_files
from salience.label_files import Matched, match_items, read_label_file
from salience.modalities import Modality, find, known
from salience.modalities.image import MODALITY as IMAGE
from salience.modalities.image.headers import Blob
from salience.units import counted, printable

CHUNK_FILES = 1024
SHOWN_EXTENSIONS = 5


def open_folder(path: Path, query: Query) -> Source:
    """Open a folder of items. Raises UserError if it contains no item or not the requested split."""
    kind, notes = choose_kind(path, query)
    layout = find_layout(path, query, kind)
    listing = list_items(layout.root, kind)
    if not listing.paths:
        seen = f", only {counted(len(listing.ignored), 'other file')}" if listing.ignored else ""
        endings = f"{kind.item} files end in {', '.join(sorted(kind.item_extensions)[:SHOWN_EXTENSIONS])} or similar"
        raise UserError(f"source: no {kind.item} in {layout.root}{seen}; {endings}")
    layout = replace(layout, notes=notes + layout.notes)
    side = _label_file(query)
    asked = [query.groups, mark_of_files([side] if side else []), query.reading]
    return Source(
        path.resolve().name or "folder",
        layout.split,
        lambda: _found(layout, listing, query),
        mark_of([*listing.paths, *listing.marks, *layout.classes, *layout.notes, *asked]),
        f"{layout.root.resolve()} labels {query.labels} groups {query.groups} {query.reading}",
        layout.splits,
    )


def kind_of_file(path: Path) -> Modality[Any] | None:
    """Return the kind of data of which this file is one item, by its extension."""
    return next((kind for kind in known() if has_extension(path.name, kind.item_extensions)), None)


def choose_kind(path: Path, query: Query) -> tuple[Modality[Any], tuple[str, ...]]:
    """Return the kind of data of the items of a folder: the one asked for, otherwise the most frequent; and a note."""
    kinds = [kind for kind in known() if kind.item_extensions]
    if query.reading.kind is not None:
        asked = find(query.reading.kind)
        if asked not in kinds:
            raise UserError(f"kind: {path} is a folder of files, and {asked.plural} are not stored in one file each")
        return asked, ()
    counts = count_kinds(path, kinds)
    if not counts:
        return IMAGE, ()
    shares = {find(name): count / (2 if find(name).accompanies else 1) for name, count in counts.items()}
    chosen, *others = sorted(shares, key=lambda kind: (-shares[kind], kinds.index(kind)))
    others = [one for one in others if not one.accompanies or 2 * counts[one.name] >= counts[chosen.name]]
    if not others:
        return chosen, ()
    also = " and ".join(f"{counts[kind.name]:,} {kind.plural}" for kind in others)
    return chosen, (
        f"the folder is read as {chosen.plural}, and holds {also} too; use --kind {others[0].name} for those",
    )


def open_item(path: Path, kind: Modality[Any], query: Query) -> Source:
    """Open a single file as a source of one item."""
    choose_split(query.split, ["train"], str(path))
    listing = Listing(kind, [path.name])
    return Source(
        path.name,
        "train",
        lambda: _found(Layout(path.parent), listing, query),
        mark_of([mark_of_files([path]), query.reading]),
        f"{path.resolve()} {query.reading}",
    )


def _found(layout: Layout, listing: Listing, query: Query) -> Found:
    labels, classes, notes = None, layout.classes, layout.notes
    if query.labels is not None:
        labels, classes, more = _labels_from_file(listing.paths, query)
        notes += more
    elif classes:
        number = {name: code for code, name in enumerate(classes)}
        labels = np.array([number.get(layout.class_of(path) or "", -1) for path in listing.paths], dtype=np.int64)
        if (labels < 0).all():  # for example a test split without class folders
            labels, classes = None, ()
        elif outside := int((labels < 0).sum()):
            items = counted(outside, listing.kind.item, listing.kind.plural)
            notes += (f"{items} outside the class folders: without a label",)
    return Found(
        Encoded(listing.kind.name, len(listing.paths), lambda: _chunks(layout.root, listing.paths)),
        Ids.of(listing.paths),
        labels,
        classes,
        _groups(listing.paths, query.groups),
        notes=notes + listing.notes(),
    )


def _chunks(root: Path, paths: list[str]) -> Iterator[list[Blob]]:
    for start in range(0, len(paths), CHUNK_FILES):
        yield [f"{root}/{path}" for path in paths[start : start + CHUNK_FILES]]


def _groups(paths: list[str], pattern: object) -> np.ndarray | None:
    if pattern is None:
        return None
    try:
        expression = re.compile(str(pattern))
    except re.error as error:
        raise UserError(f"groups: {pattern!r} is not a valid regular expression: {error}") from error
    matches = [expression.search(path) for path in paths]
    if not any(matches):
        raise UserError(f"groups: {pattern!r} matches none of the paths, such as {printable(paths[0])}")
    return encode_groups([m and (m[1] if expression.groups else m[0]) for m in matches])


def _label_file(query: Query) -> Path | None:
    if query.labels is None:
        return None
    path = Path(str(query.labels)).expanduser()
    if path.suffix.lower() != ".csv" or not path.is_file():
        raise UserError(f"labels: expected a CSV file with the columns item,label for a folder, got {query.labels!r}")
    return path


def _labels_from_file(paths: list[str], query: Query) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Read labels from a file. Return class numbers, names of the classes, and notes."""
    file = Path(str(query.labels)).expanduser()
    lines = read_label_file(file, empty=True)
    found = match_items(lines, paths, file, name="the folder", unmatched=True)
    if not found.label_of:
        example = printable(paths[0])
        raise UserError(f"labels: no item of {query.labels} is in the folder; expected paths such as {example}")
    given = [found.label_of.get(row) for row in range(len(paths))]
    missing = query.reading.missing or ()
    labels, classes, notes = encode_labels_with_notes(given, "the labels file", missing, texts=True, measurements=True)
    if not query.of_run:
        notes += note_unused_words(given, missing)
    return labels, classes, (*_describe_unmatched(found, query), *notes)


def _describe_unmatched(found: Matched, query: Query) -> tuple[str, ...]:
    if not found.unmatched:
        return ()
    first, count = found.unmatched[0], len(found.unmatched)
    name = "names an item that is" if count == 1 else "name items that are"
    return (
        f"{counted(count, 'line')} of {query.labels} {name} not in the folder; "
        f"the first is line {first.number}: '{printable(first.item)}'",
    )
