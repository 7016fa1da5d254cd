"""What the user asked of a source, and the splits it may have."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salience.errors import UserError
from salience.reading import AS_FOUND, Reading

SPLITS = ("train", "val", "valid", "validation", "test")
VALIDATION = ("val", "valid", "validation", "dev")
LONGER = {"training": "train", "testing": "test"}
# Train, training_set, val2017, test-images: names that folders of data sets in use have
SPLIT_NAME = re.compile(
    r"(?:[a-z]+[-_])?(training|train|validation|valid|val|dev|testing|test)"
    r"(?:[-_ ]?(?:set|data|images?|imgs?|\d{1,4}))?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Query:
    """What was asked.

    split, labels, groups, reading: as given to `open_data`;  cache: where downloads go;  progress: show a bar

    of_run: the reading may be that of a run, and meant for other data than these
    """

    split: str | None = None
    labels: Any = None
    groups: Any = None
    cache: Path = Path()
    progress: bool = False
    reading: Reading = AS_FOUND
    of_run: bool = False


def split_of(name: str) -> str | None:
    """The split that a folder of this name is: "train" of "Training", "val" of "val2017"; None where it is none."""
    match = SPLIT_NAME.fullmatch(name)
    return match and LONGER.get(match[1].lower(), match[1].lower())


def choose_split(asked: str | None, there: Iterable[str], name: str) -> str:
    """The name that the source has for the split asked for: "valid" for "val", "train" for "Training".

    Where none is asked for it is train, or the only one there is. Raises UserError where there is no such split, or
    none was asked for and there are several without train.
    """
    there = list(there)
    if asked is None:
        if "train" in there or len(there) == 1:
            return "train" if "train" in there else there[0]
        has = f"it has: {', '.join(there)}"
        raise UserError(f"source: {name} has no split train; {has}; choose one, as in SOURCE:{there[0]}")
    for wanted in (asked, split_of(asked)):
        if wanted in there:
            return str(wanted)
    if split_of(asked) in VALIDATION and (same := [split for split in VALIDATION if split in there]):
        return same[0]
    raise UserError(f"source: {name} has no split '{asked}'; it has: {', '.join(there)}")


def refuse_labels(query: Query, name: str) -> None:
    """Raises UserError where labels or groups are given for a source that has its own."""
    for argument in ("labels", "groups"):
        if getattr(query, argument) is not None:
            raise UserError(f"{argument}: {name} has built-in labels; leave this option out")


def require_train_split(query: Query, name: str) -> None:
    """Raises UserError where a split other than train is asked of a source that has none."""
    choose_split(query.split, ["train"], name)
