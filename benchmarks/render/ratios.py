"""Format the ratios of two checkouts that were measured by turns. Requires only Python.

Each round gives one ratio new / old of every figure. The interval contains the median of the ratios; it lies between
two of the sorted ratios, so it needs no assumption about their distribution. It is the narrowest one that holds with
95 %. With fewer than six rounds there is none, so the range is used, and the table says with which probability it
holds.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any

from benchmarks.harness.figures import FIGURES, Figure
from benchmarks.render.tables import number, table, three

LEVEL = 0.95
LIMIT = 0.03  # a change for the worse of up to 3 % is accepted
HEAD = ["cell", "figure", "old", "new", "new / old", "range", "interval", "holds with", "verdict"]


@dataclass(frozen=True)
class Interval:
    """An interval that contains the median with probability `level`."""

    low: float
    high: float
    level: float


def median_interval(values: list[float], level: float = LEVEL) -> Interval:
    """Find the narrowest interval between two order statistics that contains the median with this probability.

    The k-th lowest and the k-th highest of n values lie on both sides of the median unless fewer than k values lie on
    one side of it, so the probability is 1 - 2 P(B < k), where B is binomial with n and 1/2.

    Returns:
        The interval; the range of the values, with its lower probability, if they are too few.
    """
    n, ordered = len(values), sorted(values)

    def holds(k: int) -> float:
        return 1 - 2 * sum(math.comb(n, i) for i in range(k)) / 2**n

    k = max((k for k in range(1, (n + 1) // 2 + 1) if holds(k) >= level), default=1)
    return Interval(ordered[k - 1], ordered[n - k], max(0.0, holds(k)))


def verdict(ratios: list[float], *, higher: bool) -> str:
    """Compare the interval with the accepted change.

    Args:
        ratios: new / old of each round
        higher: whether a higher figure is better
    """
    if len(ratios) < 2:
        return "one round"
    costs = [1 / ratio if higher else ratio for ratio in ratios]
    found = median_interval(costs)
    if found.low > 1 + LIMIT:
        return "WORSE"
    if found.high < 1 - LIMIT:
        return "better"
    return "no worse" if found.high <= 1 + LIMIT else "undecided"


def pairs_of(records: list[dict[str, Any]], figure: Figure) -> dict[str, list[tuple[float, float]]]:
    """Collect label -> (old, new) of each round; only what both have, and what has a ratio."""
    found: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        old, new = (figure.values_in(record[side]) for side in ("old", "new"))
        for label in old:
            if new.get(label, 0) > 0 and old[label] > 0:
                found.setdefault(label, []).append((old[label], new[label]))
    return found


def row(cell: str, label: str, pairs: list[tuple[float, float]], *, higher: bool) -> list[str]:
    ratios = [new / old for old, new in pairs]
    found = median_interval(ratios)
    old, new = (number(statistics.median(side)) for side in zip(*pairs, strict=True))
    span, interval = (f"[{three(low)}, {three(high)}]" for low, high in ((min(ratios), max(ratios)), astuple(found)))
    measured = [three(statistics.median(ratios)), span, interval, f"{found.level:.0%}"]
    return [cell, label, old, new, *measured, verdict(ratios, higher=higher)]


def astuple(found: Interval) -> tuple[float, float]:
    return found.low, found.high


def one_sided(records: list[dict[str, Any]], figures: tuple[Figure, ...]) -> list[str]:
    """List the labels that only one of the two results has."""
    sides = [
        {label for record in records for figure in figures for label in figure.values_in(record[side])}
        for side in ("old", "new")
    ]
    return sorted(sides[0] ^ sides[1])


def ratios(stored: dict[str, Any], problems: dict[str, str]) -> str:
    """Format one row per cell and figure, and what could not be compared.

    Args:
        stored: the result file
        problems: name of a cell -> why it was not compared
    """
    records: dict[str, list[dict[str, Any]]] = {}
    for record in stored["cells"].values():
        records.setdefault(f"{record['suite']}: {record['arm']}", []).append(record)
    rows, missing = [], [f"{cell}: {why}" for cell, why in problems.items()]
    for cell, found in records.items():
        figures = FIGURES[found[0]["suite"]]
        for figure in figures:
            rows += [row(cell, label, pairs, higher=figure.higher) for label, pairs in pairs_of(found, figure).items()]
        missing += [f"{cell}, {label}: only one checkout has this figure" for label in one_sided(found, figures)]
    return "\n\n".join([title(stored), table(HEAD, rows), legend(rows), *not_compared(missing)])


def title(stored: dict[str, Any]) -> str:
    busy = max((record["busy_before"] for record in stored["cells"].values()), default=0.0)
    return (
        f"**{stored['new']} (new) and {stored['old']} (old) by turns**\n\n{stored['machine']['cpu']}; "
        f"other processes used at most {busy:.0%} of the machine before a pair of measurements."
    )


def legend(rows: list[list[str]]) -> str:
    counted = ", ".join(
        f"{sum(one[-1] == name for one in rows)} {name}"
        for name in ("WORSE", "undecided", "no worse", "better", "one round")
    )
    return (
        f"{counted}. WORSE: the whole interval is more than {LIMIT:.0%} on the worse side; better: more than "
        f"{LIMIT:.0%} on the other; no worse: it ends before {LIMIT:.0%}; undecided: more rounds are needed. "
        "Three rounds give an interval that holds with 75 %, six one with 97 %."
    )


def not_compared(missing: list[str]) -> list[str]:
    return ["Not compared:\n\n" + "\n".join(f"- {line}" for line in missing)] if missing else []
