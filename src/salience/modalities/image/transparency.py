"""Choice of the background of transparent images: white, unless too many of them would be invisible on it.

An image is invisible on a background if the average lightness of its opaque pixels is nearly that of the background.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from salience.modalities.image.decode import GROUNDS, Blob
from salience.units import counted

MOST = 500  # number of images that are examined
LEAST_CONTRAST = 0.1  # share of the range from black to white
SHOWN = 3  # number of invisible images named in a note
TOLERATED = 0.01  # share of the transparent images that may be invisible on white


@dataclass(frozen=True)
class Transparency:
    """The examined images with transparent pixels.

    Attributes:
        looked: Number of images that were examined.
        of: Number of images that may be transparent.
        rows: [n] rows of the images with transparent pixels.
        vanishing: Background -> [n] bool, whether each of them is invisible on it.
    """

    looked: int
    of: int
    rows: np.ndarray
    vanishing: dict[str, np.ndarray]

    @property
    def ground(self) -> str:
        """The background for a new run."""
        if not len(self.rows) or self.vanishing["white"].mean() <= TOLERATED:
            return "white"
        return min(GROUNDS, key=lambda ground: int(self.vanishing[ground].sum()))

    def notes(self, ground: str, name: Callable[[int], str]) -> tuple[str, ...]:
        """Return notes on the background and on images that are invisible on it. `name`: function row -> name."""
        if not len(self.rows):
            return ()
        among = f" of {self.looked:,} examined" if self.looked < self.of else ""
        lost = self.rows[self.vanishing[ground]]
        white = int(self.vanishing["white"].sum())
        why = f", as {counted(white, 'image')} would vanish on white" if ground != "white" and white else ""
        notes = [f"transparent parts of {counted(len(self.rows), 'image')}{among} show {ground}{why}"]
        if len(lost):
            examples = ", ".join(name(row) for row in lost[:SHOWN]) + ", …" * (len(lost) > SHOWN)
            notes.append(
                f"{counted(len(lost), 'image')}{among} cannot be seen on the {ground} background: {examples}; "
                "save such images with an opaque background"
            )
        return tuple(notes)


Look = Callable[[Sequence[Blob]], list[np.ndarray | str | None]]


def survey(candidates: np.ndarray, chunks: Callable[[], Iterable[list[Blob]]], look: Look) -> Transparency:
    """Examine images that may be transparent, evenly spaced over the source.

    Args:
        candidates: [m] rows of these images.
        chunks: Function that iterates over all images, in order.
        look: Function that applies `measure_opacity` to images.
    """
    chosen = candidates[np.linspace(0, len(candidates) - 1, min(MOST, len(candidates))).round().astype(int)]
    rows, seen = [], []
    start = 0
    for chunk in chunks() if len(chosen) else ():
        here = chosen[(chosen >= start) & (chosen < start + len(chunk))]
        for row, found in zip(here, look([chunk[row - start] for row in here]), strict=True):
            if isinstance(found, np.ndarray):
                rows.append(row)
                seen.append([_vanishes(found, level) for level in GROUNDS.values()])
        start += len(chunk)
    each = np.array(seen, dtype=bool).reshape(-1, len(GROUNDS)).T
    return Transparency(len(chosen), len(candidates), np.array(rows, int), dict(zip(GROUNDS, each, strict=True)))


def _vanishes(light_and_opacity: np.ndarray, level: int) -> bool:
    light, opacity = light_and_opacity
    return bool((opacity * np.abs(light - level / 255)).sum() <= LEAST_CONTRAST * opacity.sum())
