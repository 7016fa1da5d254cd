"""Checks of free disk space and memory before data are stored."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from salience.errors import UserError

REMEDY = "free some space, or set SALIENCE_CACHE to a folder on another disk"


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise UserError if the disk of `folder` has fewer than `needed` free bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"{what} needs {gigabytes(needed)} at {folder}, but only {gigabytes(free)} are free; {REMEDY}")


def require_memory(needed: int, what: str) -> None:
    """Raise UserError if the machine has fewer than `needed` bytes of memory."""
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not available on every system
        return
    if needed > there:
        raise UserError(
            f"{what} needs {gigabytes(needed)} of memory, but this machine has {gigabytes(there)}; "
            "save it as an uncompressed .npy file, which is memory-mapped"
        )


def gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
