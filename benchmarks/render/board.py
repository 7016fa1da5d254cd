"""Tables of the leaderboard, and of the comparison with lightly. Requires only Python."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.harness.folders import RESULTS
from benchmarks.render.tables import load, spread, table, three

AGAINST = "against-lightly"
OURS_THERE = "leaderboard-cifar10-100000"  # the suite whose cells are paired with those of AGAINST
LONGER = "leaderboard-fashion-mnist-400000"
SEEDS = 3  # number of seeds of a complete method
T_95 = {2: 6.314, 3: 2.920, 4: 2.353, 5: 2.132}  # number of pairs -> Student's t, one-sided 95 %


def leaderboard(stored: dict[str, Any], title: str) -> str:
    """Format the ranking, the reconstruction metrics, and every trial."""
    return "\n\n".join([standings(stored, title), *rebuilding(finals(stored)), trials(stored)])


def finals(stored: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return method -> results by seed, with the processor if it is not the file's machine."""
    seeds: dict[str, list[dict[str, Any]]] = {}
    for name, cell in stored["cells"].items():
        if " seed " in name:
            elsewhere = {"elsewhere": cell["machine"]["cpu"]} if "machine" in cell else {}
            seeds.setdefault(name.split()[0], []).append(cell["result"] | elsewhere)
    return seeds


def standings(stored: dict[str, Any], title: str) -> str:
    """Format one row per method, sorted by kNN; the brackets show the range over seeds.

    Marks methods with missing seeds, and times from another machine.
    """
    seeds, rows = finals(stored), []
    others: set[str] = set()
    for method, found in sorted(seeds.items(), key=lambda pair: -mean_of(pair[1], "knn")):
        few = [[one["few_label"][count]["value"] for one in found] for count in ("1", "10")]
        quality = [spread([one[name]["value"] for one in found], three) for name in ("knn", "linear")]
        flops = next((f"{one['flops'] / 1e12:.1f}" for one in found if one.get("flops")), "–")
        timed = [one for one in found if one.get("seconds")]
        here = [one for one in timed if "elsewhere" not in one]
        seconds = [one["seconds"] for one in here or timed]  # from one machine only
        mark = "" if here or not timed else " †"
        others |= {named_machine(one) for one in timed if mark}
        rank = spread([one["effective_rank"]["value"] for one in found])
        named = f"{method} ({len(found)} seeds)" if 1 < len(found) < SEEDS else method
        rows.append([named, *quality, *(spread(one, three) for one in few), rank, flops, spread(seconds) + mark])
    head = ["", "kNN", "linear", "1 label", "10 labels", "rank", "TFLOPs", "s, one core"]
    note = f"\n\n† on {', '.join(sorted(others))}; the other times on {stored['machine']['cpu']}." if others else ""
    return f"**{title}**\n\n{table(head, rows)}{note}"


def named_machine(one: dict[str, Any]) -> str:
    """Name the processor, and whether training used fp32 there."""
    return one["elsewhere"] + (", in fp32" if one["config"].get("precision") == "32-true" else "")


def rebuilding(seeds: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Format error, bound and active dimensions of reconstruction methods, sorted by error."""
    able = {method: found for method, found in seeds.items() if "mse" in found[0]}
    rows = []
    for method, found in sorted(able.items(), key=lambda pair: statistics.mean(one["mse"] for one in pair[1])):
        bounds = [one["bound"]["value"] for one in found if "bound" in one]
        active = [one["active_units"] for one in found if "active_units" in one]
        rows.append(
            [method, spread([one["mse"] for one in found], lambda v: f"{v:.5f}"), spread(bounds), spread(active)]
        )
    head = ["", "mean squared error per value", "bound on log p(x), nats", "active dimensions"]
    return [table(head, rows)] if rows else []


def mean_of(found: list[dict[str, Any]], name: str) -> float:
    return statistics.mean(one[name]["value"] for one in found)


def trials(stored: dict[str, Any]) -> str:
    """Format the six trials of each method: kNN on held-out rows at half the budget."""
    rows: dict[str, list[str]] = {}
    for name, cell in stored["cells"].items():
        if " trial " in name:
            words = cell["command"].split()
            knob = next((words[i + 1] for i, word in enumerate(words) if word in ("--option", "--views")), "")
            rate = words[words.index("--learning-rate") + 1]
            shown = "diverged" if cell["result"]["diverged"] else three(cell["result"]["knn"])
            rows.setdefault(name.split()[0], []).append(f"{rate}, {knob}: {shown}")
    listed = [[method, "; ".join(found)] for method, found in rows.items()]
    return "Trials: learning rate, hyperparameter: kNN\n\n" + table(["", "trials"], listed)


def lightly(stored: dict[str, Any], title: str) -> str:
    """Format the comparison and lightly's trials; Salience's are in the leaderboard."""
    ours = "Salience's trials are those of the leaderboard."
    return f"{beside(stored, title)}\n\n{ours} lightly's trials:\n\n{trials(stored)}"


def beside(stored: dict[str, Any], title: str) -> str:
    """Format one row per method: kNN of both, and Salience minus lightly, paired by seed, in percentage points."""
    ours, rows = load(RESULTS, OURS_THERE), []
    for method, theirs in knn_by_seed(stored).items():
        mine = knn_by_seed(ours)[method] if ours else {}
        gains = [100 * (mine[seed] - theirs[seed]) for seed in sorted(mine.keys() & theirs.keys())]
        if len(gains) > 1:
            mean = statistics.mean(gains)
            bound = mean - T_95[len(gains)] * statistics.stdev(gains) / len(gains) ** 0.5
            both = [spread([side[seed] for seed in theirs if seed in side], three) for side in (mine, theirs)]
            rows.append([method, *both, f"{mean:+.1f}", f"{bound:+.1f}", str(len(gains))])
    head = [
        "",
        "kNN of Salience",
        "kNN of lightly",
        "difference, points",
        "lower 95 % bound, one-sided",
        "paired seeds",
    ]
    return f"**{title}**\n\n{table(head, rows)}"


def knn_by_seed(stored: dict[str, Any]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for name, cell in stored["cells"].items():
        method, kind, number = name.split()
        if kind == "seed" and (accuracy := cell["result"].get("knn")) is not None:
            value = accuracy["value"] if isinstance(accuracy, dict) else accuracy
            found.setdefault(method, {})[int(number)] = value
    return found
