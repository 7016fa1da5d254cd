"""What is in a source: its items, shapes, labels, bad items, duplicates, and what of it leaks into another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from salience.data import Dataset, open_data
from salience.data.equal_items import content_hashes, equal_groups
from salience.data.target import guess_target
from salience.errors import naming
from salience.modalities import Spec, find
from salience.progress import progress_bar
from salience.reading import AS_FOUND, Reading
from salience.source_names import with_split
from salience.units import counted, printable

LISTED = 1000  # of the near duplicates, in JSON
SHOWN = 5  # examples, in text
SHOWN_CLASSES = 20


@dataclass(frozen=True)
class Near:
    """Near duplicates: how many pairs, between how many items, and the closest of them as (id, id, similarity)."""

    pairs: int
    items: int
    threshold: float
    closest: tuple[tuple[str, str, float], ...]
    searched: int
    complete: bool


@dataclass(frozen=True)
class Leakage:
    """What of `test` is in the source too.

    equal: (test item, item of the source);  near: the same with their similarity;  share: of all test items
    """

    test: str
    items: int
    equal: tuple[tuple[str, str], ...]
    near: tuple[tuple[str, str, float], ...]
    share: float


@dataclass(frozen=True)
class Description:
    """What `describe` found.

    classes: label -> count, in the order of the classes;  unlabelled: items without a label
    columns: of a table: name, kind, missing values, number of categories
    bad: (id, reason) of items left out
    equal: the ids of each set of equal items;  conflicting: how many of these sets bear different labels
    near: None where the modality has no near duplicates
    """

    name: str
    split: str
    modality: str
    items: int
    shape: tuple[int, ...]
    dtype: str
    classes: dict[str, int]
    unlabelled: int
    groups: int | None
    columns: tuple[dict[str, Any], ...]
    bad: tuple[tuple[str, str], ...]
    equal: tuple[tuple[str, ...], ...]
    conflicting: int
    near: Near | None
    leakage: Leakage | None = None
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON. Of near duplicates the closest LISTED pairs are named, and all are counted."""
        plain = {name: value for name, value in vars(self).items() if name not in ("near", "leakage", "bad")}
        plain["bad"] = [{"item": item, "reason": reason} for item, reason in self.bad]
        plain["near"] = None if self.near is None else vars(self.near)
        plain["leakage"] = None if self.leakage is None else vars(self.leakage)
        return plain

    def text(self) -> str:
        """For people: one finding a line, with a few examples."""
        lines = [f"{self._where()}  {self._items()}", *(f"note: {note}" for note in self.notes)]
        lines += [*self._label_lines(), *map(_column_line, self.columns), *self._bad_lines()]
        return "\n".join([*lines, *self._equal_lines(), *self._near_lines(), *self._leakage_lines()])

    def _items(self) -> str:
        return find(self.modality).describe(self.shape, self.dtype, self.items)

    def _where(self) -> str:
        return with_split(printable(self.name), self.split)

    def _label_lines(self) -> list[str]:
        if not self.classes:
            return ["labels: none"]
        listed = [f"{printable(name)} {count:,}" for name, count in list(self.classes.items())[:SHOWN_CLASSES]]
        more = f", and {len(self.classes) - len(listed)} more" if len(self.classes) > len(listed) else ""
        lines = [f"labels: {counted(len(self.classes), 'class', 'classes')}: {', '.join(listed)}{more}"]
        lines += [f"unlabelled: {self.unlabelled:,}"] if self.unlabelled else []
        return lines + ([f"groups: {self.groups:,}"] if self.groups is not None else [])

    def _bad_lines(self) -> list[str]:
        listed = [f"  {printable(item)}: {printable(reason)}" for item, reason in self.bad]
        return [f"bad items: {len(self.bad) or 'none'}", *listed]

    def _equal_lines(self) -> list[str]:
        if not self.equal:
            return ["exact duplicates: none"]
        items = sum(map(len, self.equal))
        conflict = f"; {counted(self.conflicting, 'set')} with different labels" if self.conflicting else ""
        sets = counted(len(self.equal), "set")
        head = f"exact duplicates: {counted(items, 'item')} in {sets} of equal ones{conflict}"
        return [head, *_examples([_joined(group[:SHOWN], " = ") for group in self.equal])]

    def _near_lines(self) -> list[str]:
        if self.near is None:
            return []
        near, limits = self.near, ""
        if near.searched < self.items:
            limits = f" (among {near.searched:,} items drawn at random)"
        if not near.complete:
            from salience.data.near_duplicates import MOST_PAIRS

            limits += f" (the search stopped at {MOST_PAIRS:,} pairs)"
        if not near.pairs:
            return [f"near duplicates: none{limits}"]
        head = f"near duplicates: {counted(near.pairs, 'pair')} among {near.items:,} items{limits}"
        alike = [f"{_joined((a, b), ' ~ ')}  {similarity:.3f}" for a, b, similarity in near.closest[:SHOWN]]
        return [head, *_examples(alike, near.pairs)]

    def _leakage_lines(self) -> list[str]:
        if self.leakage is None:
            return []
        found, items = self.leakage, f"{printable(self.leakage.test)}'s {counted(self.leakage.items, 'item')}"
        if not found.equal and not found.near:
            return [f"leakage: none of {items} is in {self._where()}"]
        lines = [f"leakage: {found.share:.2%} of {items} are in {self._where()} too"]
        if found.equal:
            lines += [f"  exactly: {len(found.equal):,}", *_examples([_joined(pair, " = ") for pair in found.equal])]
        if found.near:
            nearly = [f"{_joined((ours, theirs), ' ~ ')}  {cosine:.3f}" for ours, theirs, cosine in found.near]
            lines += [f"  nearly: {len(nearly):,}", *_examples(nearly)]
        return lines


