"""Progress with the remaining time: a bar on a terminal; in logs and pipes, a line every half minute."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

EVERY = 30.0  # seconds between two lines without a terminal
COUNTED = "{desc}: {n_fmt} of {total_fmt}{unit} ({percentage:.0f} %), {remaining} left{postfix}"
UNCOUNTED = "{desc}: {n_fmt}{unit} in {elapsed}{postfix}"
UNKNOWN = "{desc}: {elapsed} so far"  # for work that cannot be counted
Wait = Callable[[float], bool]


def progress_bar(
    total: int | None, what: str, show: bool, unit: str = "items", *, initial: int = 0, scale: bool = True
) -> tqdm:
    """Make a progress bar. Use it as a context manager, or close it, and call `update(n)`.

    Args:
        total: Total number of units; None if unknown.
        what: Description of the work.
        show: Whether to print anything.
        unit: Name of the units; "" for work that cannot be counted.
        initial: Number of units done before.
        scale: Whether to format numbers as 1.2M.
    """
    if not show:
        return tqdm(disable=True)
    known: dict[str, Any] = {
        "desc": what,
        "total": total,
        "unit": f" {unit}",
        "unit_scale": scale,
        "initial": initial,
        "leave": False,
    }
    if sys.stderr.isatty():
        plain: dict[str, Any] = {} if unit else {"bar_format": UNKNOWN}
        return tqdm(None, file=sys.stderr, mininterval=0.5, **known, **plain)
    return LineProgress(**known)


class LineProgress(tqdm):
    """Progress printed as lines by a thread, which also shows work that hangs or cannot be counted."""

    def __init__(self, *, wait: Wait | None = None, **known: Any):
        form = UNKNOWN if known["unit"] == " " else UNCOUNTED if known["total"] is None else COUNTED
        self.ended = threading.Event()
        # An update only stores the count and the time; the thread prints the lines.
        never: dict[str, Any] = {"mininterval": float("inf"), "delay": float("inf"), "miniters": 1}
        super().__init__(None, file=Lines(sys.stderr), bar_format=form, **never, **known)
        self._thread = threading.Thread(target=self._tell, args=(wait or self.ended.wait,), daemon=True)
        self._thread.start()

    def set_description(self, desc: str | None = None, refresh: bool | None = True) -> None:
        """Set the description without the colon that tqdm adds; the next line shows it."""
        self.desc = desc or ""

    def _tell(self, wait: Wait) -> None:
        while not wait(EVERY):
            self.refresh()

    def close(self) -> None:
        self.ended.set()
        thread = getattr(self, "_thread", None)
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        super().close()


class Lines:
    """A file that converts the output of tqdm for redrawing a bar to separate lines."""

    def __init__(self, out: TextIO):
        self.out = out

    def write(self, text: str) -> None:
        line = text.strip("\r\n\x1b[A ")
        if line:
            self.out.write(f"{line}\n")

    def flush(self) -> None:
        self.out.flush()
