"""Maps and columns in the form that the page draws: numeric arrays, computed once per version of a column."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from salience.explorer.items import COORDINATES, MAPS
from salience.explorer.refusals import Unknown
from salience.store import Store
from salience.units import printable

MISSING = 65535  # code of a missing category
MOST_CLASSES = 256  # above this number, the rarest classes are merged into "other"
FEW_NUMBERS = 64  # up to this number of distinct values, whole numbers are categories
OTHER = "other"
Kind = Literal["category", "number", "text"]


@dataclass(frozen=True, eq=False)
class Encoded:
    """One column.

    values: [n] uint16 codes of `classes`, MISSING if there is no value; or [n] float32, NaN if missing
    counts: number of items of each class;  low, high: range of the numbers, None without numbers
    names: whether the values are (nearly) unique per item, like ids
    """

    kind: Literal["category", "number"]
    values: np.ndarray
    classes: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    missing: int = 0
    low: float | None = None
    high: float | None = None
    names: bool = False


def encode(values: np.ndarray) -> Encoded:
    """Encode a column.  values: [n] float64 with NaN, or object with None"""
    if values.dtype == object:
        codes, classes = pd.factorize(values, use_na_sentinel=True)
        return encode_codes(codes, [str(name) for name in classes])
    known = values[np.isfinite(values)]
    few = pd.unique(known) if (known == np.rint(known)).all() else known
    if 0 < len(few) <= FEW_NUMBERS and len(few) < max(2, len(known)):
        classes = np.sort(few)
        codes = np.where(np.isfinite(values), np.searchsorted(classes, values), -1)
        return encode_codes(codes, [f"{number:g}" for number in classes], in_order=True)
    low, high = (float(known.min()), float(known.max())) if len(known) else (None, None)
    single = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
    return Encoded("number", single, missing=len(values) - len(known), low=low, high=high)


def encode_codes(codes: np.ndarray, classes: list[str], *, in_order: bool = False) -> Encoded:
    """Encode codes of classes.  codes: [n] positions in `classes`, -1 if missing. Sorts classes unless `in_order`."""
    counts = np.bincount(codes[codes >= 0], minlength=len(classes))
    kept = np.arange(len(classes))
    names = len(classes) > MOST_CLASSES and len(classes) > counts.sum() / 2
    if len(classes) > MOST_CLASSES:
        kept = np.argsort(-counts, kind="stable")[: MOST_CLASSES - 1]
    if not in_order:
        kept = np.array(sorted(kept, key=lambda at: classes[at]), np.int64)
    shown = [classes[at] for at in kept] + ([OTHER] if len(kept) < len(classes) else [])
    place = np.full(len(classes) + 1, len(kept), np.int64)  # all others are OTHER
    place[kept], place[-1] = np.arange(len(kept)), MISSING
    values = place[codes].astype(np.uint16)
    found = np.bincount(values[values != MISSING], minlength=len(shown))
    return Encoded("category", values, tuple(shown), tuple(found.tolist()), missing=int((codes < 0).sum()), names=names)


@dataclass(frozen=True)
class Live:
    """A column that the server computes.  version: changes with the values;  read: -> values"""

    kind: Kind
    version: Callable[[], int]
    read: Callable[[], Encoded]


class Columns:
    """The columns of a store and the live columns, encoded at their first use."""

    def __init__(self, store: Store, live: Mapping[str, Live]):
        self.store = store
        self.live = live
        self._versions: Counter[str] = Counter()
        self._encoded: dict[str, tuple[int, Encoded]] = {}
        self._maps: dict[str, tuple[int, np.ndarray | None]] = {}
        self._lock = threading.Lock()

    def changed(self, names: Iterable[str]) -> None:
        """Forget the encoding of columns that have been rewritten."""
        self._versions.update(names)

    def listed(self) -> dict[str, Kind]:
        """Return name -> kind of the columns that can be shown; first the source's labels, then the live columns."""
        own = [name for name in self.store.columns if name not in COORDINATES and name not in self.live]
        first = [name for name in own if name == "label"]
        return {name: self._kind(name) for name in [*first, *self.live, *(n for n in own if n != "label")]}

    def version(self, name: str) -> int:
        return self.live[name].version() if name in self.live else self._versions[name]

    def column(self, name: str) -> tuple[int, Encoded]:
        """Return the version and the values of a column. Raises Unknown if there is no such column."""
        if name not in self.live and (name not in self.store.columns or name in COORDINATES):
            raise Unknown(f"name: there is no column '{printable(name)}'; columns: {', '.join(self.listed())}")
        with self._lock:
            version = self.version(name)
            kept = self._encoded.get(name)
            if kept is None or kept[0] != version:
                live = self.live.get(name)
                kept = version, encode(self.store.column(name)) if live is None else live.read()
                self._encoded[name] = kept
            return kept

    def maps(self) -> list[str]:
        """Return the maps that are ready."""
        return [name for name in MAPS if self._map(name)[1] is not None]

    def points(self, name: str) -> tuple[int, np.ndarray]:
        """Return the version and the points of a map, [n 2] float32 in [-1, 1]. Raises Unknown without such a map."""
        version, points = self._map(name) if name in MAPS else (0, None)
        if points is None:
            ready = ", ".join(self.maps()) or "none"
            raise Unknown(f"map: '{printable(name)}' does not exist or is not ready; ready: {ready}")
        return version, points

    def _map(self, name: str) -> tuple[int, np.ndarray | None]:
        with self._lock:
            version = self._versions[MAPS[name][0]]
            kept = self._maps.get(name)
            if kept is None or kept[0] != version:
                kept = version, self._read_map(*MAPS[name])
                self._maps[name] = kept
            return kept

    def _read_map(self, x: str, y: str) -> np.ndarray | None:
        if not {x, y} <= set(self.store.columns):
            return None
        points = np.stack([self.store.column(x), self.store.column(y)], axis=1)
        return scale_points(points) if np.isfinite(points).all() else None  # items without a position were added

    def _kind(self, name: str) -> Kind:
        if name in self.live:
            return self.live[name].kind
        if name == "id":
            return "text"
        encoded = self.column(name)[1]
        return "text" if encoded.names else encoded.kind


def scale_points(points: np.ndarray) -> np.ndarray:
    """Scale points to [-1, 1] and keep their proportions.  [n 2] -> [n 2] float32"""
    if not len(points):
        return np.empty((0, 2), np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    half = float((high - low).max()) / 2 or 1.0
    return np.clip((points - (low + high) / 2) / half, -1, 1).astype(np.float32)
