"""Name the figures in the result of each suite that say what our own code costs, and which way is better.

Suites that are not listed here measure accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One figure of a result, or several of one kind.

    Args:
        path: the keys that lead to it in the result; "*" stands for every key
        label: its name in a table; "{}" stands for what "*" stood for
        higher: whether a higher value is better
    """

    path: tuple[str, ...]
    label: str
    higher: bool = False

    def values_in(self, result: dict[str, Any]) -> dict[str, float]:
        """Find the figure in a result.

        Returns:
            Label -> value. Empty if the result does not have it.
        """
        found = {self.label.format(*keys): value for keys, value in walk(result, self.path)}
        return {label: float(value) for label, value in found.items() if isinstance(value, int | float)}


def walk(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Follow a path.

    Yields:
        The keys that "*" stood for, and the value at the end.
    """
    if not path:
        yield (), value
    elif isinstance(value, dict):
        for key in value if path[0] == "*" else {path[0]} & value.keys():
            for keys, end in walk(value[key], path[1:]):
                yield ((key, *keys) if path[0] == "*" else keys), end


IMAGES = (Figure(("images_per_second",), "images/s", higher=True),)
ROWS = (Figure(("rows_per_second",), "rows/s", higher=True),)
SECONDS = (Figure(("seconds",), "s"),)
FIGURES: dict[str, tuple[Figure, ...]] = {
    "throughput-convnet": IMAGES,
    "throughput-fp32": IMAGES,
    "throughput-resnet18": IMAGES,
    "throughput-vit": IMAGES,
    "methods-convnet": IMAGES,
    "breakdown-convnet": (Figure(("step_seconds", "*"), "s per step, {}"),),
    "pca": SECONDS,
    "kmeans": SECONDS,
    "startup": (
        Figure(("seconds", "*"), "s, {}"),
        Figure(("first_step", "*", "imports"), "s of imports for fit, {}"),
        Figure(("first_step", "*", "first_step"), "s from imports to first step, {}"),
    ),
    "startup-verbs": (
        Figure(("seconds", "ours", "*", "wall"), "s, {}"),
        Figure(("seconds", "ours", "*", "cpu"), "CPU s, {}"),
    ),
    "memory": (Figure(("anonymous_bytes", "*"), "bytes, {}"),),
    "store": (
        Figure(("search", "index_ms"), "ms, search with the index"),
        Figure(("search", "exact_ms"), "ms, exact search"),
        Figure(("build", "seconds"), "s, building the index"),
        Figure(("build", "index_bytes"), "bytes of the index"),
        Figure(("anonymous_bytes", "*", "peak"), "bytes, peak at {} rows"),
    ),
    "explorer": (
        Figure(("requests_per_second",), "requests/s", higher=True),
        Figure(("p50_ms",), "ms, median request"),
        Figure(("p99_ms",), "ms, 99th percentile"),
        Figure(("draw_ms",), "ms, drawing the map"),
        Figure(("open_ms",), "ms, opening the page"),
        Figure(("moving", "frame_ms"), "ms per frame while dragging"),
    ),
    "vae-dense": IMAGES,
    "vae-conv": IMAGES,
    "vae-conv-fp32": IMAGES,
    "vae-large": IMAGES,
    "boltzmann-256": ROWS,
    "boltzmann-10": ROWS,
    "linear-probe": (Figure(("features", "*", "probe", "seconds"), "s, {} features"),),
}
