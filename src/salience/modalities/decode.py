"""One image file, or its bytes, to an array [c h w]; whatever is wrong with it ends as one short reason.

JPEG goes through torchvision (three times as fast as PIL at 32x32), everything else, and photographs that shrink
by half or more, through PIL, which can skip most of a JPEG's work then.
"""

from __future__ import annotations

import functools
import io
import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps

MAX_PIXELS = 89_478_485  # where PIL begins to warn of a decompression bomb
HEAD_BYTES = 1 << 16
# Named, because PIL's other readers run programs (EPS: Ghostscript) or are no images of ours.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "ICO", "PCX", "SGI", "TGA", "DIB")
EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "bmp", "dib", "gif", "tif", "tiff", "webp"),
        *("ppm", "pgm", "pbm", "pnm", "jp2", "avif", "ico", "pcx", "sgi", "tga"),
    )
)
GREY_MODES = ("1", "L", "LA", "La")
DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")


class UnreadableError(Exception):
    """An item that cannot be read; the message is the reason shown to the user."""


@dataclass(frozen=True)
class Refused:
    """Names an image that must not be read, and why."""

    reason: str


Blob = bytes | str | Refused | None
"""An encoded image: its bytes, its path, why it is not read, or None where the source has nothing."""


@dataclass(frozen=True)
class Header:
    """What an image says of itself. deep: one channel of 16 bits."""

    width: int
    height: int
    colour: bool
    deep: bool = False


@dataclass(frozen=True)
class Target:
    """What to decode into: [channels resolution resolution], uint16 where deep, else uint8."""

    channels: int
    resolution: int
    deep: bool = False


def probe(blob: Blob) -> Header:
    """The header alone, without decoding. Raises UnreadableError."""
    head = _head(blob)
    if not head:
        raise UnreadableError("empty")
    header = _png_header(head) or _jpeg_header(head) or _pil_header(blob)
    if header.width * header.height > MAX_PIXELS:
        size = f"{header.width}x{header.height}"
        raise UnreadableError(f"{size} pixels are more than the limit of {MAX_PIXELS:,}")
    if header.width < 1 or header.height < 1:
        raise UnreadableError("no pixels")
    return header


def decode(blob: Blob, target: Target) -> np.ndarray:
    """[channels resolution resolution] uint8, or uint16 where the target is deep. Raises UnreadableError."""
    return _guarded(lambda data: _decode(data, target), blob)


def decode_whole(blob: Blob, channels: int, *, deep: bool = False) -> np.ndarray:
    """The same at its own height and width, [channels h w]. Raises UnreadableError."""
    probe(blob)  # refuses what is too large, or not to be read
    return _guarded(lambda data: _decode_whole(data, channels, deep), blob)


def _guarded(read: Callable[[bytes], np.ndarray], blob: Blob) -> np.ndarray:
    try:
        return read(blob if isinstance(blob, bytes) else _read(str(blob)))
    except UnreadableError:
        raise
    except Exception as error:  # decoders raise anything from SyntaxError to struct.error on a damaged file
        raise UnreadableError(_reason(error)) from error


def _decode(data: bytes, target: Target) -> np.ndarray:
    header = _jpeg_header(data[:HEAD_BYTES])
    shrinks = header and min(header.width, header.height) >= 2 * target.resolution
    if header and not shrinks and not target.deep:
        pixels = _decode_jpeg(data, target.channels)
        if pixels is not None and pixels.shape[1:] == (target.resolution, target.resolution):
            return pixels
    return _decode_pil(data, target)


def _decode_whole(data: bytes, channels: int, deep: bool) -> np.ndarray:
    pixels = _decode_jpeg(data, channels) if _jpeg_header(data[:HEAD_BYTES]) and not deep else None
    return _as_array(_upright(data, channels, deep), deep) if pixels is None else pixels


def _decode_jpeg(data: bytes, channels: int) -> np.ndarray | None:
    """[c h w], None where torchvision cannot and PIL should try."""
    decode_jpeg = _torchvision_jpeg()
    if decode_jpeg is None:
        return None
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    try:
        return decode_jpeg(encoded, channels, True).numpy()  # 1 is grey, 3 RGB; True: EXIF orientation
    except RuntimeError:
        return None


