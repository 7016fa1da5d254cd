"""Readers with every fault that the harness counts."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from salience.errors import UserError
from tests.fuzz.formats import Format


def warm_up() -> None:
    """Nothing: these readers import nothing, and the process is started again after each crash."""


def _stops_for_ever(folder: Path, file: Path) -> None:
    time.sleep(1000)


def _dies(folder: Path, file: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _exits(folder: Path, file: Path) -> None:
    os._exit(0)


def _fails(folder: Path, file: Path) -> None:
    raise KeyError("a mistake of ours")


def _says_too_much(folder: Path, file: Path) -> None:
    raise UserError("x" * 100_000)


def _takes_memory(folder: Path, file: Path) -> None:
    np.ones(1 << 29)


def _refuses(folder: Path, file: Path) -> None:
    raise UserError("source: damaged")


def _is_refused_by_the_system(folder: Path, file: Path) -> None:
    (folder / "gone").read_bytes()


def _reads(folder: Path, file: Path) -> None:
    assert file.read_bytes() == b"content"


WAYS = {
    "read": _reads,
    "refused": _refuses,
    "refused by the system": _is_refused_by_the_system,
    "traceback": _fails,
    "traceback of a long refusal": _says_too_much,
    "traceback for want of memory": _takes_memory,
    "hang": _stops_for_ever,
    "crash": _dies,
    "crash by leaving": _exits,
}
FORMATS = {name: Format("file.bin", lambda folder: [b"content"], read) for name, read in WAYS.items()}
