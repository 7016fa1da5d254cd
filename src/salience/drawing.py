"""Names that came from outside, in matplotlib's figures."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from salience.units import printable

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST = 120  # characters of a name in a figure


def drawable(name: str, longest: int = LONGEST) -> str:
    """A name fit to be drawn by matplotlib: as it is, whatever it holds, on one line, and cut where it is long.

    A dollar would begin a formula, and what follows may not be one. What begins with a line would be left out of a
    legend: a space of no width before it prevents that.
    """
    text = printable(name)
    text = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return "\u200b" * text.startswith("_") + text.replace("$", r"\$")


@contextmanager
def ignore_missing_glyphs() -> Iterator[None]:
    """Without warnings of letters that the font has not: they are drawn as boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support", UserWarning)  # some scripts' joins
        yield


def draw_text(text: str) -> Image:
    """A few lines of text as a small picture, for items that have no better one."""
    from PIL import ImageDraw
    from PIL.Image import new

    lines = [line[:40] for line in text.splitlines()[:8]] or [""]
    drawn = new("L", (6 * max(map(len, lines)) + 8, 12 * len(lines) + 8), 255)
    ImageDraw.Draw(drawn).multiline_text((4, 4), "\n".join(lines), fill=0)
    return drawn
