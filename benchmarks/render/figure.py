"""Plot quality against FLOPs from a stored leaderboard.

    .venv/bin/python -m benchmarks.render.figure

Writes benchmarks/leaderboard-SOURCE-IMAGES.svg.
"""

from __future__ import annotations

import itertools
import json
import statistics
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from benchmarks.harness.folders import RESULTS
from benchmarks.render.board import finals

BASELINES = {"raw": "raw pixels", "pca": "PCA", "untrained": "untrained encoder"}


def draw(stored: dict[str, Any]) -> Figure:
    """A point a method: mean kNN over seeds, a bar from the worst to the best; baselines as lines."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    points = {}
    for method, found in finals(stored).items():
        knn = [one["knn"]["value"] for one in found]
        mean = statistics.mean(knn)
        if method in BASELINES or found[0].get("flops") is None:
            axes.axhline(mean, color="0.6", linewidth=0.8)
            axes.annotate(
                BASELINES.get(method, method), (1, mean), (3, 0), ("axes fraction", "data"), "offset points",
                va="center", fontsize=7,
            )  # fmt: skip
            continue
        points[method] = (found[0]["flops"] / 1e12, mean)
        axes.errorbar(*points[method], [[mean - min(knn)], [max(knn) - mean]], fmt="o", capsize=3)
    axes.set_xlabel("TFLOPs of training")
    axes.set_ylabel("weighted kNN accuracy on test images")
    axes.margins(x=0.12)
    name(figure, axes, points)
    return figure


def name(figure: Figure, axes: Axes, points: dict[str, tuple[float, float]]) -> None:
    """Each point's name beside it, where it covers no other point and no other name."""
    figure.draw_without_rendering()
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in axes.transData.transform(list(points.values()))]
    for method, point in points.items():
        for right, up in itertools.product((6, -6), (0, 7, -7, 14, -14)):
            side = "left" if right > 0 else "right"
            text = axes.annotate(
                method, point, (right, up), textcoords="offset points", ha=side, va="center", fontsize=8
            )
            box = text.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
            text.remove()
        else:
            text = axes.annotate(method, point, (6, 0), textcoords="offset points", va="center", fontsize=8)
        taken.append(text.get_window_extent())


def main() -> None:
    for path in sorted(RESULTS.glob("leaderboard-*.json")):
        stored = json.loads(path.read_text())
        if any(" trial " in name for name in stored["cells"]):  # the others are a few methods beside a board
            draw(stored).savefig(RESULTS.parent / f"{path.stem}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
