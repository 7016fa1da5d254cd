"""The report's figures as SVG and PNG, readable on light and on dark: no background, text in the page's colour.

matplotlib writes INK where the page's own colour belongs; `to_svg` makes it `currentColor`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from salience.drawing import drawable, ignore_missing_glyphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from salience.evaluation.measure import Measures
    from salience.evaluation.report import Gallery

INK = "#0a0b0c"
COLOURS = {"representation": "#2f7fd6", "raw": "#d9822b", "pca": "#1f9e78", "untrained": "#b15fc0"}
MARKS = {"representation": "o", "raw": "s", "pca": "^", "untrained": "D"}
LONGEST_CLASS, LETTER = 40, 0.06  # letters of a class's name in a figure; inches that one needs beside the matrix
MOST_NAMED = 20  # classes that get a name beside their row or a colour of their own
TILE = 64  # pixels a side of a picture in the gallery
RIGHT, WRONG, QUERY = (31, 158, 120), (214, 68, 68), (47, 127, 214)


def new_figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of its own, no global state; size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, columns, squeeze=False)[0])
    for ax in axes:
        ax.patch.set_alpha(0)
        ax.tick_params(colors=INK, which="both", labelsize=9)
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(INK)
    figure.patch.set_alpha(0)
    return figure, axes


def to_svg(figure: Figure, label: str) -> str:
    """An <svg> element to stand in a page.  label: what a screen reader says"""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}), ignore_missing_glyphs():
        FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def label_axes(ax: Axes, x: str, y: str) -> None:
    ax.set_xlabel(drawable(x), color=INK, fontsize=10)
    ax.set_ylabel(drawable(y), color=INK, fontsize=10)


def legend(ax: Axes, **options: Any) -> None:
    ax.legend(frameon=False, labelcolor=INK, fontsize=9, **options)


def few_label_curve(columns: Mapping[str, Measures | None], names: Mapping[str, str]) -> str:
    """Accuracy against labels per class, with the interval as a band.

    columns: "representation", "raw", ... -> measures;  names: how each is called
    """
    figure, (ax,) = new_figure(7, 4)
    counts: list[int] = []
    for key, measures in columns.items():
        curve = (measures or {}).get("few_label") or {}
        if not curve:
            continue
        counts = [int(k) for k in curve]
        metrics = [curve[k]["accuracy"] for k in curve]
        low, high = [metric.low for metric in metrics], [metric.high for metric in metrics]
        ax.fill_between(counts, low, high, color=COLOURS[key], alpha=0.2, linewidth=0)
        style: dict[str, Any] = {
            "linewidth": 2.4 if key == "representation" else 1.4,
            "markersize": 5,
            "marker": MARKS[key],
        }
        ax.plot(counts, [metric.value for metric in metrics], color=COLOURS[key], label=names[key], **style)
    ax.set_xscale("log")
    ax.set_xticks(counts, [str(k) for k in counts])
    ax.minorticks_off()
    ax.grid(axis="y", color=INK, alpha=0.12)
    label_axes(ax, "labels per class", "accuracy on held-out rows")
    legend(ax, loc="lower right")
    return to_svg(figure, "accuracy against labels per class")


def class_colours(classes: int) -> np.ndarray:
    """[classes 4], distinct as far as eyes allow."""
    import matplotlib

    if classes <= 10:
        return matplotlib.colormaps["tab10"](np.arange(classes))
    if classes <= MOST_NAMED:
        return matplotlib.colormaps["tab20"](np.arange(classes))
    return matplotlib.colormaps["hsv"](np.linspace(0, 0.95, classes))


def projection(points: np.ndarray, labels: np.ndarray, classes: Sequence[str], values: np.ndarray | None = None) -> str:
    """points: [m 2], labels: [m], -1 where unknown;  values: [m], which colour the points in place of labels"""
    figure, (ax,) = new_figure(7, 5)
    if values is None:
        _classes_as_colours(ax, points, labels, classes)
    else:
        shown = ax.scatter(points[:, 0], points[:, 1], s=12, c=values, cmap="viridis", alpha=0.75, linewidth=0)
        figure.colorbar(shown, ax=ax).ax.tick_params(colors=INK, labelsize=9)
    ax.set_xticks([])
    ax.set_yticks([])
    label_axes(ax, "first principal component", "second")
    return to_svg(figure, "test rows on the plane of their two leading principal components")


def _classes_as_colours(ax: Axes, points: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> None:
    palette = class_colours(max(1, len(classes)))
    unknown = labels < 0
    ax.scatter(points[unknown, 0], points[unknown, 1], s=9, color=INK, alpha=0.35, linewidth=0)
    for label in np.unique(labels[~unknown]):
        here = labels == label
        name = drawable(classes[label], LONGEST_CLASS) if len(classes) <= MOST_NAMED else None
        ax.scatter(points[here, 0], points[here, 1], s=12, color=palette[label], alpha=0.75, linewidth=0, label=name)
    if (~unknown).any() and len(classes) <= MOST_NAMED:
        legend(ax, loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=1.8, handletextpad=0.2)


def predicted_against_true(values: np.ndarray) -> str:
    """values: [m 2], true and predicted numbers of test rows"""
    figure, (ax,) = new_figure(5.5, 5)
    ends = [values.min(), values.max()]
    ax.plot(ends, ends, color=INK, alpha=0.5, linewidth=1)
    ax.scatter(values[:, 0], values[:, 1], s=12, color=COLOURS["representation"], alpha=0.6, linewidth=0)
    ax.grid(color=INK, alpha=0.12)
    label_axes(ax, "true", "predicted by ridge regression")
    return to_svg(figure, "predicted against true numbers of test rows")


def confusion_matrix(counts: np.ndarray, classes: Sequence[str]) -> str:
    """Shares of each true class.  counts: [classes classes], rows are the truth"""
    named = len(classes) <= MOST_NAMED
    names = [drawable(name, LONGEST_CLASS) for name in classes]
    side = min(8.0, 2.2 + 0.42 * len(classes)) + LETTER * max(map(len, names), default=0) if named else 6.0
    figure, (ax,) = new_figure(side, side)
    share = counts / counts.sum(1, keepdims=True).clip(1)
    tint = np.zeros((*share.shape, 4))
    tint[..., :3] = np.array([47, 127, 214]) / 255
    tint[..., 3] = share**0.5  # rare confusions stay visible
    ax.imshow(tint, interpolation="nearest", resample=False)
    label_axes(ax, "predicted by the linear probe", "true class")
    ax.spines[:].set_visible(False)
    if not named:
        return to_svg(figure, "confusion matrix")
    turned: dict[str, Any] = {"rotation": 90} if max(map(len, names)) > 3 else {}
    ax.set_xticks(range(len(classes)), names, **turned)
    ax.set_yticks(range(len(classes)), names)
    for truth, said in zip(*np.nonzero(counts), strict=True):
        ax.text(said, truth, str(counts[truth, said]), ha="center", va="center", fontsize=8, color=INK)
    return to_svg(figure, "confusion matrix")


def training_curves(columns: Mapping[str, np.ndarray]) -> str:
    """The loss and its terms against the step.  columns: of metrics.csv, "step" among them"""
    names = sorted((name for name in columns if name not in ("step", "epoch")), key=lambda name: name != "loss")[:4]
    figure, axes = new_figure(3.4 * len(names) + 0.6, 2.8, len(names))
    for ax, name in zip(axes, names, strict=True):
        known = np.isfinite(columns[name])
        ax.plot(columns["step"][known], columns[name][known], color=COLOURS["representation"], linewidth=1.4)
        ax.grid(axis="y", color=INK, alpha=0.12)
        label_axes(ax, "step", name)
    return to_svg(figure, "training curves")


def gallery_png(gallery: Gallery) -> bytes:
    """One row a query: the query, a gap, its neighbours; framed green where the class agrees, red where not."""
    from PIL import Image

    queries, shown = gallery.images.shape[:2]
    frame, gap = 3, 14
    step = TILE + 2 * frame + 4
    sheet = np.zeros((queries * step, shown * step + gap, 4), np.uint8)
    for row in range(queries):
        for column in range(shown):
            tile = _tile(gallery.images[row, column], frame, _frame_colour(gallery.labels[row], column))
            top, left = row * step, column * step + gap * (column > 0)
            sheet[top : top + len(tile), left : left + len(tile)] = tile
    buffer = io.BytesIO()
    Image.fromarray(sheet, "RGBA").save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _frame_colour(labels: np.ndarray, column: int) -> tuple[int, int, int]:
    """labels: [1+k] of one query and its neighbours"""
    if column == 0 or labels[0] < 0 or labels[column] < 0:
        return QUERY
    return RIGHT if labels[column] == labels[0] else WRONG


def _tile(image: np.ndarray, frame: int, colour: tuple[int, int, int]) -> np.ndarray:
    """[c h w] on [0, 1] -> [side side 4] bytes, framed"""
    from PIL import Image

    colours = image[:3] if len(image) >= 3 else image[:1].repeat(3, axis=0)
    pixels = Image.fromarray(np.rint(colours * 255).astype(np.uint8).transpose(1, 2, 0))
    enlarge = Image.Resampling.NEAREST if pixels.width <= TILE // 2 else Image.Resampling.LANCZOS
    tile = np.full((TILE + 2 * frame, TILE + 2 * frame, 4), (*colour, 255), np.uint8)
    tile[frame:-frame, frame:-frame, :3] = np.asarray(pixels.resize((TILE, TILE), enlarge))
    return tile
