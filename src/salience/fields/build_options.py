"""The options and the result of building, the conversion of a source to stored items."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from salience.fields.ids import Ids
from salience.fields.stored_items import Stored
from salience.reading import AS_FOUND, Aspect, Reading

if TYPE_CHECKING:
    from salience.fields.content import Found
    from salience.modalities.spec import Spec


@dataclass(frozen=True)
class Options:
    """Options of building.

    Attributes:
        resolution: Height and width of stored images, in pixels.
        spec: The spec of a run that the data must fit.
        progress: Whether to show a progress bar.
        aspect: Treatment of images that are not square.
        kind: Name of the kind of data that the user asks for. Default: the first kind that recognises the content.
        reading: How the source is read; options that only some kinds of data have.
        path: File for the stored items; None keeps them in memory.
    """

    resolution: int | None = None
    spec: Any = None
    progress: bool = False
    aspect: Aspect = "stretch"
    kind: str | None = None
    reading: Reading = AS_FOUND
    path: Path | None = None


@dataclass(frozen=True)
class Built:
    """The result of building.

    Attributes:
        x: The stored items; None if they are in the file `Options.path`. An array is used without a copy.
        spec: The spec of the items.
        rows: Number of stored items.
        total: Number of items of the source.
        fingerprint: Hash of the stored items.
        kept: [rows] the items of the source that are stored; None for all.
        bad: (item, reason) of the items that are left out.
        notes: What was inferred while building.
        reading: Inferred options of reading that a run needs to read new data in the same way.
        parts: The source after its items were cut into parts, with their ids, labels and groups; `total`, `kept` and
            `bad` then count parts. None if the items are those of the source.
        ids: Ids of the stored items, if items of the source were cut into windows; `kept` then repeats them.
        groups: [rows] int64 groups of the stored items, if they were cut: windows of one item are one group.
    """

    x: Stored | None
    spec: Spec
    rows: int
    total: int
    fingerprint: str
    kept: np.ndarray | None = None
    bad: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = ()
    reading: Reading = AS_FOUND
    parts: Found | None = None
    ids: Ids | None = None
    groups: np.ndarray | None = None
