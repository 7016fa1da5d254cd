"""The spec of stored recordings, with the settings of their log-mel spectrogram."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from salience.modalities.spec import Spec, are_numbers

if TYPE_CHECKING:
    from salience.modalities.audio import Audio

WINDOW, HOP = 0.025, 0.010  # seconds: least length of a window of the spectrogram, and step between windows
MANY, FEW = 64, 40  # mel bands at WIDE samples per second or more, and below
WIDE = 16_000
FLOOR = 1e-10  # least power of a band: -100 dB, as in librosa


@dataclass(frozen=True)
class AudioSpec(Spec):
    """The spec of recordings of one channel, [t] int16.

    Attributes:
        rate: Samples per second.
        n_fft: Samples of a window of the spectrogram, a power of two.
        hop: Samples between two windows.
        bands: Number of mel bands, from 0 Hz to half the rate.
        length: Length in samples that every item is padded to with silence; None if items have different lengths.
        mean, std: Statistics of each band of the training data, in dB.
    """

    rate: int = WIDE
    n_fft: int = 512
    hop: int = 160
    bands: int = MANY
    length: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @classmethod
    def at(cls, rate: int, length: int | None = None) -> AudioSpec:
        """Return a spec with the usual settings for a rate, without statistics."""
        n_fft = 1 << max(3, (round(rate * WINDOW) - 1).bit_length())
        bands = MANY if rate >= WIDE else FEW
        return cls((), "int16", rate=rate, n_fft=n_fft, hop=max(1, round(rate * HOP)), bands=bands, length=length)

    @property
    def modality(self) -> Audio:
        from salience.modalities.audio import MODALITY

        return MODALITY

    @property
    def frames(self) -> int | None:
        """Number of frames of every item; None if items have different lengths."""
        return None if self.length is None else frames_of(self.length, self.hop)

    def checks(self) -> Iterable[tuple[str, bool]]:
        yield from super().checks()
        for name in ("rate", "n_fft", "hop", "bands"):
            value = getattr(self, name)
            yield name, isinstance(value, int) and value > 0
        yield "n_fft", self.n_fft < 1 << 20 and self.bands <= self.n_fft
        yield "length", self.length is None or (isinstance(self.length, int) and self.length > 0)
        yield "mean and std", are_numbers((*self.mean, *self.std))
        yield "mean and std", len(self.mean) in (0, self.bands) and len(self.std) == len(self.mean)

    @property
    def form(self) -> tuple[Any, ...]:
        return (*super().form, self.rate, self.n_fft, self.hop, self.bands, self.length)

    @property
    def unit_form(self) -> tuple[Any, ...]:
        return (*self.form, self.mean, self.std)


def frames_of(samples: int, hop: int) -> int:
    """Return the number of frames of a recording: windows are centred at 0, hop, 2 hop, ..."""
    return 1 + samples // hop
