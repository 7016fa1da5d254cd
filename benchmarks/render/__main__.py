"""Print the stored results as Markdown tables, for the README.

    python -m benchmarks.render [FOLDER]

Figures are medians over rounds; the brackets show the lowest and the highest round. Requires only Python.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.harness.folders import RESULTS
from benchmarks.render.sections import SECTIONS, provenance
from benchmarks.render.tables import load


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    found = {suite: stored for suite in SECTIONS if (stored := load(folder, suite))}
    if not found:
        raise SystemExit(f"no results in {folder}; run python -m benchmarks")
    sections = [section(found[suite], title) for suite, (section, title) in SECTIONS.items() if suite in found]
    print("\n\n".join([*sections, provenance(list(found.values()))]))


if __name__ == "__main__":
    main()
