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


def run(cell: Cell, data: Path | None) -> dict[str, Any] | None:
    """One process.  -> its record, None where it failed"""
    environment = {key: value for key, value in os.environ.items() if key not in SLOWING}
    busy = busy_share()
    if busy > BUSY:
        print(f"  the machine is busy: others use {busy:.0%} of it", file=sys.stderr)
    finished = subprocess.run(cell.command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    lines = [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("{")]
    if finished.returncode or not lines or lines[-1].get("kind", "summary") != "summary":
        print(f"  failed with exit code {finished.returncode}: {shlex.join(cell.command)}", file=sys.stderr)
        return None
    result = {key: value for key, value in lines[-1].items() if key not in ("kind", "versions")}
    return {
        "arm": cell.arm,
        "round": cell.round,
        "result": rounded(result),
        "versions": lines[-1].get("versions", {}),
        "commit": commit(ROOT),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "busy_before": busy,
        "command": shlex.join(plain_path(word, data) for word in cell.command),
    }
