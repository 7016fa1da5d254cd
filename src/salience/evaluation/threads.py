"""Small problems on one thread: waiting for a second one, on a busy machine, can cost ten times the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 1 << 20  # values of all training rows


@contextmanager
def threads_for(values: int) -> Iterator[None]:
    """One thread while `values` are few; else as many as there are."""
    from threadpoolctl import threadpool_limits

    if values > SMALL:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
