"""Run one cell in a process of its own and make the record of it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.harness.cell import Cell
from benchmarks.harness.folders import ROOT
from benchmarks.harness.machine import busy_share, commit
from benchmarks.harness.stored import plain_path, rounded

SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
BUSY = 0.1


def clean_environment() -> dict[str, str]:
    """Return the environment of a cell: this one's, without the variables that slow a peer or us."""
    return {key: value for key, value in os.environ.items() if key not in SLOWING}


def summary_of(output: str) -> dict[str, Any] | None:
    """Return the last JSON line that a cell printed; None if it is no summary."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return lines[-1] if lines and lines[-1].get("kind", "summary") == "summary" else None


def result_of(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a summary, without its kind and versions."""
    return rounded({key: value for key, value in summary.items() if key not in ("kind", "versions")})


def others_share() -> float:
    """Measure the share of the processor that others use, and warn if it is high."""
    busy = busy_share()
    if busy > BUSY:
        print(f"  the machine is busy: others use {busy:.0%} of it", file=sys.stderr)
    return busy


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def run(cell: Cell, data: Path | None) -> dict[str, Any] | None:
    """Run a cell.

    Returns:
        Its record; None if it failed.
    """
    busy = others_share()
    finished = subprocess.run(cell.command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, text=True)
    summary = None if finished.returncode else summary_of(finished.stdout)
    if summary is None:
        print(f"  failed with exit code {finished.returncode}: {shlex.join(cell.command)}", file=sys.stderr)
        return None
    return {
        "arm": cell.arm,
        "round": cell.round,
        "result": result_of(summary),
        "versions": summary.get("versions", {}),
        "commit": commit(ROOT),
        "date": now(),
        "busy_before": busy,
        "command": shlex.join(plain_path(word, data) for word in cell.command),
    }
