"""Measure our own cells in two checkouts of this project by turns: this one, and one of another commit.

Each checkout runs its own scripts with the same arguments, because the modules of salience move between commits.
PYTHONPATH selects the code; the Python and the libraries are the same. In every round each cell runs once in each
checkout, one directly after the other; the order changes from round to round. A pair of results is stored when both
have ended, so a stopped measurement resumes. The processes work in a folder of their own and keep their prepared data
there: nothing is written into the other checkout, and no side finds the data of the other.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.cell import Cell
from benchmarks.harness.figures import FIGURES
from benchmarks.harness.folders import ROOT
from benchmarks.harness.machine import code_version, git
from benchmarks.harness.process import clean_environment, now, others_share, result_of, summary_of
from benchmarks.harness.stored import Stored

OLD, NEW = "old", "new"
FORMER_NAMES = {"pretrain": "pretrain_cell"}  # of scripts that had another name in the flat folder
TAKES_CHECKOUT = ("startup_verbs",)  # scripts that use the command line alone, so ours can measure any checkout


class CellError(Exception):
    """A cell that cannot be compared, with the reason."""


@dataclass(frozen=True)
class Checkout:
    """A checkout of this project whose cells are measured.

    Args:
        side: OLD or NEW
        folder: its root
        work: where its processes run and keep what they prepare
    """

    side: str
    folder: Path
    work: Path

    def command(self, cell: Cell) -> list[str]:
        """Return the command that runs a cell's script as this checkout has it.

        Raises:
            CellError: the checkout has no such script
        """
        python, _, module, *arguments = cell.command
        name = module.rpartition(".")[2]
        scripts = self.folder / "benchmarks"
        flat = scripts / f"{FORMER_NAMES.get(name, name)}.py"
        if (scripts / "cells" / f"{name}.py").exists():
            return list(cell.command)
        if flat.exists():
            return [python, str(flat), *arguments]
        if name in TAKES_CHECKOUT:
            return [*cell.command, "--checkout", str(self.folder)]
        raise CellError(f"the {self.side} checkout has no script {name}.py")

    def environment(self, command: list[str]) -> dict[str, str]:
        """Return the environment in which a command of this checkout uses its code."""
        scripts = ROOT if "--checkout" in command else self.folder
        paths = f"{self.folder / 'src'}:{scripts}"
        return clean_environment() | {"PYTHONPATH": paths, "SALIENCE_CACHE": str(self.work / "cache")}

    def run(self, cell: Cell) -> dict[str, Any]:
        """Run a cell once.

        Returns:
            The result of its summary.

        Raises:
            CellError: there is no script, or it failed
        """
        command = self.command(cell)
        done = subprocess.run(
            command, cwd=self.work, env=self.environment(command), capture_output=True, text=True, check=False
        )
        summary = None if done.returncode else summary_of(done.stdout)
        if summary is None:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise CellError(f"failed in the {self.side} checkout with exit code {done.returncode}: {last}")
        return result_of(summary)


def open_checkout(side: str, folder: Path, work: Path) -> Checkout:
    """Open a checkout and make its working folder.

    Raises:
        SystemExit: the folder is no checkout of this project, or Python would import another salience
    """
    folder = folder.resolve()
    if git(folder, "rev-parse", "--show-toplevel") != str(folder) or not (folder / "src" / "salience").is_dir():
        remedy = "make one with: git worktree add FOLDER COMMIT"
        raise SystemExit(f"--beside: expected the root of a git checkout of this project, got {folder}; {remedy}")
    checkout = Checkout(side, folder, work / f"{side}-{code_version(folder)}")
    checkout.work.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", "import salience; print(salience.__file__)"]
    done = subprocess.run(
        command, cwd=checkout.work, env=checkout.environment(command), capture_output=True, text=True, check=False
    )
    if not done.stdout.startswith(str(folder / "src")):
        found = done.stdout.strip() or done.stderr.strip()
        raise SystemExit(f"--beside: expected Python to import salience from {folder / 'src'}, got {found}")
    return checkout


def comparable(cells: Iterable[Cell]) -> list[Cell]:
    """Choose our own cells of speed and memory, each once: the rounds come from the comparison."""
    chosen: dict[str, Cell] = {}
    for cell in cells:
        if not cell.peer and cell.suite in FIGURES:
            chosen.setdefault(cell.name, cell)
    return list(chosen.values())


def pair(cell: Cell, checkouts: dict[str, Checkout], number: int) -> dict[str, Any]:
    """Run a cell in both checkouts, in the order of the round.

    Raises:
        CellError: it cannot be compared
    """
    for checkout in checkouts.values():
        checkout.command(cell)  # a missing script is found before anything is measured
    order = (OLD, NEW) if number % 2 == 0 else (NEW, OLD)
    busy = others_share()
    results = {side: checkouts[side].run(cell) for side in order}
    about = {"suite": cell.suite, "arm": cell.arm, "round": number, "order": list(order)}
    return {**about, "busy_before": busy, "date": now(), OLD: results[OLD], NEW: results[NEW]}


def measure(cells: list[Cell], checkouts: dict[str, Checkout], stored: Stored, rounds: int) -> dict[str, str]:
    """Measure what is left of all rounds and store each pair.

    Returns:
        Name of a cell -> why it was not compared.
    """
    problems: dict[str, str] = {}
    for number in range(rounds):
        for position, cell in enumerate(cells, 1):
            key = f"{cell.name} round {number}"
            if cell.name in problems or key in stored.content["cells"]:
                continue
            print(f"[round {number + 1}/{rounds}, {position}/{len(cells)}] {cell.name}", file=sys.stderr)
            try:
                stored.add_record(key, pair(cell, checkouts, number))
            except CellError as problem:
                problems[cell.name] = str(problem)
                print(f"  not compared: {problem}", file=sys.stderr)
    return problems
