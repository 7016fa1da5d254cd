"""Decoding of one image file, or its bytes, to an array [c h w]. Every failure becomes one short reason.

torchvision decodes JPEG files that need no resizing (three times as fast as PIL at 32x32). PIL decodes all others; it
skips most of the work for JPEG files that shrink by half or more.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from salience.modalities.image.headers import (
    DEEP_MODES,
    HEAD_BYTES,
    MAX_PIXELS,
    Blob,
    Header,
    Refused,
    UnreadableError,
    formats,
    has_alpha,
    jpeg_header,
    orientation_of,
    probe,
    read_bytes,
    reason_for,
)
from salience.modalities.image.square import central_square, square_picture
from salience.reading import Aspect

__all__ = [
    "MAX_PIXELS",
    "Blob",
    "Header",
    "Refused",
    "Target",
    "UnreadableError",
    "decode",
    "decode_whole",
    "measure_opacity",
    "probe",
]
Answer = TypeVar("Answer")
GROUNDS = {"white": 255, "black": 0, "grey": 128}
SURVEYED = 64  # pixels per side at which transparent images are examined
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF's orientations


@dataclass(frozen=True)
class Target:
    """The format to decode to: [channels resolution resolution].

    Attributes:
        channels: Number of channels.
        resolution: Height and width in pixels.
        deep: Whether to decode to uint16 instead of uint8.
        aspect: Treatment of images that are not square.
        ground: Background of transparent pixels, a key of GROUNDS.
    """

    channels: int
    resolution: int
    deep: bool = False
    aspect: Aspect = "stretch"
    ground: str = "white"


def decode(blob: Blob, target: Target) -> np.ndarray:
    """Decode an image to [channels resolution resolution] uint8, or uint16 if deep. Raises UnreadableError."""
    return _guarded(lambda data: _decode(data, target), blob)


def decode_whole(blob: Blob, channels: int, *, deep: bool = False, ground: str = "white") -> np.ndarray:
    """Decode an image at its original height and width, [channels h w]. Raises UnreadableError."""
    probe(blob)  # refuses images that are too large or unsupported
    return _guarded(lambda data: _decode_whole(data, Target(channels, 0, deep, ground=ground)), blob)


def measure_opacity(blob: Blob) -> np.ndarray | None:
    """Measure the lightness and opacity of the pixels of an image, [2 n] from 0 to 1.

    Returns None if no pixel is transparent. Raises UnreadableError.
    """
    return _guarded(_opaque_light, blob)


def _guarded(read: Callable[[bytes], Answer], blob: Blob) -> Answer:
    try:
        return read(blob if isinstance(blob, bytes) else read_bytes(str(blob)))
    except UnreadableError:
        raise
    except Exception as error:  # decoders raise anything from SyntaxError to struct.error on a damaged file
        raise UnreadableError(reason_for(error)) from error


def _decode(data: bytes, target: Target) -> np.ndarray:
    header = jpeg_header(data[:HEAD_BYTES])
    if header and not target.deep and _needs_no_resizing(header, target):
        pixels = _decode_jpeg(data, target.channels, header.orientation)
        if pixels is not None:
            left, top, side = central_square(pixels.shape[2], pixels.shape[1])
            return np.ascontiguousarray(pixels[:, top : top + side, left : left + side])
    upright = _upright(data, target, least=2 * target.resolution)
    return _as_array(square_picture(upright, target.resolution, target.aspect), target.deep)


def _needs_no_resizing(header: Header, target: Target) -> bool:
    sides = (header.width, header.height)
    return min(sides) == target.resolution and (target.aspect == "crop" or max(sides) == target.resolution)


def _decode_whole(data: bytes, target: Target) -> np.ndarray:
    header = jpeg_header(data[:HEAD_BYTES])
    pixels = _decode_jpeg(data, target.channels, header.orientation) if header and not target.deep else None
    return _as_array(_upright(data, target), target.deep) if pixels is None else pixels


def _decode_jpeg(data: bytes, channels: int, orientation: int) -> np.ndarray | None:
    """Decode a JPEG to [c h w], upright. Return None if torchvision fails and PIL should try."""
    decode_jpeg = _torchvision_jpeg()
    if decode_jpeg is None:
        return None
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    try:
        pixels: np.ndarray = decode_jpeg(encoded, channels, False).numpy()  # 1 is grey, 3 RGB; False: EXIF is ours
    except RuntimeError:
        return None
    return _turned(pixels, orientation)


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels [c h w] upright by their EXIF orientation, as `_TURNS` does with a PIL image."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(0, 2, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[:, ::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, :, ::-1]
    return np.ascontiguousarray(pixels)


@functools.cache
def _torchvision_jpeg() -> Callable[[torch.Tensor, int, bool], torch.Tensor] | None:
    """Return torchvision's operator, whose wrapper is deprecated since 0.29; None if it is not available."""
    try:
        if not _load_operators():
            import torchvision.io  # noqa: F401  (registers it)

        operator: Callable[[torch.Tensor, int, bool], torch.Tensor] = torch.ops.image.decode_jpeg.default
    except (ImportError, AttributeError, RuntimeError):
        return None
    return operator


