"""Training with several processes on this machine: the first starts the others, each of which resumes the same run.

A run folder says all there is to know of a training, so a helper needs nothing of the program that called `fit`: it is
`salience fit --resume RUN` with a rank. Under torchrun or SLURM the processes are there already: none is started.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist

RANK = "LOCAL_RANK"


def is_helper() -> bool:
    """Whether this is not the first of several training processes."""
    return int(os.environ.get(RANK, "0")) > 0


@contextmanager
def several_processes(run: Path, count: int) -> Iterator[None]:
    """While it lasts, `count` processes train this run; afterwards no trace is left in this one."""
    if count == 1 or RANK in os.environ:
        yield
        return
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(count)}
    before = dict(os.environ)
    command = [sys.executable, "-m", "salience", "fit", "--resume", str(run.resolve())]
    helpers = [
        subprocess.Popen(command, env=before | shared | {RANK: str(rank)}, stdout=subprocess.DEVNULL)
        for rank in range(1, count)
    ]
    os.environ.update(shared | {RANK: "0"})
    try:
        yield
        for helper in helpers:
            helper.wait()
    finally:
        for helper in helpers:
            helper.kill()
            helper.wait()
        if dist.is_initialized():
            dist.destroy_process_group()
        for name in {*shared, RANK, "NODE_RANK"}:
            os.environ.pop(name, None)
        os.environ.update(before)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
