"""What verbs draw: sheets of images, each pixel as large as the next, and rows of a table as strips of colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from salience.drawing import drawable, ignore_missing_glyphs
from salience.files import atomic
from salience.modalities import Spec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

MARGIN = 0.1  # inches beside the title
DPI = 150
TILE = 84  # pixels a side that a tile is brought near to
GAP, BLOCK = 4, 18  # pixels between tiles, and between groups of rows
PAPER, FRAME = 255, 205  # grey values
TEXT, TITLE = 7, 9  # points
LINE = round(TEXT * DPI / 72 * 1.5)  # pixels a line of text takes
MOST_ACROSS = 16
MOST_NAMED = 40  # columns of a table
LONGEST_NAME = 24  # characters


@dataclass(frozen=True)
class Strip:
    """One row of a sheet.

    x: [m c h w] on the unit scale;  captions: below its tiles;  apart: more room above, where another group begins
    """

    name: str
    x: Tensor | np.ndarray
    captions: Sequence[str] = ()
    apart: bool = False


def pictures(x: Tensor) -> np.ndarray:
    """[n c h w] on the unit scale -> [n h w] or [n h w 3] in [0, 1]."""
    x = x.float().clamp(0, 1)
    return x.permute(0, 2, 3, 1).numpy() if x.shape[1] == 3 else x.mean(1).numpy()


def sheet(strips: Sequence[Strip], title: str, *, tile: int = TILE) -> Figure:
    """Rows of images with their names to the left. Images of any sizes become tiles of one size."""
    side = _side(max(strip.x.shape[-1] for strip in strips), tile)
    rows = [_row(strip, side) for strip in strips]
    tops, height = [], 0
    for strip, row in zip(strips, rows, strict=True):
        height += BLOCK * (strip.apart and height > 0)
        tops.append(height)
        height += len(row) + GAP + LINE * bool(strip.captions)
    canvas = np.full((height - GAP, max(row.shape[1] for row in rows), 3), PAPER, np.uint8)
    for top, row in zip(tops, rows, strict=True):
        canvas[top : top + len(row), : row.shape[1]] = row
    figure, axes = _framed(canvas, [strip.name for strip in strips], title)
    for top, strip in zip(tops, strips, strict=True):
        axes.text(-2 * GAP, top + side / 2, drawable(strip.name), fontsize=TEXT, ha="right", va="center")
        for at, caption in enumerate(strip.captions):
            centre = at * (side + 2 + GAP) + side / 2
            axes.text(centre, top + side + GAP, drawable(caption), fontsize=TEXT - 1.5, ha="center", va="top")
    return figure


def grid_strips(x: Tensor | np.ndarray, least: int = 1) -> list[Strip]:
    """[n c h w] in as many rows as columns, or nearly so; at least so many columns."""
    across = max(least, min(MOST_ACROSS, math.ceil(math.sqrt(len(x)))))
    return [Strip("", x[first : first + across]) for first in range(0, len(x), across)]


def table_figure(
    drawn: Sequence[tuple[str, Tensor]], title: str = "", names: Sequence[str] = (), columns: Sequence[str] = ()
) -> Figure:
    """Rows of a table, each in several versions.

    drawn: name -> [m ...] on the unit scale;  names: of the m rows;  columns: of the width, shown where there is room
    """
    from matplotlib.figure import Figure

    stacked = torch.stack(
        [torch.as_tensor(x).float().flatten(1) for _, x in drawn], dim=1
    ).numpy()  # [items, draws, width]
    height = max(2.4, len(stacked) * (0.3 + 0.13 * len(drawn)) + 0.9)
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.subplots(len(stacked), 1, squeeze=False)[:, 0]
    for at, (axis, item) in enumerate(zip(axes, stacked, strict=True)):
        shown = axis.imshow(item, cmap="coolwarm", vmin=-3, vmax=3, aspect="auto", interpolation="nearest")
        axis.set_yticks(range(len(drawn)) if any(name for name, _ in drawn) else [])
        axis.set_yticklabels([drawable(name) for name, _ in drawn][: len(axis.get_yticks())], fontsize=5)
        axis.set_xticks([])
        if names:
            axis.set_title(drawable(names[at]), fontsize=6, loc="left", pad=2)
    if len(columns) <= MOST_NAMED:
        axes[-1].set_xticks(
            range(len(columns)), [drawable(short(name)) for name in columns], fontsize=6, rotation=30, ha="right"
        )
    bar = figure.colorbar(shown, ax=axes, fraction=0.03, pad=0.02, aspect=30)
    bar.set_label("standard deviations\nfrom the mean", fontsize=7)
    bar.ax.tick_params(labelsize=6)
    if title:
        set_title(figure, title)
    return figure


def short(name: str) -> str:
    """As much of a name as leaves room for the picture."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def unit_columns(spec: Spec) -> list[str]:
    """A name for each value of a table's row on the unit scale."""
    return spec.modality.value_names(spec)


