"""Small recordings for tests, and WAV files written chunk by chunk."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import soundfile

RATE = 8000


def tone(hertz: float = 440.0, seconds: float = 0.3, rate: int = RATE, peak: float = 0.5) -> np.ndarray:
    """[t] float32"""
    return (peak * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def chunk(name: bytes, data: bytes, length: int | None = None) -> bytes:
    return name + struct.pack("<I", len(data) if length is None else length) + data + b"\0" * (len(data) % 2)


def form(rate: int = RATE, channels: int = 1, bits: int = 16) -> bytes:
    each = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", 1, channels, rate, rate * each, each, bits))


def wav(*chunks: bytes, length: int | None = None) -> bytes:
    """A file of these chunks.  length: as the header says it, otherwise right"""
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if length is None else length) + body


def as_int16(x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x * 32768), -32768, 32767).astype("<i2")


def write_notes(folder: Path, n: int = 24, *, least: float = 0.1, most: float = 0.4) -> Path:
    """Low and high tones in noise, in folders of their class, of different lengths."""
    rng = np.random.default_rng(0)
    for number in range(n):
        name = ("low", "high")[number % 2]
        (folder / name).mkdir(parents=True, exist_ok=True)
        x = tone((300, 1500)[number % 2] * rng.uniform(0.9, 1.1), rng.uniform(least, most))
        x = x + 0.02 * rng.normal(size=len(x)).astype(np.float32)
        soundfile.write(folder / name / f"{number:02d}.wav", x, RATE)
    return folder