def _load_operators() -> bool:
    """Registers torchvision's image operators without the rest of that package, which takes seconds to import.

    Returns: whether its library was found and could be loaded.
    """
    package = find_spec("torchvision")
    folders = (package.submodule_search_locations or []) if package else []
    for library in (path for folder in folders for path in Path(folder).glob("image*.so")):
        try:
            torch.ops.load_library(library)
        except OSError:
            continue
        return True
    return False


def _upright(data: bytes, target: Target, least: int | None = None) -> Image.Image:
    """Decode with PIL, upright. `least`: pixels per side down to which a JPEG may shrink in decoding; None: never."""
    with Image.open(io.BytesIO(data), formats=formats()) as image:
        if least is not None:
            image.draft(None, (least, least))
        image.load()
        turn = _TURNS.get(orientation_of(image))
        upright: Image.Image = image if turn is None else image.transpose(turn)
    return _deep(upright, target.ground) if target.deep else _shallow(upright, target.channels, target.ground)


def _opaque_light(data: bytes) -> np.ndarray | None:
    with Image.open(io.BytesIO(data), formats=formats()) as image:
        image.load()
        if not has_alpha(image):
            return None
        small = image.convert("RGBA").reduce(max(1, min(image.size) // SURVEYED)).convert("LA")
    values = np.asarray(small, dtype=np.float32).reshape(-1, 2).T / 255
    return None if values[1].min() == 1 else values


def _as_array(pixels: Image.Image, deep: bool) -> np.ndarray:
    """Convert a PIL image to an array [c h w]."""
    values = np.asarray(pixels)
    if deep:
        values = values.round().clip(0, 65535).astype(np.uint16)
    return values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))


def _deep(image: Image.Image, ground: str) -> Image.Image:
    """Convert to float pixels (mode F) of 0..65535, which PIL resizes without rounding."""
    values = np.asarray(image if image.mode in DEEP_MODES else _shallow(image, 1, ground))
    if values.dtype == np.uint8:
        values = values.astype(np.float32) * 257
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableError("32-bit pixels are not supported; save it with 8 or 16 bits, or as .npy")
    return Image.fromarray(values.astype(np.float32))


def _shallow(image: Image.Image, channels: int, ground: str) -> Image.Image:
    """Convert to 8-bit grey or RGB. Transparent pixels show the background `ground`."""
    if image.mode in DEEP_MODES:
        values = np.asarray(_deep(image, ground))
        image = Image.fromarray((values / 257).round().astype(np.uint8))
    if has_alpha(image):
        image = image.convert("RGBA")
        behind = Image.new("RGBA", image.size, (*[GROUNDS[ground]] * 3, 255))
        image = Image.alpha_composite(behind, image)
    return image.convert("RGB" if channels == 3 else "L")
