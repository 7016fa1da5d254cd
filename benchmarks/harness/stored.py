"""Store the results of a suite in one file, which names the machine they were measured on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.harness.cell import Cell
from benchmarks.harness.folders import ROOT


class Elsewhere(SystemExit):
    """Results of another machine, which those of this one must not join."""


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two machines are alike, but for the kernel's version."""
    return all(one[name] == other[name] for name in one.keys() - {"system"})


class Stored:
    """The result file of one suite: {"machine": ..., "cells": {"ours 0": ...}}, replaced atomically.

    timed: whether it is about speed: those of two machines are never mixed. Else a cell of another names it.
    """

    def __init__(self, folder: Path, suite: str, here: dict[str, Any], *, timed: bool = True) -> None:
        self.path = folder / f"{suite}.json"
        self.here = here
        self.content: dict[str, Any] = {"suite": suite, "machine": here, "cells": {}}
        if self.path.exists():
            self.content = json.loads(self.path.read_text())
        self.elsewhere = not same(self.content["machine"], here)
        if timed and self.elsewhere:
            raise Elsewhere(f"{self.path} was measured on another machine; move it away, figures must not be mixed")

    def has(self, cell: Cell) -> bool:
        return cell.key in self.content["cells"]

    def add(self, cell: Cell, record: dict[str, Any]) -> None:
        self.add_record(cell.key, record)

    def add_record(self, key: str, record: dict[str, Any]) -> None:
        self.content["cells"][key] = record | ({"machine": self.here} if self.elsewhere else {})
        self.write()

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.content, indent=1) + "\n")
        partial.replace(self.path)


def rounded(value: Any) -> Any:
    """Five significant digits: more is noise in a file that people read."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list) else value


def plain_path(word: str, data: Path | None) -> str:
    """The command as a reader can repeat it: no folder of this machine in it."""
    for folder, name in ((data, "FOLDER"), (ROOT, ".")):
        if folder is not None and word.startswith(str(folder)):
            return name + word[len(str(folder)) :]
    return word
