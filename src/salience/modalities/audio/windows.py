"""Windows of long recordings: equally long parts, each an item."""

from __future__ import annotations


def starts(length: int, window: int, hop: int) -> list[int]:
    """Return the start of each window of a recording, in samples.

    Windows start at 0, hop, 2 hop, ...; the last one ends with the recording, and may overlap the one before more than
    the others do. A recording shorter than a window is one window.
    """
    if length <= window:
        return [0]
    found = list(range(0, length - window + 1, hop))
    return found if found[-1] + window == length else [*found, length - window]


def name(id: str, start: int, rate: int) -> str:
    """Return the id of a window: "talk.wav#12.5" starts after 12.5 seconds."""
    seconds = f"{start / rate:.4f}".rstrip("0").rstrip(".")
    return f"{id}#{seconds}"
