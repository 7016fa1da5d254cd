"""Windows of long texts."""

from __future__ import annotations

from collections.abc import Iterator

LONGEST = 2000  # characters; a longer text is cut into windows
OF_STREAM = 1000  # characters of a window of a stream
OF_CHARACTERS = 500  # characters of a window whose every character is a token


def starts(length: int, window: int, hop: int) -> Iterator[int]:
    """Iterate over the starts of windows that cover a text. The last one may be shorter than the others."""
    start = 0
    while True:
        yield start
        if start + window >= length or start + hop >= length:
            return
        start += hop
