"""Decoding of recordings in separate processes (`worker`), which a damaged file can crash or stop."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from salience.errors import MissingPackage
from salience.worker_process import end_all_workers, end_worker, start_worker

if TYPE_CHECKING:
    from salience.modalities.image.headers import Blob

WORKER = Path(__file__).with_name("worker.py")
LEAST_MEMORY = 2 << 30  # bytes; a worker may use this much, or an eighth of the machine's memory if that is more
PATIENCE = 300.0  # seconds for one recording
LONGEST = 1 << 31  # samples of one recording: 4 GB of memory


class UnreadableError(Exception):
    """A recording cannot be read. The message is the reason shown to the user."""


@dataclass(frozen=True)
class Header:
    """The header of a recording: samples per second, number of channels, and number of samples of each."""

    rate: int
    channels: int
    frames: int


class Reader:
    """Reader of recordings. A worker process is started with a request and kept for the next one.

    The processes end with this object and with the parent process. Threads may share a reader; each request then has a
    process of its own.
    """

    def __init__(self) -> None:
        require_packages()
        self._idle: list[subprocess.Popen[bytes]] = []
        weakref.finalize(self, end_all_workers, self._idle)

    def header(self, blob: Blob) -> Header:
        """Return the header of a recording. Raises UnreadableError if there is none."""
        with self._asked(blob, None, "mix") as process:
            answer = _line(process)
        found = Header(answer["rate"], answer["channels"], answer["frames"])
        if found.rate < 1 or found.channels < 1:
            raise UnreadableError("its header is damaged")
        return found

    def samples(self, blob: Blob, rate: int, channel: str) -> tuple[np.ndarray, frozenset[str]]:
        """Decode a recording.

        Args:
            blob: The path or the bytes of a file.
            rate: Samples per second of the result.
            channel: "mix" for the mean of all channels, "left", "right", or a number from 1.

        Returns:
            [t] int16, and flags: "early" (the file ends before its header says), "length" (the header has a wrong
            length), "cancelled" (the channels cancel each other), "clipped", "silent".

        Raises:
            UnreadableError: The file is damaged, empty, or of another kind.
        """
        with self._asked(blob, rate, channel) as process:
            parts = list(_blocks(process))
            answer = _line(process)
        if not parts:
            raise UnreadableError("it has no samples")
        return np.concatenate(parts), frozenset(answer["flags"])

    @contextmanager
    def _asked(self, blob: Blob, rate: int | None, channel: str) -> Iterator[subprocess.Popen[bytes]]:
        """Send a request. A process that does not answer in time is killed."""
        if not isinstance(blob, str | bytes):
            raise UnreadableError("there is no recording" if blob is None else blob.reason)
        process = self._idle.pop() if self._idle else _start()
        timer = threading.Timer(PATIENCE, process.kill)
        timer.daemon = True
        timer.start()
        whole = False
        try:
            _ask(process, blob, rate, channel)
            yield process
            whole = True
        except UnreadableError:
            whole = process.poll() is None
            raise
        finally:
            timer.cancel()
            if whole:
                self._idle.append(process)
            else:
                end_worker(process)


def require_packages() -> None:
    """Raise MissingPackage if a package for recordings is not installed."""
    for name in ("soundfile", "soxr"):
        if importlib.util.find_spec(name) is None:
            raise MissingPackage(f"source: recordings need {name}; install it with pip install 'salience[audio]'")


def _ask(process: subprocess.Popen[bytes], blob: str | bytes, rate: int | None, channel: str) -> None:
    path, data = (blob, b"") if isinstance(blob, str) else (None, blob)
    request = {"path": path, "size": len(data), "rate": rate, "channel": channel, "memory": _memory()}
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has ended: reading its answer says how
        process.stdin.write(json.dumps(request).encode() + b"\n" + data)
        process.stdin.flush()


def _blocks(process: subprocess.Popen[bytes]) -> Iterator[np.ndarray]:
    assert process.stdout is not None
    total = 0
    while True:
        head = process.stdout.read(4)
        count = int.from_bytes(head, "little")
        if len(head) == 4 and not count:
            return
        total += count
        data = process.stdout.read(2 * count) if total <= LONGEST else b""
        if len(head) < 4 or len(data) < 2 * count:
            if total > LONGEST:
                process.kill()
                process.wait()
                raise UnreadableError(f"it has more than {LONGEST:,} samples; cut it into several files")
            raise UnreadableError(_how_it_ended(process))
        yield np.frombuffer(data, "<i2").astype(np.int16, copy=False)


def _line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.endswith(b"\n"):
        raise UnreadableError(_how_it_ended(process))
    answer = json.loads(line)
    if answer["error"]:
        raise UnreadableError(answer["error"][:200])
    return answer


def _how_it_ended(process: subprocess.Popen[bytes]) -> str:
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    code = process.returncode
    if code is not None and code < 0:
        return f"the decoder was killed by {signal.Signals(-code).name}"
    return f"the decoder ended with exit code {code}"


def _start() -> subprocess.Popen[bytes]:
    return start_worker(WORKER, OPENBLAS_NUM_THREADS="1")  # its buffers count against the limit of memory


def _memory() -> int:
    with suppress(AttributeError, ValueError, OSError):  # not known on every system
        return max(LEAST_MEMORY, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8)
    return 0
