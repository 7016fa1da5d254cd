"""The command line: `make fuzz`. Exit code 1 where any mutant is neither read nor refused in one line."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from tests.fuzz.formats import FORMATS
from tests.fuzz.runner import Child, Result, fuzz, table

SHOWN = 6


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS), metavar="FORMAT")
    parser.add_argument("--mutants", type=int, default=2000, help="mutants of each format")
    parser.add_argument("--seconds", type=float, default=600.0, help="time limit for each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="folder for the mutants that fail")
    chosen = parser.parse_args()
    results: dict[str, Result] = {}
    with Child() as child:
        for name in chosen.formats:
            results[name] = fuzz(
                name, child, mutants=chosen.mutants, seed=chosen.seed, seconds=chosen.seconds, keep=chosen.keep
            )
            print(table({name: results[name]}).splitlines()[1], flush=True)
            for what, count in Counter(_last_line(text) for _, _, text in results[name].details).most_common(SHOWN):
                print(f"    {count} x {what[:200]}", flush=True)
    print(f"\n{table(results)}")
    failures = sum(result.failures for result in results.values())
    print(f"{failures:,} of {sum(r.counts.total() for r in results.values()):,} mutants failed", end="")
    print(f"; they lie in {chosen.keep}" if failures else "")
    return 1 if failures else 0


def _last_line(detail: str) -> str:
    """Of a traceback, the error and where in our code it was raised."""
    lines = detail.strip().splitlines() or [""]
    ours = [line.strip() for line in lines if "/salience/" in line and line.strip().startswith("File")]
    return f"{lines[-1]}  [{ours[-1].partition('salience/')[2] if ours else ''}]"


if __name__ == "__main__":
    sys.exit(main())
