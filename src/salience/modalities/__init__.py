"""What each kind of data is: how raw items become stored arrays, and how one item is shown. One file each."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from salience.batch import Spec


class Items(Protocol):
    """What is needed of a dataset to show one item."""

    @property
    def spec(self) -> Spec: ...

    def item(self, row: int) -> np.ndarray: ...
