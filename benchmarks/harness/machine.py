"""Describe the machine of a result: processor, memory, system, commit, and the load just before."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

TELLING_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16")


def machine() -> dict[str, Any]:
    cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in cpu.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    present = fields.get("flags", "").split()
    return {
        "cpu": f"{fields.get('model name', platform.processor())} (family {fields.get('cpu family', '?')})",
        "cores": os.cpu_count(),
        "flags": [flag for flag in TELLING_FLAGS if flag in present],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


CODE = ("src", "benchmarks/*.py")  # what a figure depends on; results and documents may change


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True).stdout.strip()


def commit(folder: Path) -> str:
    """The commit the code stands at; a + says that there were uncommitted changes in src or benchmarks."""
    changed = git(folder, "status", "--porcelain", "--untracked-files=no", "--", *CODE)
    return (git(folder, "rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")


def code_version(folder: Path) -> str:
    """Return the last commit that changed the code, with a digest of the uncommitted changes if there are any."""
    changes = git(folder, "diff", "HEAD", "--", *CODE)
    digest = f"+{hashlib.sha256(changes.encode()).hexdigest()[:8]}" if changes else ""
    return git(folder, "log", "-1", "--format=%h", "--", *CODE) + digest


def busy_share(seconds: float = 1.0) -> float:
    """Share of all cores' time that others used in the next `seconds`: near 0 on a quiet machine. NaN off Linux."""
    if not Path("/proc/stat").exists():
        return float("nan")

    def read() -> tuple[int, int]:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(ticks), ticks[3] + ticks[4]

    total, idle = read()
    time.sleep(seconds)
    later_total, later_idle = read()
    return round(1 - (later_idle - idle) / max(1, later_total - total), 3)
