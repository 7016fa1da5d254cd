"""Training with several processes on this machine: the first starts the others, each of which resumes the same run.

A run folder says all there is to know of a training, so a helper needs nothing of the program that called `fit`: it is
`salience fit --resume RUN` with a rank. Under torchrun the processes are there already, and none is started.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from salience.errors import UserError

RANK = "LOCAL_RANK"
OURS = "SALIENCE_HELPER"  # set in the processes that were started here
TORN = ("Connection reset by peer", "Connection closed by peer", "remote process exited")
PATIENCE = 60.0  # seconds a helper has to end when the training has


def is_helper() -> bool:
    """Whether this is not the first of several training processes."""
    return int(os.environ.get(RANK, "0")) > 0


def was_started_here() -> bool:
    """Whether this process was started for a training alone, and ends with it."""
    return OURS in os.environ


@contextmanager
def several_processes(run: Path, count: int) -> Iterator[None]:
    """While it lasts, `count` processes train this run; afterwards no trace is left in this one."""
    if count == 1:
        yield
        return
    if RANK in os.environ:
        with losing_others(run):
            yield
        return
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(count)}
    before = dict(os.environ)
    command = [sys.executable, "-m", "salience", "fit", "--resume", str(run.resolve())]
    helpers = [
        subprocess.Popen(command, env=before | shared | {OURS: "1", RANK: str(rank)}, stdout=subprocess.DEVNULL)
        for rank in range(1, count)
    ]
    os.environ.update(shared | {RANK: "0"})
    try:
        with losing_others(run):
            yield
        for helper in helpers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                helper.wait(PATIENCE)
    finally:
        import torch.distributed as dist  # here: whether this process is a helper is asked before torch is loaded

        for helper in helpers:
            helper.kill()
            helper.wait()
        if dist.is_initialized():
            dist.destroy_process_group()
        for name in {*shared, RANK, "NODE_RANK", "OMP_NUM_THREADS"}:  # the last two are Lightning's
            os.environ.pop(name, None)
        os.environ.update(before)


@contextmanager
def losing_others(run: Path) -> Iterator[None]:
    """A process that was killed tears its connections: the others say so in a line, and what is kept goes on."""
    try:
        yield
    except RuntimeError as problem:
        if not any(sign in str(problem) for sign in TORN):
            raise
        raise UserError(
            f"devices: another process of this training has ended; resume with: salience fit --resume {run}"
        ) from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
