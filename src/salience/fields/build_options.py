"""What building is told, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from salience.fields.stored_items import Stored
from salience.reading import AS_FOUND, Aspect, Reading

if TYPE_CHECKING:
    from salience.modalities.spec import Spec


@dataclass(frozen=True)
class Options:
    """How to prepare.

    resolution: height and width of images;  spec: of a run to follow;  progress: whether to show a progress bar
    aspect: what happens to images that are not square
    path: the file for the stored items; None keeps them in memory
    """

    resolution: int | None = None
    spec: Any = None
    progress: bool = False
    aspect: Aspect = "stretch"
    path: Path | None = None


@dataclass(frozen=True)
class Built:
    """What building gave.

    x: the items; None where they are in the file `Options.path`. An array is used where it lies, other fields are saved
    rows, total: how many are stored, of how many the source has
    kept: [rows] which of the source's items are stored, None where all
    bad: (item, reason) of those that are not
    reading: what was found out while building, and a run has to know to read new data alike
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
