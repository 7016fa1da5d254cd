"""Drawing of untrusted names in matplotlib figures and of text as pictures."""

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
    """Convert a name for matplotlib: on one line, shortened, with its special characters escaped.

    A dollar sign would start a formula. A name with a leading underscore is omitted from a legend, so a zero-width
    space is added before it.
    """
    text = printable(name)
    text = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return "\u200b" * text.startswith("_") + text.replace("$", r"\$")


@contextmanager
def ignore_missing_glyphs() -> Iterator[None]:
    """Ignore warnings about characters that are missing in the font; they are drawn as boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support", UserWarning)  # some scripts' joins
        yield


def draw_text(text: str) -> Image:
    """Draw a few lines of text as a small picture, for items without a picture."""
    from PIL import ImageDraw
    from PIL.Image import new

    lines = [line[:40] for line in text.splitlines()[:8]] or [""]
    drawn = new("L", (6 * max(map(len, lines)) + 8, 12 * len(lines) + 8), 255)
    ImageDraw.Draw(drawn).multiline_text((4, 4), "\n".join(lines), fill=0)
    return drawn
