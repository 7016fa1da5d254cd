"""Headers of image files, read without decoding: size, colour, orientation, transparency, pages."""

from __future__ import annotations

import functools
import io
import os
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image

MAX_PIXELS = 89_478_485  # where PIL begins to warn of a decompression bomb
HEAD_BYTES = 1 << 16
ORIENTATION = 0x0112
# The supported formats are listed, because other readers of PIL run programs (EPS: Ghostscript).
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "ICO", "PCX", "SGI", "TGA", "DIB")
GREY_MODES = ("1", "L", "LA", "La")
DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")


class UnreadableError(Exception):
    """An item cannot be read. The message is the reason shown to the user."""


@dataclass(frozen=True)
class Refused:
    """An image that must not be read, with the reason."""

    reason: str


Blob = bytes | str | Refused | None
"""An encoded image: its bytes, its path, a refusal, or None if the source has no image."""


@dataclass(frozen=True)
class Header:
    """The header of an image.

    Attributes:
        width, height: Size of the upright image, in pixels.
        colour: Whether the image has colours.
        deep: Whether it has one channel of 16 bits.
        orientation: EXIF orientation, 1 to 8.
        alpha: Whether pixels may be transparent.
        several: Whether there are further pages or frames.
    """

    width: int
    height: int
    colour: bool
    deep: bool = False
    orientation: int = 1
    alpha: bool = False
    several: bool = False

    @classmethod
    def of(cls, stored: tuple[int, int], orientation: int, **rest: bool) -> Header:
        """Make a header from the width and height of the stored pixels."""
        width, height = stored if orientation < 5 else stored[::-1]
        return cls(width, height, orientation=orientation, **rest)


def probe(blob: Blob) -> Header:
    """Read the header of an image, without decoding. Raises UnreadableError."""
    head = _head(blob)
    if not head:
        raise UnreadableError("empty")
    header = png_header(head) or jpeg_header(head) or _pil_header(blob)
    if header.width * header.height > MAX_PIXELS:
        size = f"{header.width}x{header.height}"
        raise UnreadableError(f"{size} pixels exceed the limit of {MAX_PIXELS:,}")
    if header.width < 1 or header.height < 1:
        raise UnreadableError("no pixels")
    return header


def png_header(head: bytes) -> Header | None:
    """Parse the chunks before the pixels. Return None if this is not a PNG file or does not begin with its header."""
    if head[:8] != b"\x89PNG\r\n\x1a\n" or len(head) < 33 or head[12:16] != b"IHDR":
        return None
    width, height, bits, colour_type = struct.unpack(">IIBB", head[16:26])
    alpha, several, orientation = colour_type in (4, 6), False, 1
    at = 33
    while at + 8 <= len(head) and head[at + 4 : at + 8] != b"IDAT":
        length, name = int.from_bytes(head[at : at + 4], "big"), head[at + 4 : at + 8]
        data = head[at + 8 : at + 8 + length]
        alpha = alpha or name == b"tRNS"
        several = several or (name == b"acTL" and int.from_bytes(data[:4], "big") > 1)
        orientation = orientation_in(data) if name == b"eXIf" else orientation
        at += 12 + length
    colour, deep = colour_type in (2, 3, 6), bits == 16 and colour_type == 0
    return Header.of((width, height), orientation, colour=colour, deep=deep, alpha=alpha, several=several)


def jpeg_header(head: bytes) -> Header | None:
    """Parse the segments up to the frame header. Return None if it is not within `head`."""
    if head[:2] != b"\xff\xd8":
        return None
    at, orientation = 2, 1
    while at + 9 < len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width, components = struct.unpack(">HHB", head[at + 5 : at + 10])
            return Header.of((width, height), orientation, colour=components > 1) if height else None
        if marker == 0xE1 and head[at + 4 : at + 10] == b"Exif\0\0" and orientation == 1:
            orientation = orientation_in(head[at + 10 : at + 2 + length])
        at += 1 if marker == 0xFF else 2 + length
    return None


def orientation_in(exif: bytes) -> int:
    """Read the EXIF orientation, 1 to 8; 1 (upright) if there is none. No other EXIF field is read."""
    read = Image.Exif()
    try:
        read.load(exif)
        return _as_orientation(read.get(ORIENTATION))
    except Exception:  # PIL raises anything from SyntaxError to struct.error here
        return 1


def orientation_of(image: Image.Image) -> int:
    """Return the orientation of an open PIL image. XMP data of a JPEG are ignored, as in browsers."""
    if image.format in ("JPEG", "MPO"):
        return orientation_in(image.info.get("exif", b"").removeprefix(b"Exif\0\0"))
    try:
        return _as_orientation(image.getexif().get(ORIENTATION))
    except Exception:
        return 1


def _as_orientation(found: object) -> int:
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def has_alpha(image: Image.Image) -> bool:
    """Return whether pixels may be transparent."""
    return "transparency" in image.info or image.mode in ALPHA_MODES


@contextmanager
def ignore_pil_warnings() -> Iterator[None]:
    """Ignore PIL's warnings, because damaged files are refused with a reason. Not for use in a thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@functools.cache
def formats() -> tuple[str, ...]:
    """Return the supported formats that the installed PIL can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def read_bytes(path: str, most: int = -1) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (Path costs more than reading a small file)
        return file.read(most)


def reason_for(error: Exception) -> str:
    """Describe why an image cannot be read, in a few words."""
    text = " ".join(str(error).split())
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image, or an unsupported image type"
    if isinstance(error, Image.DecompressionBombError):
        return f"more pixels than the limit of {MAX_PIXELS:,}"
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return text[:200] or type(error).__name__


def _head(blob: Blob) -> bytes:
    if blob is None or isinstance(blob, bytes):
        return (blob or b"")[:HEAD_BYTES]
    if isinstance(blob, Refused):
        raise UnreadableError(blob.reason)
    try:
        if not stat.S_ISREG(os.stat(blob).st_mode):  # noqa: PTH116  (as in read_bytes)
            raise UnreadableError("not a regular file")  # reading a pipe could block forever
        return read_bytes(blob, HEAD_BYTES)
    except (OSError, ValueError) as error:
        raise UnreadableError(reason_for(error)) from error


def _pil_header(blob: Blob) -> Header:
    try:
        with Image.open(io.BytesIO(blob) if isinstance(blob, bytes) else str(blob), formats=formats()) as image:
            mode, size, alpha = image.mode, image.size, has_alpha(image)
            size = size[::-1] if image.format == "TIFF" and orientation_of(image) > 4 else size  # PIL has turned it
            orientation = 1 if size[0] * size[1] > MAX_PIXELS else orientation_of(image)
            several = _has_several(image)
    except Exception as error:
        raise UnreadableError(reason_for(error)) from error
    if mode == "F":
        raise UnreadableError("32-bit float pixels are not supported; save it with 8 or 16 bits, or as .npy")
    deep = mode in DEEP_MODES
    colour = not deep and mode not in GREY_MODES
    return Header.of(size, orientation, colour=colour, deep=deep, alpha=alpha, several=several)


def _has_several(image: Image.Image) -> bool:
    """Return whether there is a second page or frame. A count would read the whole file."""
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # the file is damaged after the first page, which is not read
        return False
