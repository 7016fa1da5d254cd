"""Number of processor cores that this process may use, and that are not busy. This module does not import torch."""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from salience.errors import Note
from salience.units import counted

CGROUPS = Path("/sys/fs/cgroup")
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # read by libraries when they are loaded


@dataclass(frozen=True)
class Free:
    """Free cores.

    Attributes:
        cores: Number of cores that other programs do not use, at least 1.
        of: Number of cores that this process may use.
        load: Load average of one minute.
    """

    cores: int
    of: int
    load: float

    def __str__(self) -> str:
        if self.cores == self.of:
            return counted(self.of, "core")
        return f"{counted(self.of, 'core')}, but the machine is busy (load {self.load:.1f})"


def cores() -> int:
    """Return the number of cores that this process may use, limited by OMP_NUM_THREADS."""
    given = min(len(affinity()), _quota())
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(given, int(wanted)) if wanted.isdigit() and int(wanted) > 0 else given


def free_cores() -> Free:
    """Return the number of cores that are not busy.

    Threads wait for each other at every step, so one thread on a busy core delays all. Small networks with two threads
    were up to 100 times slower on two busy cores than with one thread.
    """
    given = cores()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    # The load refers to the whole machine; a process bound to a part of the cores gets the same part of the load.
    busy = math.floor(load * given / max(given, machine_cores()))
    return Free(max(1, given - busy), given, load)


def machine_cores() -> int:
    """Return the number of cores of the machine."""
    return os.cpu_count() or 1


def cap_threads(threads: int) -> int:
    """Limit a number of threads to the number of cores of the machine, with a Note."""
    most = machine_cores()
    if threads > most:
        said = f"threads: {threads:,} requested, but the machine has {counted(most, 'core')}; using {most}"
        warnings.warn(said, Note, stacklevel=3)
    return min(threads, most)


def affinity() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _quota() -> int:
    """Return the number of cores that the CPU quota of a container allows (docker --cpus); 2^30 without a quota."""
    with suppress(OSError, ValueError):
        most, period = (CGROUPS / "cpu.max").read_text().split()
        return math.ceil(int(most) / int(period))
    with suppress(OSError, ValueError, ZeroDivisionError):
        most, period = ((CGROUPS / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if int(most) > 0:
            return math.ceil(int(most) / int(period))
    return 1 << 30


@contextmanager
def limited(count: int) -> Iterator[None]:
    """Limit this process and its child processes to `count` threads within the context.

    Environment variables limit libraries that are loaded within the context; loaded libraries are limited directly.
    """
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(dict.fromkeys(VARIABLES, str(count)))
    try:
        with _limited_where_loaded(count):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _limited_where_loaded(count: int) -> Iterator[None]:
    torch = sys.modules.get("torch")
    if torch is None:  # then NumPy is not loaded either, or not in use
        yield
        return
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(threads)
