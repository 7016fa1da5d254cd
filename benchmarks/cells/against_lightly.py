"""Compare SimCLR, BYOL and VICReg with lightly: equal epochs, encoder and tuning, five paired seeds.

    .venv/bin/python -m benchmarks.cells.against_lightly --data FOLDER        # run it again to resume

The cells of Salience are those of the leaderboard on CIFAR-10, with two more seeds. The cells of lightly are
`quality_lightly.py` with the same rules. Six trials (three learning rates, two values of the main hyperparameter) train
on half of the training rows and are evaluated on 5,000 rows of the other half. Then five seeds see 50,000 images twice.
The difference of weighted kNN accuracy on the test images is paired by seed. Results of lightly:
benchmarks/results/against-lightly.json.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.cells.leaderboard import Board
from benchmarks.harness import peers
from benchmarks.harness.cell import script
from benchmarks.harness.folders import RESULTS
from benchmarks.harness.pool import Job, run_all
from benchmarks.render.board import AGAINST, lightly
from benchmarks.render.tables import load
from salience.training.machine import fast_bf16

METHODS = ("simclr", "byol", "vicreg")
SEEDS = 5
IMAGES = 100_000


class Lightly(Board):
    """The leaderboard's protocol, lightly's code."""

    def command(self, method: str, settings: list[Any], run: Path) -> list[Any]:
        flags = [] if fast_bf16("cpu") else ["--fp32"]  # as ours decides
        return [*script("quality_lightly", method, *settings, *flags, "--data", self.data, python=peers.PYTHON)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("SALIENCE_DATA"), help="or set SALIENCE_DATA")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="cells at a time, one core each")
    args = parser.parse_args()
    if not args.data:
        parser.error("--data: CIFAR-10 is needed; give its folder, or set SALIENCE_DATA")
    peers.ensure()
    data = Path(args.data).resolve()
    boards = Board("cifar10", IMAGES, data), Lightly("cifar10", IMAGES, data, suite=AGAINST)

    def left() -> list[Job]:
        return [job for method in METHODS for board in boards for job in board.jobs(method, SEEDS)]

    code = run_all(left, args.jobs)
    if stored := load(RESULTS, AGAINST):
        print(lightly(stored, "Beside lightly"))
    return code


if __name__ == "__main__":
    sys.exit(main())
