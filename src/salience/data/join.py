"""Several sources as one data set, whose items have a part of each: joined by id, else row by row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from salience.data.dataset import Dataset
from salience.errors import UserError
from salience.label_files import are_numbers
from salience.modalities.joined.spec import JoinedSpec
from salience.units import are, counted, printable

UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Parts:
    """The stored items of several data sets, whose rows belong together.

    of: name -> (what it stores, [n] which of it)
    """

    of: Mapping[str, tuple[Any, np.ndarray]]

    def __len__(self) -> int:
        return len(next(iter(self.of.values()))[1])

    def __getitem__(self, name: Any) -> Any:
        """What a part stores; of a row number, the item of the main part."""
        if isinstance(name, str):
            return self.of[name][0]
        stored, rows = next(iter(self.of.values()))
        return stored[int(rows[name])]

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Which stored items of a part belong to these rows."""
        return self.of[name][1][rows]


def join(parts: Mapping[str, Dataset]) -> Dataset:
    """One data set of the items that all parts have, in the order of the first, which brings labels and groups.

    Items are matched by their ids where all parts have names for them; otherwise row by row, and then all parts need
    equally many. The labels of the other parts are tasks of a batch by their names.
    Raises UserError for fewer than two parts, parts without a common item, or of unequal length without ids.
    """
    if len(parts) < 2:
        raise UserError(f"source: expected two sources or more by name, got {len(parts)}; give one source as it is")
    (first, main), *others = parts.items()
    matched, notes = _by_id(parts) if not any(are_numbers(part.ids) for part in parts.values()) else _by_row(parts)
    chosen = {name: part.subset(matched[name]) for name, part in parts.items()}
    kept = chosen[first]
    stored = {name: (part.stored, _rows_of(part)) for name, part in chosen.items()}
    digest = hashlib.sha256("".join(f"{name} {part.fingerprint}\n" for name, part in chosen.items()).encode())
    return Dataset(
        name=" + ".join(f"{part.name}" for part in parts.values()),
        split=main.split,
        spec=JoinedSpec.of({name: part.spec for name, part in parts.items()}),
        stored=cast(Any, Parts(stored)),
        labels=kept.labels,
        classes=kept.classes,
        ids=kept.ids,
        fingerprint=digest.hexdigest(),
        bad=tuple(item for part in parts.values() for item in part.bad),
        groups=kept.groups,
        notes=(*(f"{name}: {note}" for name, part in parts.items() for note in part.notes), *notes),
        tasks={name: chosen[name].labels for name, _ in others if chosen[name].labels is not None},  # type: ignore[misc]
    )


def _by_id(parts: Mapping[str, Dataset]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    row_of = {name: {one: row for row, one in enumerate(part.ids)} for name, part in parts.items()}
    main = next(iter(parts.values()))
    shared = [one for one in main.ids if all(one in rows for rows in row_of.values())]
    if not shared:
        named = ", ".join(f"{name} has '{printable(next(iter(rows), ''))}'" for name, rows in row_of.items())
        raise UserError(f"source: no item is in all sources; expected equal ids, got: {named}")
    left = {name: len(part) - len(shared) for name, part in parts.items() if len(part) > len(shared)}
    notes = tuple(
        f"{counted(n, 'item')} of {name} {are(n)} in no other source and left out" for name, n in left.items()
    )
    matched = {name: np.array([rows[one] for one in shared], np.int64) for name, rows in row_of.items()}
    return matched, (f"joined by id: {counted(len(shared), 'item')}", *notes)


def _by_row(parts: Mapping[str, Dataset]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    sizes = {name: len(part) for name, part in parts.items()}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{name} has {size:,}" for name, size in sizes.items())
        raise UserError(f"source: expected equally many items to join row by row, got: {found}; give sources with ids")
    rows = np.arange(next(iter(sizes.values())))
    return dict.fromkeys(parts, rows), (f"joined row by row: {counted(len(rows), 'item')}",)


def _rows_of(part: Dataset) -> np.ndarray:
    return np.arange(len(part)) if part.rows is None else part.rows
