"""A progress bar with the time left, on a terminal's stderr and nowhere else."""

from __future__ import annotations

import sys

from tqdm import tqdm


def progress_bar(total: int | None, what: str, show: bool, unit: str = "items") -> tqdm:
    """Use as a context manager and call `update(n)`. Silent where `show` is false or stderr is no terminal."""
    hidden = not (show and sys.stderr.isatty())
    return tqdm(total=total, desc=what, unit=f" {unit}", unit_scale=True, disable=hidden, leave=False, file=sys.stderr)
