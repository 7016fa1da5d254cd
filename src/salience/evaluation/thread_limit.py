"""Small problems on one thread: waiting for a second one, on a busy machine, can cost ten times the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from salience.processors import limited

SMALL = 1 << 20  # values of all training rows


@contextmanager
def threads_for(values: int) -> Iterator[None]:
    """One thread while `values` are few; else as many as there are."""
    with nullcontext() if values > SMALL else limited(1):
        yield
