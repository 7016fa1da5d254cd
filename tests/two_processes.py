"""Runs a function in two gloo processes, each with its own half of the data, and gives back what each returned."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def two_processes(work: Callable[[int], Any], *, start: str = "spawn") -> list[Any]:
    """`work(rank)` must be a module-level function; its result is saved with torch.save.

    start: "fork" imports nothing anew and is many times as quick, for a few operations on small tensors
    """
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(_worker, (work, folder), nprocs=2, start_method=start)
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _worker(rank: int, work: Callable[[int], Any], folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(work(rank), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()
