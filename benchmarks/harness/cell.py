"""Define a cell: one measurement in its own process."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


def script(name: str, *arguments: object, python: str | Path = sys.executable) -> tuple[str, ...]:
    """The command of a script of benchmarks/cells, run in the root of the checkout."""
    return (str(python), "-m", f"benchmarks.cells.{name}", *map(str, arguments))


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Args:
        suite: name of its result file
        arm: what is compared within the suite
        round: which repetition; of kNN, the seed
        command: its process
        timed: whether it is about speed
        peer: whether it measures another library
    """

    suite: str
    arm: str
    round: int
    command: tuple[str, ...]
    timed: bool = True
    peer: bool = False

    @property
    def key(self) -> str:
        return f"{self.arm} {self.round}"

    @property
    def name(self) -> str:
        """Suite and arm, without the round."""
        return f"{self.suite}: {self.arm}"
