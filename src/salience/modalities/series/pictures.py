"""Series drawn as line plots, for stores and for the page."""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL.Image import Image

    from salience.modalities.modality import Items

WIDTH, HEIGHT, MARGIN = 128, 96, 3  # pixels
USUAL = 2.0  # standard deviations around the mean that every picture covers, so that pictures can be compared
MOST_LANES = 8  # up to so many channels have a lane each; more share one
PAPER = (255, 255, 255)
COLOURS = ((31, 119, 180), (214, 90, 30), (44, 130, 60), (170, 50, 120), (110, 90, 170), (120, 90, 60))


def draw(data: Items, row: int) -> Image:
    """Draw one series, each channel on a scale with the usual values of the training data and all of its own."""
    mean, std = np.array(data.spec.mean), np.array(data.spec.std)
    return draw_series(np.asarray(data.item(row), np.float64), mean - USUAL * std, mean + USUAL * std)


def draw_series(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> Image:
    """Draw a series as lines.

    Args:
        x: [t c] values.
        low, high: [c] values that the scale of each channel contains.
    """
    from PIL import ImageDraw
    from PIL.Image import new

    picture = new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(picture)
    channels = x.shape[1]
    lanes = channels if channels <= MOST_LANES else 1
    height = (HEIGHT - 2 * MARGIN) / lanes
    for channel in range(channels):
        top = MARGIN + (channel % lanes) * height
        points = _points(x[:, channel], (low[channel], high[channel]), top + 1, height - 2)
        colour = COLOURS[channel % len(COLOURS)]
        if len(points) > 1:
            pen.line(points, fill=colour)
        else:
            pen.point(points, fill=colour)
    return picture


def _points(values: np.ndarray, scale: tuple[float, float], top: float, height: float) -> list[tuple[float, float]]:
    """Return the pixels of one channel; of a long one the smallest and largest value in each column of pixels."""
    across = WIDTH - 2 * MARGIN
    at = np.arange(len(values))
    if len(values) > 2 * across:
        cuts = np.linspace(0, len(values), across + 1).astype(int)
        ends = [(a + values[a:b].argmin(), a + values[a:b].argmax()) for a, b in itertools.pairwise(cuts)]
        at = np.array([step for pair in ends for step in sorted(pair)])
    known = at[np.isfinite(values[at])]
    if not len(known):
        return []
    low, high = min(scale[0], values[known].min()), max(scale[1], values[known].max())
    share = (values[known] - low) / (high - low) if high > low else np.full(len(known), 0.5)
    x = MARGIN + known / max(1, len(values) - 1) * (across - 1)
    return list(zip(x.tolist(), (top + (1 - share) * height).tolist(), strict=True))


def thumbnails(data: Items) -> pa.Array:
    """Return a PNG file of every series, as bytes."""
    import pyarrow as pa

    return pa.array([_png(data, row) for row in range(len(data))], pa.binary())  # type: ignore[arg-type]


def _png(data: Items, row: int) -> bytes:
    file = io.BytesIO()
    draw(data, row).save(file, "PNG", compress_level=3)
    return file.getvalue()
