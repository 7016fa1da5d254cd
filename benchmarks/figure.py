"""Draws quality against FLOPs from a stored leaderboard: benchmarks/leaderboard-SOURCE-IMAGES.svg.

.venv/bin/python benchmarks/figure.py
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from render_board import finals
from tables import RESULTS

HERE = Path(__file__).resolve().parent
BASELINES = {"raw": "raw pixels", "pca": "PCA", "untrained": "untrained encoder"}


def draw(stored: dict[str, Any]) -> Figure:
    """A point a method: mean kNN over seeds, a bar from the worst to the best; baselines as lines."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for method, found in finals(stored).items():
        knn = [one["knn"]["value"] for one in found]
        mean = statistics.mean(knn)
        if method in BASELINES or found[0].get("flops") is None:
            axes.axhline(mean, color="0.6", linewidth=0.8)
            axes.annotate(BASELINES.get(method, method), (1, mean), xycoords=("axes fraction", "data"), fontsize=7)
            continue
        work = found[0]["flops"] / 1e12
        axes.errorbar(work, mean, [[mean - min(knn)], [max(knn) - mean]], fmt="o", capsize=3)
        axes.annotate(method, (work, mean), xytext=(6, 4), textcoords="offset points", fontsize=8)
    axes.set_xlabel("TFLOPs of training")
    axes.set_ylabel("weighted kNN accuracy on test images")
    return figure


def main() -> None:
    for path in sorted(RESULTS.glob("leaderboard-*.json")):
        figure = draw(json.loads(path.read_text()))
        figure.savefig(HERE / f"{path.stem}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
