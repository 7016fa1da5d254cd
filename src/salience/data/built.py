"""What building is told, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from salience.batch import Spec
from salience.errors import UserError
from salience.reading import AS_FOUND, Aspect, Reading


@dataclass(frozen=True)
class Options:
    """How to prepare.

    resolution: height and width of images;  spec: of a run to follow;  progress: whether to show a progress bar
    aspect: what happens to images that are not square
    """

    resolution: int | None = None
    spec: Spec | None = None
    progress: bool = False
    aspect: Aspect = "stretch"


@dataclass(frozen=True)
class Built:
    """What building gave.

    x: [rows *spec.shape]; None where it is in the folder's x.bin
    rows, total: how many are stored, of how many the source has
    kept: [rows] which of the source's items are stored, None where all
    bad: (item, reason) of those that are not
    reading: what was found out while building, and a run has to know to read new data alike
    """

    x: np.ndarray | None
    spec: Spec
    rows: int
    total: int
    fingerprint: str
    kept: np.ndarray | None = None
    bad: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = ()
    reading: Reading = AS_FOUND


def check_modality(found: str, want: Spec | None) -> None:
    """Raises UserError where a run was trained on another kind of data."""
    if want is not None and want.modality != found:
        raise UserError(f"source: mismatched data: the run was trained on {want.modality} data, this is {found} data")
