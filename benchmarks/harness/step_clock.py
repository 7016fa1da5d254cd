"""Time the steps of training, and single calls, in the same way in both environments of the benchmarks.

Imports no salience, because the peers' environment uses it too.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook


class Enough(BaseException):
    """Raised inside a training step when as many steps as asked for were timed. No `except Exception` stops it."""


class StepClock:
    """When each optimiser step began and ended, through torch's hooks on every optimiser: one observer for all arms.

    stop_after: raise `Enough` at the end of this step; None times to the end of training
    """

    def __init__(self, stop_after: int | None = None) -> None:
        self.begun: list[float] = []
        self.ended: list[float] = []
        self.marks: list[int] = [0]
        self.stop_after = stop_after
        self.paused = False
        self._handles = [
            register_optimizer_step_pre_hook(lambda *_: self._begin()),
            register_optimizer_step_post_hook(lambda *_: self._end()),
        ]

    def _begin(self) -> None:
        if not self.paused:
            self.begun.append(time.perf_counter())

    def _end(self) -> None:
        if self.paused:
            return
        self.ended.append(time.perf_counter())
        self.after_step(len(self.ended))
        if self.stop_after is not None and len(self.ended) >= self.stop_after:
            raise Enough

    def after_step(self, steps: int) -> None:
        """For a subclass that does something between steps; call `mark` with it."""

    def mark(self) -> None:
        """Something that is not training happens now (an evaluation): no window reaches across it."""
        self.marks.append(len(self.ended))

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    def windows(self, skip: int, window: int) -> list[float]:
        """Seconds a step, mean of every `window` steps between two marks; the first `skip` (compilation) left out."""
        bounds = [*self.marks, len(self.ended)]
        starts = [
            i for start, stop in itertools.pairwise(bounds) for i in range(max(start, skip), stop - window, window)
        ]
        return [(self.ended[i + window] - self.ended[i]) / window for i in starts]

    def throughput(self, batch_size: int, *, skip: int, window: int) -> list[float]:
        """Images/s of every window, end to end."""
        return [batch_size / seconds for seconds in self.windows(skip, window)]


def bf16_matmul_peak(sizes: tuple[int, ...] = (1024, 2048, 4096), repeats: int = 7) -> float:
    """The machine's best bf16 matrix product now, in FLOP/s: over sizes, the best of the medians."""

    def rate(n: int) -> float:
        a, b = (torch.randn(n, n, dtype=torch.bfloat16) for _ in range(2))
        return 2 * n**3 / median_seconds(lambda: a @ b, repeats)

    return max(rate(n) for n in sizes)


def median_seconds(work: Callable[[], Any], repeats: int, *, warm_up: int = 2) -> float:
    """Median seconds of a call, after `warm_up` calls that are not counted."""
    for _ in range(warm_up):
        work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
