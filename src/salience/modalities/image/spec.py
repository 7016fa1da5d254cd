"""The spec of stored images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from salience.modalities.spec import Spec, are_numbers

if TYPE_CHECKING:
    from salience.modalities.image import Image


@dataclass(frozen=True)
class ImageSpec(Spec):
    """The spec of images [channels height width], stored square.

    Attributes:
        low, high: Stored values that correspond to 0 and 1 on the unit scale.
        mean, std: Statistics of each channel of the training data, on the unit scale.
        ground: Background of transparent pixels: "white", "black" or "grey".
    """

    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    ground: str = "white"

    @property
    def modality(self) -> Image:
        from salience.modalities.image import MODALITY

        return MODALITY

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def resolution(self) -> int:
        """Height of a stored image (images are stored square)."""
        return self.shape[-2]

    def to_dict(self) -> dict[str, Any]:
        plain = super().to_dict()
        if self.ground == "white":
            del plain["ground"]  # as in specs of versions without this field
        return plain

    def checks(self) -> Iterable[tuple[str, bool]]:
        yield from super().checks()
        yield "low and high", are_numbers((self.low, self.high))
        yield "mean and std", are_numbers((*self.mean, *self.std))

    @property
    def form(self) -> tuple[Any, ...]:
        return (*super().form, self.low, self.high)
