"""How one recording is shown: its spectrogram as a picture, its sound as a WAV file, a line of text."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from salience.modalities.audio.spec import AudioSpec, frames_of
from salience.modalities.modality import Items
from salience.units import printable

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL.Image import Image

HEIGHT, WIDEST = 80, 240  # pixels
RANGE = 70.0  # dB below the loudest value that are drawn
# Black, purple, red, orange, pale yellow: lighter is louder, also in grey.
COLOURS = np.array([[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]], np.float64)


def draw(samples: np.ndarray, spec: AudioSpec) -> Image:
    """Draw the spectrogram of a recording: time from left to right, high bands at the top."""
    import torch
    from PIL import Image as Pictures

    from salience.modalities.audio.log_mel import log_mel
    from salience.modalities.audio.unit import FULL

    wave = torch.from_numpy(np.asarray(samples, np.float32) / np.float32(FULL))
    levels = log_mel(wave[None], spec)[0].numpy()[: frames_of(len(samples), spec.hop)]
    shown = np.clip((levels - levels.max()) / RANGE + 1, 0, 1).T[::-1]  # [bands frames], high bands first
    at = np.linspace(0, 1, len(COLOURS))
    coloured = np.stack([np.interp(shown, at, COLOURS[:, channel]) for channel in range(3)], axis=-1)
    picture = Pictures.fromarray(np.rint(coloured).astype(np.uint8))
    width = max(HEIGHT // 4, min(WIDEST, 2 * picture.width))
    return picture.resize((width, HEIGHT), Pictures.Resampling.BILINEAR)


def thumbnails(data: Items) -> pa.Array:
    """Return a PNG file of every spectrogram, as bytes."""
    import pyarrow as pa

    count = len(data)  # type: ignore[arg-type]
    return pa.array([_png(draw(data.item(row), data.spec)) for row in range(count)], pa.binary())


def _png(image: Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=3)
    return file.getvalue()


def wav(samples: np.ndarray, rate: int) -> bytes:
    """Return a WAV file of one channel of 16 bits."""
    data = np.ascontiguousarray(samples, "<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return b"RIFF" + struct.pack("<I", 4 + len(form) + 8 + len(data)) + b"WAVE" + form + _chunk(b"data", data)


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data


def describe(data: Any, row: int) -> str:
    """Describe a recording: its duration, rate and peak."""
    samples, rate = data.item(row), data.spec.rate
    peak = int(np.abs(samples.astype(np.int32)).max(initial=0))
    loud = "silent" if peak == 0 else f"peak {20 * np.log10(peak / 32768):.1f} dB"
    return f"{printable(data.ids[row])}: {len(samples) / rate:.2f} s, {rate:,} Hz, {loud}"
