"""The request of a user for a source, and the names of splits."""

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
# Train, training_set, val2017, test-images: common names of folders
SPLIT_NAME = re.compile(
    r"(?:[a-z]+[-_])?(training|train|validation|valid|val|dev|testing|test)"
    r"(?:[-_ ]?(?:set|data|images?|imgs?|\d{1,4}))?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Query:
    """The options of `open_data` for one source.

    Attributes:
        split, labels, groups, reading: As given to `open_data`.
        cache: Folder for downloads.
        progress: Whether to show a progress bar.
        of_run: Whether the reading comes from a run, so that it may not apply to this source.
        kind: Name of the kind of data that the user or the run asks for.
    """

    split: str | None = None
    labels: Any = None
    groups: Any = None
    cache: Path = Path()
    progress: bool = False
    reading: Reading = AS_FOUND
    of_run: bool = False
    kind: str | None = None


def split_of(name: str) -> str | None:
    """Return the split that a name stands for: "train" for "Training", "val" for "val2017"; None for other names."""
    match = SPLIT_NAME.fullmatch(name)
    return match and LONGER.get(match[1].lower(), match[1].lower())


def choose_split(asked: str | None, there: Iterable[str], name: str) -> str:
    """Return the source's name of the requested split: "valid" for "val", "train" for "Training".

    Args:
        asked: The requested split. Default: train, or the only split.
        there: The splits of the source.
        name: Name of the source, for errors.

    Raises:
        UserError: The split does not exist, or none is requested and there are several without train.
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
    """Raise UserError if labels or groups are given for a source with built-in labels."""
    for argument in ("labels", "groups"):
        if getattr(query, argument) is not None:
            raise UserError(f"{argument}: {name} has built-in labels; leave this option out")


def require_train_split(query: Query, name: str) -> None:
    """Raise UserError if another split than train is requested from a source without splits."""
    choose_split(query.split, ["train"], name)
