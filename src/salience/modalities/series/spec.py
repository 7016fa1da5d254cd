"""The spec of stored series."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from salience.modalities.spec import Spec, are_numbers

if TYPE_CHECKING:
    from salience.modalities.series import Series

LONGEST_FLAT = 256  # steps of the flat form of series of different lengths


@dataclass(frozen=True)
class SeriesSpec(Spec):
    """The spec of series: [steps channels] if all have one length, [channels] of one step if lengths differ.

    Attributes:
        mean, std: Statistics of each channel of the training data.
        steps: Number of steps of a series; the median if lengths differ.
        rate: Number of steps a second; None if unknown.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    steps: int = 1
    rate: float | None = None

    @property
    def modality(self) -> Series:
        from salience.modalities.series import MODALITY, UNEQUAL

        return UNEQUAL if self.ragged else MODALITY

    @property
    def ragged(self) -> bool:
        """Whether series have different lengths."""
        return len(self.shape) == 1

    @property
    def channels(self) -> int:
        return self.shape[-1]

    @property
    def flat_steps(self) -> int:
        """Number of steps of the flat form, to which series of different lengths are resampled."""
        return min(self.steps, LONGEST_FLAT) if self.ragged else self.shape[0]

    def checks(self) -> Iterable[tuple[str, bool]]:
        yield from super().checks()
        yield "shape", len(self.shape) in (1, 2)
        yield "mean and std", are_numbers((*self.mean, *self.std)) and len(self.mean) == len(self.std) == self.channels
        yield "steps", isinstance(self.steps, int) and self.steps > 0
        yield "rate", self.rate is None or are_numbers([self.rate])
