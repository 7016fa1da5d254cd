"""Write the stored results into README.md and benchmarks/RESULTS.md, so that no figure there is typed by hand.

    python -m benchmarks.render.readme            # after new results
    python -m benchmarks.render.readme --check    # exit with 1 if a figure differs from the stored results (a test)

A block of the README starts with <!-- figures: NAME --> and ends with <!-- end -->. Requires only Python.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness.folders import RESULTS, ROOT
from benchmarks.render.board import AGAINST, LONGER, OURS_THERE, beside, standings
from benchmarks.render.sections import SECTIONS, collapse, provenance
from benchmarks.render.tables import load, table

DEMO = RESULTS / "demo.json"  # the report.json of `salience demo`
LABELS = ("1", "2", "5", "10")
COLUMNS = {"representation": "SimCLR", "raw": "raw pixels", "pca": "PCA", "untrained": "untrained encoder"}
HEADLINES = ("throughput-convnet", "throughput-fp32", "throughput-resnet18", "throughput-vit", "knn-convnet")


def demo() -> str:
    """Format accuracy and 95 % interval by number of labels."""
    report = json.loads(DEMO.read_text())
    measured = {"representation": report["representation"], **report["baselines"]}
    rows = [[f"{k} per class", *(cell(measured[name]["few_label"][k]["accuracy"]) for name in COLUMNS)] for k in LABELS]
    return table(["labels", *COLUMNS.values()], rows)


def cell(metric: dict[str, Any]) -> str:
    low, high = metric["interval"]
    return f"{metric['value']:.3f} [{low:.3f}, {high:.3f}]"


def sections(names: tuple[str, ...]) -> str:
    found = {suite: stored for suite in names if (stored := load(RESULTS, suite))}
    parts = [SECTIONS[suite][0](stored, SECTIONS[suite][1]) for suite, stored in found.items()]
    return "\n\n".join([*parts, provenance(list(found.values()))])


def doctor() -> str:
    """Return the accuracy of the diagnosis, without the list of its mistakes."""
    summary = json.loads((RESULTS / "doctor.json").read_text())["summary"]
    return f"```\n{summary.partition('wrong verdicts')[0].strip()}\n```"


def without_trials(suite: str, form: Callable[[dict[str, Any], str], str]) -> str:
    """Return the table of a suite without its list of trials."""
    return form(json.loads((RESULTS / f"{suite}.json").read_text()), SECTIONS[suite][1])


BLOCKS = {
    "collapse": lambda: without_trials("collapse", collapse),
    "demo": demo,
    "doctor": doctor,
    "leaderboard": lambda: without_trials(OURS_THERE, standings),
    "lightly": lambda: without_trials(AGAINST, beside),
    "longer": lambda: without_trials(LONGER, standings),
    "speed": lambda: sections(HEADLINES),
}


def filled(text: str) -> str:
    """Fill every block of a text with the stored results."""

    def fill(block: re.Match[str]) -> str:
        return f"<!-- figures: {block[1]} -->\n{BLOCKS[block[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- figures: (\w+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)


def pages() -> dict[Path, str]:
    """Return each page and its expected text."""
    readme = ROOT / "README.md"
    head = "# Results\n\nWritten by `benchmarks/render/readme.py` from `benchmarks/results`."
    results = f"{head}\n\n{sections(tuple(SECTIONS))}\n"
    return {readme: filled(readme.read_text(encoding="utf-8")), ROOT / "benchmarks" / "RESULTS.md": results}


def main() -> int:
    wrong = []
    for path, text in pages().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        wrong.append(path.name)
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    if wrong:
        print(f"{'differs from the stored results' if '--check' in sys.argv else 'written'}: {', '.join(wrong)}")
    return int(bool(wrong) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