@functools.cache
def _torchvision_jpeg() -> Callable[[torch.Tensor, int, bool], torch.Tensor] | None:
    """The operator itself: torchvision 0.29 deprecates the function around it. None where there is no such operator."""
    try:
        import torchvision.io  # noqa: F401  (registers it)

        operator: Callable[[torch.Tensor, int, bool], torch.Tensor] = torch.ops.image.decode_jpeg.default
    except (ImportError, AttributeError, RuntimeError):
        return None
    return operator


def _decode_pil(data: bytes, target: Target) -> np.ndarray:
    size = (target.resolution, target.resolution)
    pixels = _upright(data, target.channels, target.deep, least=2 * target.resolution)
    return _as_array(pixels if pixels.size == size else pixels.resize(size, Image.Resampling.BILINEAR), target.deep)


def _upright(data: bytes, channels: int, deep: bool, least: int | None = None) -> Image.Image:
    """least: pixels a side below which a JPEG may not be shrunk while it is decoded; None: not at all"""
    with Image.open(io.BytesIO(data), formats=_formats()) as image:
        if least is not None:
            image.draft(None, (least, least))
        image.load()
        upright: Image.Image = ImageOps.exif_transpose(image)
    return _deep(upright) if deep else _shallow(upright, channels)


def _as_array(pixels: Image.Image, deep: bool) -> np.ndarray:
    """[c h w]"""
    values = np.asarray(pixels)
    if deep:
        values = values.round().clip(0, 65535).astype(np.uint16)
    return values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))


def _deep(image: Image.Image) -> Image.Image:
    """As float pixels (mode F) of 0..65535, which PIL resizes without loss."""
    values = np.asarray(image if image.mode in DEEP_MODES else _shallow(image, 1))
    if values.dtype == np.uint8:
        values = values.astype(np.float32) * 257
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableError("pixels of 32 bits; save it with 8 or 16 bits, or as .npy")
    return Image.fromarray(values.astype(np.float32))


def _shallow(image: Image.Image, channels: int) -> Image.Image:
    """As 8-bit grey or RGB. What is transparent shows white."""
    if image.mode in DEEP_MODES:
        values = np.asarray(_deep(image))
        image = Image.fromarray((values / 257).round().astype(np.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB" if channels == 3 else "L")


def _head(blob: Blob) -> bytes:
    if blob is None or isinstance(blob, bytes):
        return (blob or b"")[:HEAD_BYTES]
    if isinstance(blob, Refused):
        raise UnreadableError(blob.reason)
    try:
        if not stat.S_ISREG(os.stat(blob).st_mode):  # noqa: PTH116  (as below)
            raise UnreadableError("not a regular file")  # a pipe would be waited for without end
        return _read(blob, HEAD_BYTES)
    except (OSError, ValueError) as error:
        raise UnreadableError(_reason(error)) from error


def _read(path: str, most: int = -1) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (Path costs more than reading a small file)
        return file.read(most)


def _png_header(head: bytes) -> Header | None:
    if head[:8] != b"\x89PNG\r\n\x1a\n" or len(head) < 26 or head[12:16] != b"IHDR":
        return None
    width, height, bits, colour_type = struct.unpack(">IIBB", head[16:26])
    return Header(width, height, colour=colour_type in (2, 3, 6), deep=bits == 16 and colour_type == 0)


def _jpeg_header(head: bytes) -> Header | None:
    """Walks the segments up to the frame header; None where that is not within `head`."""
    if head[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 < len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width, components = struct.unpack(">HHB", head[at + 5 : at + 10])
            return Header(width, height, colour=components > 1) if height else None
        at += 1 if marker == 0xFF else 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None


def _pil_header(blob: Blob) -> Header:
    try:
        with Image.open(io.BytesIO(blob) if isinstance(blob, bytes) else str(blob), formats=_formats()) as image:
            mode, (width, height) = image.mode, image.size
    except Exception as error:
        raise UnreadableError(_reason(error)) from error
    if mode == "F":
        raise UnreadableError("pixels of 32-bit floats; save it with 8 or 16 bits, or as .npy")
    deep = mode in DEEP_MODES
    return Header(width, height, colour=not deep and mode not in GREY_MODES, deep=deep)


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image, or of a kind that is not read"
    if isinstance(error, Image.DecompressionBombError):
        return f"more pixels than the limit of {MAX_PIXELS:,}"
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return text[:200] or type(error).__name__
