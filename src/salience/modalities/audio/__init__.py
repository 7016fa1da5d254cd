"""Recordings as a kind of data. This module implements the contract `Modality` with the other modules of this folder.

An item is stored as samples [t] int16 of one channel at one rate. On the unit scale it is its log-mel spectrogram
[frames bands], standardised per band: there views are drawn, networks compute and decoders reconstruct. Its tokens are
the frames, and masks refer to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from salience.errors import UserError
from salience.modalities.audio.spec import AudioSpec, frames_of
from salience.modalities.modality import Items, Modality
from salience.units import counted

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from PIL.Image import Image
    from torch import Tensor, dtype, nn

    from salience.fields.build_options import Built, Options
    from salience.fields.content import Found
    from salience.fields.stored_items import Stored
    from salience.nets.encoder import Encoder
    from salience.views.policy import Policy

NAMES = ("wav", "wave", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff", "aifc", "au", "caf", "w64", "rf64")


class Audio(Modality[AudioSpec]):
    """Recordings [t] of one channel."""

    name = "audio"
    item = "recording"
    plural = "recordings"
    spec = AudioSpec
    media_type = "audio/wav"
    default_encoder = "convnet"
    item_extensions = frozenset(f".{name}" for name in NAMES)
    reading_options = frozenset({"window", "hop", "rate", "channel"})
    policies: ClassVar[Mapping[str, str]] = {
        "sound": "crop, shift in time, gain, noise, masked frames and bands (SpecAugment)",
        "crops": "crop alone",
        "specaugment": "masked frames and bands alone",
    }

    # --- from a source to stored items

    def recognizes(self, content: Any) -> bool:
        from salience.fields.content import Encoded

        return isinstance(content, Encoded) and content.kind == self.name

    def build(self, found: Found, options: Options) -> Built:
        from salience.modalities.audio.audio_builder import build

        return build(found, options)

    def collate(self, stored: Stored, rows: np.ndarray, spec: AudioSpec) -> tuple[Any, np.ndarray]:
        """Return samples [b t], padded with silence, and the mask [b frames] of real frames."""
        import numpy as np

        from salience.fields.stored_items import Ragged

        assert isinstance(stored, Ragged)
        lengths = stored.lengths(rows)
        if spec.length is None:
            x, _ = stored.padded(rows)
        else:
            x = np.zeros((len(rows), spec.length), np.int16)
            for at, row in enumerate(rows):
                x[at, : lengths[at]] = stored[int(row)]
        frames = np.arange(frames_of(x.shape[1], spec.hop))
        return x, frames < (1 + lengths // spec.hop)[:, None]

    def describe(self, shape: Sequence[int], dtype: str, count: int) -> str:
        return f"{counted(count, self.item)}, one channel, {dtype}"

    # --- the unit scale

    def unit(self, x: Tensor, spec: AudioSpec) -> Tensor:
        from salience.modalities.audio.unit import unit_audio

        return unit_audio(x, spec)

    def width(self, spec: AudioSpec) -> int:
        """Return the values of a spectrogram; without one length, those of `raw_features`."""
        return 2 * spec.bands if spec.frames is None else spec.frames * spec.bands

    def flat(self, x: Tensor, spec: AudioSpec, dtype: dtype, mask: Tensor | None = None) -> Tensor:
        """Convert to whole spectrograms; without one length, to mean and standard deviation of each band."""
        if spec.frames is None:
            return self.raw_features(x, spec, mask).to(dtype)
        return super().flat(x, spec, dtype)

    def unflatten(self, flat: Tensor, spec: AudioSpec) -> Tensor:
        return flat if spec.frames is None else flat.unflatten(1, (spec.frames, spec.bands))

    def blank(self, spec: AudioSpec) -> Tensor:
        import torch

        return torch.zeros(1, spec.frames or 1, spec.bands)

    def refuse_vectors(self, spec: AudioSpec, what: str) -> None:
        if spec.length is None:
            raise UserError(
                f"{what} needs recordings of one length; give --window SECONDS, which cuts longer ones into windows "
                "and ends shorter ones with silence"
            )

    # --- views, networks

    def policy(self, name: str) -> Policy:
        from salience.modalities.audio.policies import POLICIES

        return POLICIES[name]

    def default_policy(self, spec: AudioSpec) -> tuple[str, str]:
        return spec.views or "sound", "set by the source" if spec.views else "the default for recordings"

    def make_encoder(self, name: str, spec: AudioSpec, *, dim: int | None, fetch: bool) -> Encoder:
        from salience.modalities.audio.encoders import make_encoder

        return make_encoder(name, spec, dim=dim)

    def make_decoder(self, encoder: str, spec: AudioSpec, dim: int) -> nn.Module:
        from salience.modalities.audio.decoder import LogMelDecoder

        self.refuse_vectors(spec, "source: a decoder")
        return LogMelDecoder(dim, spec)

    # --- evaluation and show

    def raw_features(self, x: Tensor, spec: AudioSpec, mask: Tensor | None = None) -> Tensor:
        from salience.modalities.audio.unit import mean_and_std

        return mean_and_std(self.unit(x, spec), mask)

    def raw_note(self, spec: AudioSpec) -> str:
        return f"raw input is the mean and the standard deviation over time of {spec.bands} log-mel bands"

    def picture(self, data: Items, row: int) -> Image:
        from salience.modalities.audio.spectrogram import draw

        return draw(data.item(row), data.spec)

    def text(self, data: Items, row: int) -> str:
        from salience.modalities.audio.spectrogram import describe

        return describe(data, row)

    def media(self, data: Items, row: int) -> tuple[str, bytes]:
        from salience.modalities.audio.spectrogram import wav

        return self.media_type, wav(data.item(row), data.spec.rate)

    def store_columns(self, data: Any) -> dict[str, pa.Array]:
        import pyarrow as pa

        seconds = [len(data.item(row)) / data.spec.rate for row in range(len(data))]
        return {"seconds": pa.array(seconds, pa.float32())}

    def store_names(self, spec: AudioSpec) -> list[str]:
        return ["seconds"]

    def thumbnails(self, data: Any) -> pa.Array:
        from salience.modalities.audio.spectrogram import thumbnails

        return thumbnails(data)


MODALITY = Audio()
