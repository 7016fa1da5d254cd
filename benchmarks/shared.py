"""Shared parts of both environments of the benchmarks: CIFAR-10, the step clock, the kNN metric, JSON output.

This module imports only numpy, torch and pyarrow, and not salience, because the peers' environment uses it too.
"""

from __future__ import annotations

import importlib.metadata
import io
import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

SUMMARY = "summary"


class Enough(BaseException):
    """Raised inside a training step when as many steps as asked for were timed. No `except Exception` stops it."""


def emit(kind: str, **values: Any) -> None:
    """One JSON line on stdout. The last line of every script has kind "summary"."""
    print(json.dumps({"kind": kind, **values}), flush=True)


def versions(*packages: str) -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in packages}


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


def cifar10(folder: Path, split: str, cache: Path = Path(".bench")) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10 decoded into memory, as torchvision's class holds it.  -> uint8 [n 32 32 3], int64 [n]"""
    prepared = cache / f"cifar10-{split}.npz"
    if not prepared.exists():
        prepared.parent.mkdir(parents=True, exist_ok=True)
        images, labels = _decode(folder / f"cifar10-{split}.parquet")
        np.savez(prepared, images=images, labels=labels)
    with np.load(prepared) as arrays:
        return arrays["images"], arrays["labels"]


def _decode(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import pyarrow.parquet as pq
    from PIL import Image

    table = pq.read_table(path)
    images = [np.asarray(Image.open(io.BytesIO(item["bytes"])).convert("RGB")) for item in table["image"].to_pylist()]
    return np.stack(images), np.asarray(table["label"], dtype=np.int64)


def weighted_knn(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, labels: Tensor, *, k: int = 20, temperature: float = 0.1
) -> float:
    """Accuracy of the weighted cosine kNN classifier: a neighbour votes with exp(similarity / temperature).

    bank: [m d], bank_labels: [m], queries: [n d], labels: [n]
    """
    bank, queries = (torch.nn.functional.normalize(x.float(), dim=1) for x in (bank, queries))
    classes, right = int(bank_labels.max()) + 1, 0
    for chunk, truth in zip(queries.split(1000), labels.split(1000), strict=True):
        similarity, neighbour = (chunk @ bank.T).topk(min(k, len(bank)), dim=1)  # [c k]
        votes = torch.zeros(len(chunk), classes)
        votes.scatter_add_(1, bank_labels[neighbour], (similarity / temperature).exp())
        right += int((votes.argmax(1) == truth).sum())
    return right / len(queries)


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
