"""What the user asked of a source, and the splits it may have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salience.errors import UserError
from salience.reading import AS_FOUND, Reading

SPLITS = ("train", "val", "valid", "validation", "test")
VALIDATION = ("val", "valid", "validation")


@dataclass(frozen=True)
class Query:
    """split, labels, groups, reading: as given to `open_data`;  cache: where downloads go;  progress: show a bar"""

    split: str | None = None
    labels: Any = None
    groups: Any = None
    cache: Path = Path()
    progress: bool = False
    reading: Reading = AS_FOUND


def choose_split(asked: str | None, there: Iterable[str], name: str) -> str:
    """The split's name in the source. Nothing asked is train, or the only one; val is valid and validation."""
    there = list(there)
    if asked is None:
        return "train" if "train" in there or len(there) != 1 else there[0]
    if asked in there:
        return asked
    same = [split for split in there if asked in VALIDATION and split in VALIDATION]
    if same:
        return same[0]
    raise UserError(f"source: {name} has no split '{asked}'; it has: {', '.join(there)}")


def no_labels(query: Query, name: str) -> None:
    """Raises UserError where labels or groups are given for a source that has its own."""
    for argument in ("labels", "groups"):
        if getattr(query, argument) is not None:
            raise UserError(f"{argument}: {name} takes none; its labels are built in")


def only_train(query: Query, name: str) -> None:
    """Raises UserError where a split other than train is asked of a source that has none."""
    choose_split(query.split, ["train"], name)