def describe(
    source: Any,
    other: Any = None,
    *,
    labels: str | None = None,
    resolution: int | None = None,
    reading: Reading = AS_FOUND,
    progress: bool = True,
) -> Description:
    """Open a source and summarise it.

    Args:
        source: Any source of `open_data`.
        other: A second source, such as the test data, to check for overlap with `source`.
        labels: Column of labels, in a table.
        resolution: Height and width of the images, in pixels.
        reading: How both sources are read (see `Reading`).

    Raises:
        UserError: A source cannot be opened, or the two do not fit each other.
    """
    dataset = open_data(source, labels=labels, resolution=resolution, reading=reading, progress=progress)
    with progress_bar(None, "looking for equal items", progress, ""):
        hashes = content_hashes(dataset)
        equal = equal_groups(hashes)
    leakage = None
    if other is not None:
        with naming("other", "source"):
            test = open_data(other, labels=labels, spec=dataset.spec, reading=reading, progress=progress)
        leakage = _leakage(dataset, hashes, test)
    return Description(
        name=dataset.name,
        split=dataset.split,
        modality=dataset.spec.modality.name,
        items=len(dataset),
        shape=dataset.spec.shape,
        dtype=dataset.spec.dtype,
        classes=_class_counts(dataset),
        unlabelled=0 if dataset.labels is None else int((dataset.labels < 0).sum()),
        groups=None if dataset.groups is None else len(np.unique(dataset.groups)),
        columns=_columns(dataset),
        bad=tuple((item.id, item.reason) for item in dataset.bad),
        equal=tuple(_ids(dataset, group) for group in equal),
        conflicting=_conflicting(dataset, equal),
        near=_near(dataset),
        leakage=leakage,
        notes=(*dataset.notes, *(f"evaluate: {note}" for note in guess_target(dataset)[1])),
    )


def _class_counts(dataset: Dataset) -> dict[str, int]:
    if dataset.labels is None:
        return {}
    counts = np.bincount(dataset.labels[dataset.labels >= 0], minlength=len(dataset.classes))
    return dict(zip(dataset.classes, counts.tolist(), strict=True))


def _columns(dataset: Dataset) -> tuple[dict[str, Any], ...]:
    modality = dataset.spec.modality
    if not modality.columns(dataset.spec):
        return ()
    return tuple(modality.describe_columns(dataset))


def _conflicting(dataset: Dataset, groups: Sequence[np.ndarray]) -> int:
    labels = dataset.labels
    if labels is None:
        return 0
    return sum(len(np.unique(labels[group][labels[group] >= 0])) > 1 for group in groups)


def _near(dataset: Dataset) -> Near | None:
    if not _has_near_duplicates(dataset.spec) or len(dataset) < 2:
        return None
    from salience.data.near_duplicates import near_pairs

    pairs = near_pairs(dataset)
    closest = zip(pairs.first[:LISTED], pairs.second[:LISTED], pairs.similarity[:LISTED], strict=True)
    return Near(
        pairs=len(pairs),
        items=len(np.unique(np.concatenate([pairs.first, pairs.second]))),
        threshold=pairs.threshold,
        closest=tuple((dataset.ids[int(i)], dataset.ids[int(j)], float(cosine)) for i, j, cosine in closest),
        searched=pairs.searched[0],
        complete=pairs.complete,
    )


def _has_near_duplicates(spec: Spec) -> bool:
    return spec.modality.has_near_duplicates(spec)


def _leakage(dataset: Dataset, hashes: np.ndarray, test: Dataset) -> Leakage:
    first_row = dict(zip(hashes[::-1].tolist(), range(len(hashes) - 1, -1, -1), strict=True))
    tested = content_hashes(test).tolist()
    equal = {row: first_row[item] for row, item in enumerate(tested) if item in first_row}
    near: dict[int, tuple[int, float]] = {}
    if _has_near_duplicates(dataset.spec):
        from salience.data.near_duplicates import near_pairs

        pairs = near_pairs(dataset, test)  # the most alike first
        for ours, theirs, cosine in zip(pairs.second, pairs.first, pairs.similarity, strict=True):
            if int(ours) not in equal:
                near.setdefault(int(ours), (int(theirs), float(cosine)))
    return Leakage(
        test=with_split(test.name, test.split),
        items=len(test),
        equal=tuple((test.ids[ours], dataset.ids[theirs]) for ours, theirs in equal.items()),
        near=tuple((test.ids[ours], dataset.ids[theirs], cosine) for ours, (theirs, cosine) in near.items()),
        share=(len(equal) + len(near)) / max(1, len(test)),
    )


def _ids(dataset: Dataset, rows: np.ndarray) -> tuple[str, ...]:
    return tuple(dataset.ids[int(row)] for row in rows)


def _column_line(column: dict[str, Any]) -> str:
    categories = column["categories"]
    kind = counted(categories, "category", "categories") if categories else column["kind"]
    missing = f", {column['missing']:,} missing" if column["missing"] else ""
    return f"  {printable(column['name'])}: {kind}{missing}"


def _joined(names: Sequence[str], sign: str) -> str:
    return sign.join(map(printable, names))


def _examples(lines: Sequence[str], total: int | None = None) -> list[str]:
    more = (total or len(lines)) - SHOWN
    return [f"    {line}" for line in lines[:SHOWN]] + ([f"    and {more:,} more"] if more > 0 else [])
