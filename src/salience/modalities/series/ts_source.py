"""A .ts file as a source: its items, labels and splits. NAME_TRAIN.ts and NAME_TEST.ts are the splits of NAME."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from salience.errors import UserError
from salience.fields.content import Arrays, Found
from salience.fields.source import Source, mark_of, mark_of_files
from salience.modalities.series.ts_file import TsFile
from salience.source_names import without_split
from salience.units import counted

FORMAT = 1  # version of the reading of .ts files; increase it to invalidate prepared data
_SPLIT = re.compile(r"(.+)_(TRAIN|TEST)", re.IGNORECASE)


def open_ts(given: Any, query: Any) -> Source | None:
    """Open a .ts file, or a folder with one NAME_TRAIN.ts; None for any other source."""
    if not isinstance(given, str | Path):
        return None
    name, split = without_split(str(given))
    path = Path(name).expanduser()
    if path.is_dir():
        trains = [one for one in path.glob("*.ts") if one.stem.upper().endswith("_TRAIN")]
        if len(trains) != 1:
            return None
        path = trains[0]
    if path.suffix.lower() != ".ts" or not path.is_file():
        return None
    for option in ("labels", "groups"):
        if getattr(query, option) is not None:
            raise UserError(f"{option}: a .ts file has built-in labels and no groups; leave this option out")
    return _open(path, query.split or split)


def _open(path: Path, split: str | None) -> Source:
    splits = _splits(path)
    own = next(name for name, file in splits.items() if file == path)
    chosen = split or own
    if chosen not in splits:
        raise UserError(f"source: {path} has no split '{chosen}'; it has: {', '.join(splits)}")
    file = splits[chosen]
    stem = _SPLIT.fullmatch(path.stem)
    name, several = (stem[1], tuple(splits)) if stem else (path.stem, ())
    mark = mark_of([FORMAT, mark_of_files([file])])
    return Source(name, chosen, lambda: _read(file), mark, str(file.resolve()), several if len(several) > 1 else ())


def _splits(path: Path) -> dict[str, Path]:
    """Return the file of each split of the data set that a file belongs to, train first."""
    stem = _SPLIT.fullmatch(path.stem)
    if stem is None:
        return {"train": path}
    there = {one.name.lower(): one for one in path.parent.glob("*.ts")} | {path.name.lower(): path}
    names = {split: f"{stem[1]}_{split}.ts".lower() for split in ("train", "test")}
    return {split: there[name] for split, name in names.items() if name in there}


def _read(path: Path) -> Found:
    file = TsFile(path)
    texts = file.labels()
    labels, classes = _encode(texts, measured=file.target) if file.labelled else (None, ())
    notes: tuple[str, ...] = ()
    if not file.labelled:
        notes = ("the header has no '@classLabel true', so the series have no labels",)
    elif unknown := texts.count(None):
        notes = (f"{counted(unknown, 'series has', 'series have')} no label, the first is item {texts.index(None)}",)
    content = Arrays("series", len(texts), file.series, file.notes, lambda: file.rate)
    return Found(content, labels=labels, classes=classes, notes=notes)


def _encode(texts: list[str | None], *, measured: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the class numbers [n] int64, -1 if unknown, and the names of the classes in order.

    Args:
        texts: The labels.
        measured: Whether they are measurements; the name of such a class is its number.
    """
    if measured:
        texts = [None if text is None else repr(_value(text)) for text in texts]
    distinct = {text for text in texts if text is not None}
    try:
        classes = sorted(distinct, key=float)
    except ValueError:
        classes = sorted(distinct)
    number = {name: code for code, name in enumerate(classes)}
    return np.array([-1 if text is None else number[text] for text in texts], np.int64), tuple(classes)


def _value(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(
            f"source: the header says '@targetLabel true', but the label {text[:40]!r} is not a number"
        ) from None
