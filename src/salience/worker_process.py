"""A process of our own that reads untrusted files: a crash ends it, and not the program that asked."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


def start_worker(script: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start a script as a process with pipes, without site packages of its own.

    Args:
        script: The script.
        environment: Further variables of its environment.
    """
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen(
        [sys.executable, "-P", "-S", str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": path} | environment,
    )


def end_all_workers(processes: list[subprocess.Popen[bytes]]) -> None:
    """End all of these processes, and empty the list."""
    while processes:
        end_worker(processes.pop())


def end_worker(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and close its pipes."""
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            if pipe is not None:
                pipe.close()
    process.wait()
