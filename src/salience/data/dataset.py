"""A dataset: stored items, their spec, and what is known of each item. Rows are read on request, not all at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from salience.batch import Batch
from salience.errors import UserError
from salience.fields.ids import Ids
from salience.fields.stored_items import Named, Stored, group_by_length, padded_lengths_of, rows_at_once
from salience.modalities import Spec
from salience.reading import AS_FOUND, Reading
from salience.source_names import with_split
from salience.units import counted, printable

if TYPE_CHECKING:
    from salience.data.sampling import Loader

UNKNOWN = -1
GROUPED = 32  # chunks whose items are grouped by length together
SHOWN_BAD = 5


@dataclass(frozen=True)
class BadItem:
    """An item that was left out, and the reason."""

    id: str
    reason: str


def describe_bad_items(bad: Sequence[BadItem], kept: int) -> str:
    """What was left out, in one line.  kept: how many items were not"""
    shown = "; ".join(f"{printable(item.id)} ({printable(item.reason)})" for item in bad[:SHOWN_BAD])
    more = f"; and {len(bad) - SHOWN_BAD:,} more" if len(bad) > SHOWN_BAD else ""
    return f"left out {len(bad):,} of {counted(len(bad) + kept, 'item')}: {shown}{more}"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset of n items.

    Attributes:
        name: Name of the source.
        split: The split of the source that was opened.
        spec: Description of one stored item.
        stored: m stored items [*spec.shape], in memory or memory-mapped; ragged items are [t *spec.shape].
        labels: [n] int64 class numbers, -1 for unlabelled items; None without labels.
        classes: Name of each class, by class number.
        ids: Id of each item: its relative path, or its row number in the source.
        fingerprint: Hash of the stored items; equal data have equal fingerprints.
        bad: The items that were left out.
        groups: [n] int64; items of one group (patient, video, writer) are never separated by a split. None without.
        notes: What was inferred while reading the source.
        rows: [n] int64, the stored items of this dataset; None if it contains all of them in order.
        reading: Options of reading that the user gave or that new data need, to be read in the same way.
        splits: Names of all splits of the source, if it has several.
        tasks: Further labels by name, [n] int64, -1 if unknown; the labels of joined sources.
    """

    name: str
    split: str
    spec: Spec
    stored: Stored
    labels: np.ndarray | None
    classes: tuple[str, ...]
    ids: Sequence[str]
    fingerprint: str
    bad: tuple[BadItem, ...] = ()
    groups: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    rows: np.ndarray | None = None
    reading: Reading = AS_FOUND
    splits: tuple[str, ...] = ()
    tasks: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.stored if self.rows is None else self.rows)

    def __repr__(self) -> str:
        labels = "no labels" if self.labels is None else counted(len(self.classes), "class", "classes")
        name = with_split(self.name, self.split)
        return f"Dataset({name}, {len(self):,} x {self.spec.shape} {self.spec.dtype}, {labels})"

    @property
    def x(self) -> np.ndarray:
        """All items, [n *spec.shape], if they are dense. A subset is copied; read large ones with `chunks`.

        Raises:
            TypeError: The items are ragged or have several fields.
        """
        if not isinstance(self.stored, np.ndarray):
            raise TypeError(
                f"x: the items of {self.name} have different lengths or several fields; read them by `item`"
            )
        return self.stored if self.rows is None else self.stored.view(np.ndarray)[self.rows]

    @cached_property
    def _plain(self) -> Stored:
        # A memmap's own indexing costs more than the copy; the plain view keeps the map alive.
        return self.stored.view(np.ndarray) if isinstance(self.stored, np.ndarray) else self.stored

    def item(self, row: int) -> np.ndarray:
        """Return one stored item, [*spec.shape]."""
        return self._plain[int(row if self.rows is None else self.rows[row])]

    def field(self, name: str, row: int) -> np.ndarray:
        """Return one named field of an item, as stored."""
        assert isinstance(self.stored, Named)
        return self.stored.fields[name][int(row if self.rows is None else self.rows[row])]

    def batch(self, rows: np.ndarray) -> Batch:
        """Return the items of these rows [b] as a batch, in this order."""
        import torch  # here: `salience data` describes a table without it

        rows = np.asarray(rows, dtype=np.int64)
        x, mask = self._collated(rows)
        labels = ({} if self.labels is None else {"label": self.labels}) | dict(self.tasks)
        y = {task: torch.from_numpy(known[rows]) for task, known in labels.items()}
        seen = None if mask is None else torch.from_numpy(mask)
        return Batch(_tensors(x), torch.from_numpy(rows.copy()), y, seen)

    def _collated(self, rows: np.ndarray) -> tuple[Any, np.ndarray | None]:
        return self.spec.modality.collate(self._plain, rows if self.rows is None else self.rows[rows], self.spec)

    def arrays(self, size: int = 8192) -> Iterator[Any]:
        """All items in order as stored, `size` at a time: the `x` of `chunks`, as NumPy arrays and without torch."""
        for start in range(0, len(self), size):
            yield self._collated(np.arange(start, min(start + size, len(self))))[0]

    def chunks(self, size: int = 8192) -> Iterator[Batch]:
        """Iterate over all items in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.batch(np.arange(start, min(start + size, len(self))))

    def equal_length_chunks(self, size: int = 8192) -> Iterator[Batch]:
        """Iterate over all items in chunks of one padded length, of fewer items the longer they are.

        Dense items come as in `chunks`, at most `size` at a time.
        """
        together = GROUPED * size  # items of one length are rare among few
        for start in range(0, len(self), together):
            rows = np.arange(start, min(start + together, len(self)))
            for some in group_by_length(self._plain, rows if self.rows is None else self.rows[rows]):
                lengths = self._padded_lengths(rows[some[:1]])
                step = size if lengths is None else rows_at_once(size, int(lengths[0]))
                for first in range(0, len(some), step):
                    yield self.batch(rows[some[first : first + step]])

    def subset(self, rows: np.ndarray | Sequence[int]) -> Dataset:
        """Return these rows as a dataset, whose row i is row rows[i] of this one. Nothing is copied."""
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            raise UserError(f"rows: expected row numbers in 0..{len(self) - 1}, got {rows.min()}..{rows.max()}")
        ids = self.ids.subset(rows) if isinstance(self.ids, Ids) else [self.ids[row] for row in rows]
        return replace(
            self,
            labels=None if self.labels is None else self.labels[rows],
            groups=None if self.groups is None else self.groups[rows],
            tasks={task: known[rows] for task, known in self.tasks.items()},
            ids=ids,
            rows=rows if self.rows is None else self.rows[rows],
            fingerprint=self._fingerprint_of(rows),
        )

    @cached_property
    def numbers(self) -> np.ndarray | None:
        """The names of the classes as numbers, [classes] float64; None if a name is not a number."""
        try:
            numbers = np.array([float(name) for name in self.classes])
        except ValueError:
            return None
        return numbers if len(numbers) and np.isfinite(numbers).all() else None

    @property
    def quantity(self) -> np.ndarray | None:
        """The labels as numbers, [n] float64, NaN if unknown; None without labels, or if a class is not a number."""
        if self.labels is None or self.numbers is None:
            return None
        return np.append(self.numbers, np.nan)[self.labels]

    @property
    def measured(self) -> bool:
        """Whether the labels are measurements, that is numbers of which some are not integers."""
        return self.numbers is not None and bool((self.numbers % 1 != 0).any())

    def loader(self, batch_size: int, seed: int = 0, *, rank: int = 0, world: int = 1) -> Loader:
        """Return a loader of full batches, in a new order each epoch; its `state_dict` stores the position.

        A batch of ragged items has items of like lengths.
        """
        from salience.data.sampling import Loader

        ragged = self._padded_lengths(np.zeros(0, np.int64)) is not None
        lengths: Any = self._padded_lengths if ragged else None
        return Loader(self, batch_size, seed, rank=rank, world=world, lengths=lengths)

    def _padded_lengths(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the padded lengths of the items of these rows [b]; None if the items are dense."""
        return padded_lengths_of(self._plain, rows if self.rows is None else self.rows[rows])

    def require_labels(self, what_for: str) -> np.ndarray:
        """Return the labels [n] int64. Raises UserError if there are none, only one class, or measurements."""
        if self.labels is None or not len(self.classes):
            raise UserError(
                f"source: {what_for} requires labels, but {self.name} has none; "
                "put the images into one folder per class, name the label column, or give an array's labels"
            )
        if self.measured:
            raise UserError(
                f"source: {what_for} requires classes, but the labels of {self.name} are measurements such as "
                f"{printable(self.classes[0])}; name a column of classes"
            )
        known = np.unique(self.labels[self.labels != UNKNOWN])
        if len(known) < 2:
            only = self.classes[known[0]] if len(known) else "none"
            raise UserError(f"source: {what_for} requires at least two classes, but {self.name} has one ({only})")
        return self.labels

    def class_number(self, name: str | int, argument: str) -> int:
        """Return the number of a class. Raises UserError about `argument` if there is no such class."""
        name = str(name)
        if name in self.classes:
            return self.classes.index(name)
        known = ", ".join(printable(one) for one in self.classes[:20]) or "none"
        raise UserError(f"{argument}: {self.name} has no class '{printable(name)}'; its classes are: {known}")

    def without(self, name: str | int) -> Dataset:
        """Return the items that are not of this class. Unlabelled items are kept."""
        number = self.class_number(name, "without")
        return self if self.labels is None else self.subset(np.flatnonzero(self.labels != number))

    def with_classes(self, classes: Sequence[str]) -> Dataset:
        """Return the items with labels numbered as in `classes`, matched by name. Other classes become unknown."""
        if self.labels is None or tuple(classes) == self.classes:
            return self
        number = {name: code for code, name in enumerate(classes)}
        codes = np.array([number.get(name, UNKNOWN) for name in self.classes] + [UNKNOWN], dtype=np.int64)
        return replace(self, labels=codes[self.labels], classes=tuple(classes))

    def _fingerprint_of(self, rows: np.ndarray) -> str:
        if np.array_equal(rows, np.arange(len(self))):
            return self.fingerprint
        return hashlib.sha256(self.fingerprint.encode() + rows.tobytes()).hexdigest()


def _tensors(x: Any) -> Any:
    """Convert an array, or a dict of arrays, to tensors."""
    import torch

    if isinstance(x, dict):
        return {name: _tensors(one) for name, one in x.items()}
    return torch.from_numpy(np.ascontiguousarray(x))
