"""Quality beside lightly, end to end: SimCLR, BYOL and VICReg, equal epochs, encoder and tuning, five paired seeds.

    .venv/bin/python benchmarks/against_lightly.py --data FOLDER        # stop and go on at will

Ours are the leaderboard's cells on CIFAR-10, and two seeds more; lightly's are `quality_lightly.py` under the same
rules: six trials on half the training rows (three learning rates, two values of the main knob), judged on 5,000 of the
other half; then five seeds that see 50,000 images twice. The difference of weighted kNN accuracy on the test images is
paired by seed. lightly's results: benchmarks/results/against-lightly.json.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import peers
from leaderboard import Board
from pool import Job, run_all
from render_board import AGAINST, lightly
from tables import RESULTS, load

from salience.training.machine import fast_bf16

METHODS = ("simclr", "byol", "vicreg")
SEEDS = 5
IMAGES = 100_000
THEIRS = Path(__file__).resolve().parent / "quality_lightly.py"


class Lightly(Board):
    """The leaderboard's protocol, lightly's code."""

    def command(self, method: str, settings: list[Any], run: Path) -> list[Any]:
        flags = [] if fast_bf16("cpu") else ["--fp32"]  # as ours decides
        return [peers.PYTHON, THEIRS, method, *settings, *flags, "--data", self.data]


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
