"""SIGTERM and SIGHUP end a command as Ctrl-C does: what was begun is tidied up, and the exit code names the signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from salience.errors import WORDS, Stopped

ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def ended_cleanly() -> Iterator[None]:
    """While it lasts, these signals raise Stopped. One that is ignored, as nohup asks, stays so."""
    if threading.current_thread() is not threading.main_thread():  # only there may Python set handlers
        yield
        return
    heeded = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _stop) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def number_of(interrupt: KeyboardInterrupt) -> int:
    return int(interrupt.number if isinstance(interrupt, Stopped) else signal.SIGINT)


def told(interrupt: KeyboardInterrupt) -> str:
    """ "terminated: stopped at step 7; continue with ..." """
    word = WORDS.get(signal.Signals(number_of(interrupt)).name, "stopped")
    return f"{word}: {interrupt}" if str(interrupt) else word


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number=number)
