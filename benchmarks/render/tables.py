"""Format the stored results: medians, ranges, ratios, Markdown tables. Requires only Python."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

Cells = list[dict[str, Any]]


def load(folder: Path, suite: str) -> dict[str, Any] | None:
    path = folder / f"{suite}.json"
    return json.loads(path.read_text()) if path.exists() else None


def values(cells: Cells, name: str) -> list[float]:
    return [cell["result"][name] for cell in cells if cell["result"].get(name) is not None]


def number(value: float) -> str:
    """Format with three significant digits; from 1,000 as a whole number."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def spread(found: list[float], form: Callable[[float], str] = number) -> str:
    if not found:
        return "–"
    middle = form(statistics.median(found))
    return middle if len(found) == 1 else f"{middle} [{form(min(found))}, {form(max(found))}]"


def ratio(mine: list[float], theirs: list[float]) -> str:
    return f"{statistics.median(mine) / statistics.median(theirs):.2f}×" if mine and theirs else "–"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def three(value: float) -> str:
    return f"{value:.3f}"