def set_title(figure: Figure, title: str) -> None:
    """Above the pictures; they get as wide a figure as the title needs."""
    text = figure.suptitle(drawable(title), fontsize=10)
    needed = _pixels(text)[0] / figure.dpi + 2 * MARGIN
    figure.set_figwidth(max(figure.get_figwidth(), needed))


def save(figure: Figure, path: Path) -> None:
    with atomic(path) as temporary, ignore_missing_glyphs():
        figure.savefig(temporary, format=path.suffix[1:], dpi=DPI)


def save_image(x: np.ndarray, path: Path) -> None:
    """One image as it is, without a frame.  x: [c h w] on the unit scale"""
    from PIL import Image

    with atomic(path) as temporary:
        Image.fromarray(_bytes(pictures(torch.as_tensor(x)[None])[0])).save(temporary, "PNG")


def _side(largest: int, tile: int) -> int:
    """Pixels a side of all tiles: a whole multiple of the largest image's near to `tile`; large images are shrunk."""
    return largest * max(1, round(tile / largest)) if largest <= 2 * tile else 2 * tile


def _row(strip: Strip, side: int) -> np.ndarray:
    """[side + 2, w, 3] bytes: its tiles beside each other, in thin frames."""
    from PIL import Image

    parts = []
    for picture in pictures(torch.as_tensor(strip.x)):
        image = Image.fromarray(_bytes(picture)).convert("RGB")
        resampling = Image.Resampling.NEAREST if side % image.width == 0 else Image.Resampling.LANCZOS
        framed = np.full((side + 2, side + 2 + GAP, 3), FRAME, np.uint8)
        framed[:, side + 2 :] = PAPER
        framed[1 : side + 1, 1 : side + 1] = np.asarray(image.resize((side, side), resampling))
        parts.append(framed)
    return np.concatenate(parts, axis=1)[:, :-GAP]


def _bytes(picture: np.ndarray) -> np.ndarray:
    return np.rint(picture * 255).astype(np.uint8)


def _framed(canvas: np.ndarray, names: Sequence[str], title: str) -> tuple[Figure, Axes]:
    """A figure that shows the canvas pixel by pixel, with room for the title above and for names to the left."""
    from matplotlib.figure import Figure

    figure, margin = Figure(dpi=DPI), round(MARGIN * DPI)
    head = figure.suptitle(drawable(title), fontsize=TITLE)
    room = [_pixels(figure.text(0, 0, drawable(name), fontsize=TEXT), remove=True)[0] for name in names]
    left = margin + (max(room) + 2 * GAP if any(names) else 0)
    head_width, head_height = _pixels(head)
    height, width = canvas.shape[0] + head_height + 3 * margin, left + canvas.shape[1] + margin
    whole = max(width, head_width + 2 * margin)
    figure.set_size_inches(whole / DPI, height / DPI)
    head.set_position((0.5, 1 - margin / height))
    axes = figure.add_axes((left / whole, margin / height, canvas.shape[1] / whole, canvas.shape[0] / height))
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    return figure, axes


def _pixels(text: Text, *, remove: bool = False) -> tuple[int, int]:
    """Width and height of a text as drawn."""
    with ignore_missing_glyphs():
        extent = text.get_window_extent()
    if remove:
        text.remove()
    return math.ceil(extent.width), math.ceil(extent.height)
