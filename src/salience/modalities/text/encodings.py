"""Conversion of the bytes of a text file to text: its encoding, its ends of lines and characters that are no text."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

LARGEST = 1 << 30  # bytes of one text
LOOKED_AT = 1 << 16  # bytes that are examined for an encoding without a byte order mark
MOST_CONTROL = 0.01  # share of control characters above which a file is not text
MARKS = (  # UTF-32 first, because its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
UNUSED_IN_CP1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
CONTROL = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
NEWLINE = re.compile("\r\n?")
SURROGATE = re.compile("[\ud800-\udfff]")


class NotTextError(ValueError):
    """The reason that a file cannot be read as text."""


def read_text(path: Path | str) -> tuple[str, str]:
    """Read a text file.

    Returns:
        The text, with "\\n" at the ends of lines, and the encoding.

    Raises:
        NotTextError: The file cannot be read, is too large or is not text.
    """
    try:
        if (size := Path(path).stat().st_size) > LARGEST:
            raise NotTextError(f"has {size / 1e9:.1f} GB; give a text of this length as a source of its own")
        data = Path(path).read_bytes()
    except OSError as error:
        raise NotTextError(str(error.strerror)) from error
    encoding = find_encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise NotTextError(f"is not valid {encoding} at byte {error.start:,}") from None
    if (control := len(CONTROL.findall(text[:LOOKED_AT]))) and control > MOST_CONTROL * min(len(text), LOOKED_AT):
        raise NotTextError("contains control characters such as NUL, so it is not text")
    return clean(text), encoding


def find_encoding(data: bytes) -> str:
    """Return the encoding of a text: by its byte order mark, otherwise UTF-16 or UTF-8 if it is, otherwise cp1252."""
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return encoding
    if (wide := _utf_16(data[:LOOKED_AT])) is not None:
        return wide
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1" if UNUSED_IN_CP1252.search(data) else "cp1252"
    return "utf-8"


def _utf_16(data: bytes) -> str | None:
    """Return UTF-16 for a text without a mark whose every second byte is mostly 0, as in European languages."""
    if len(data) < 4 or b"\0" not in data:
        return None
    odd, even = data[1::2].count(0), data[::2].count(0)
    half = len(data) // 2
    if odd > 0.6 * half and even < 0.05 * half:
        return "utf-16-le"
    return "utf-16-be" if even > 0.6 * half and odd < 0.05 * half else None


def clean(text: str) -> str:
    """Return a text with "\\n" at the ends of lines, without NUL, and without surrogates, which UTF-8 cannot encode."""
    if "\r" in text:
        text = NEWLINE.sub("\n", text)
    if "\0" in text:
        text = text.replace("\0", "")
    return text if text.isascii() else SURROGATE.sub("\ufffd", text)
