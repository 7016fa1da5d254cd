"""The folders of the benchmarks: the checkout, the stored results, and what git does not keep."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
SCRATCH = ROOT / ".bench"
