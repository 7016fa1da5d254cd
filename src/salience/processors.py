"""How many processor cores there are for this process, and how many of them others leave free. Imports no torch."""

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
    """cores: that other programs leave free, at least 1;  of: those this process may use;  load: average of a minute"""

    cores: int
    of: int
    load: float

    def __str__(self) -> str:
        if self.cores == self.of:
            return counted(self.of, "core")
        return f"{counted(self.of, 'core')}, but the machine is busy (load {self.load:.1f})"


def cores() -> int:
    """Processor cores this process may use: those the system gives it, or fewer where OMP_NUM_THREADS says so."""
    given = min(len(affinity()), _quota())
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(given, int(wanted)) if wanted.isdigit() and int(wanted) > 0 else given


def free_cores() -> Free:
    """Threads wait for each other at every step, so one on a busy core holds up all of them.

    Small networks with two threads were up to 100 times slower on two busy cores than with one.
    """
    given = cores()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    # The load is of the whole machine; a process bound to a part of its cores meets that part of it.
    busy = math.floor(load * given / max(given, machine_cores()))
    return Free(max(1, given - busy), given, load)


def machine_cores() -> int:
    """Processor cores of the machine, whoever may use them."""
    return os.cpu_count() or 1


def cap_threads(threads: int) -> int:
    """As many threads as were asked for, or as the machine has cores where it has fewer, which a Note says."""
    most = machine_cores()
    if threads > most:
        said = f"threads: {threads:,} requested, but the machine has {counted(most, 'core')}; using {most}"
        warnings.warn(said, Note, stacklevel=3)
    return min(threads, most)


def affinity() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _quota() -> int:
    """Cores a container may use by its CPU time (docker --cpus); a huge number without such a limit."""
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
    """While it lasts, this process and those it starts compute with `count` threads.

    By the environment for libraries that are loaded meanwhile; torch and the others that are loaded are told.
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
    if torch is None:  # then NumPy is not worth a look either: both come with a verb's own imports
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
