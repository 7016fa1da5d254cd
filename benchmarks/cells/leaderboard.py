"""The leaderboard: all methods with the same encoder, number of images seen and tuning, three seeds.

    .venv/bin/python -m benchmarks.cells.leaderboard --data FOLDER             # run it again to resume
    .venv/bin/python -m benchmarks.cells.leaderboard --data FOLDER --only cifar10:byol cifar10:dino
    .venv/bin/python -m benchmarks.cells.leaderboard --images 500000           # a longer one, with its own file
    .venv/bin/python -m benchmarks.cells.leaderboard --images 500000 --chosen-at 100000 --seeds 1

The last one reuses the tuning of the short one.

Each method has six trials (three learning rates, two values of its main hyperparameter). A trial sees half the images
of half the rows, and is evaluated by kNN on held-out rows. The best values are used for the three final runs, which are
evaluated on the test rows. Each cell is one process with one thread on its own core; as many run at a time as there are
cores. Each result is stored when its cell ends: benchmarks/results/leaderboard-SOURCE-IMAGES.json. Run folders:
.bench/runs.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness.cell import script
from benchmarks.harness.folders import RESULTS, SCRATCH
from benchmarks.harness.machine import machine
from benchmarks.harness.pool import Job, run_all
from benchmarks.harness.stored import Stored

BATCH = 64  # BYOL, SimSiam and SwAV need many steps more than large batches
RATES = (1e-4, 5e-4, 2e-3)
Knobs = dict[str, tuple[str, tuple[Any, Any]]]  # method -> its main knob and two values of it
COMPARING: Knobs = {
    "simclr": ("temperature", (0.2, 0.5)),
    "byol": ("momentum", (0.97, 0.996)),
    "vicreg": ("covariance", (1.0, 5.0)),
    "barlowtwins": ("redundancy", (0.0051, 0.02)),
    "simsiam": ("bottleneck", (64, 256)),
    "moco": ("temperature", (0.1, 0.2)),
    "supcon": ("temperature", (0.1, 0.3)),
    "cmc": ("temperature", (0.07, 0.2)),
    "swav": ("temperature", (0.1, 0.2)),
    "dino": ("momentum", (0.97, 0.996)),
    "supervised": ("views", ("natural", "crops")),
}
REBUILDING: Knobs = {
    "autoencoder": ("dim", (64, 256)),
    "deep_autoencoder": ("dim", (64, 256)),
    "sparse_autoencoder": ("weight", (0.01, 0.1)),
    "contractive_autoencoder": ("weight", (0.01, 0.1)),
    "denoising_autoencoder": ("level", (0.2, 0.5)),
    "stacked_autoencoder": ("level", (0.1, 0.4)),
    "rbm": ("persistent", ("true", "false")),
    "dbn": ("fine_tune", ('"rebuild"', '"none"')),
    "dbm": ("passes", (5, 20)),
    "vae": ("beta", (0.1, 1.0)),
    "crvae": ("gamma", (1.0, 10.0)),
    "dfcvae": ("beta", (0.1, 1.0)),
    "gan": ("penalty", ('"none"', '"r1"')),
}
ON_FASHION = ("simclr", "moco", "byol", "vicreg", "swav", "supervised")  # one of a kind, of those that compare items
KNOBS = COMPARING | REBUILDING
BASELINES = ("raw", "pca", "untrained")
SEEDS = 3
RUNS = SCRATCH / "runs"


class Board:
    """The cells of one source at one budget, in the order they can run.

    suite: name of the file of results, if not the budget's own;  chosen_at: budget of the trials, if not this one
    """

    def __init__(
        self, source: str, images: int, data: Path | None, *, suite: str | None = None, chosen_at: int | None = None
    ):
        self.source = source
        self.images = images
        self.data = data
        self.suite = suite or f"leaderboard-{source}-{images}"
        self.stored = Stored(RESULTS, self.suite, machine(), timed=False)
        tried = self.stored
        if chosen_at is not None:
            tried = Stored(RESULTS, f"leaderboard-{source}-{chosen_at}", machine(), timed=False)
        self.tried = tried.content["cells"]

    @property
    def cells(self) -> dict[str, Any]:
        return self.stored.content["cells"]

    def methods(self) -> tuple[str, ...]:
        return (*BASELINES, *(KNOBS if self.source == "cifar10" else (*ON_FASHION, *REBUILDING)))

    def jobs(self, method: str, seeds: int = SEEDS) -> list[Job]:
        """What is left to do for a method: its trials first; its final runs when all of those are there."""
        if method in BASELINES:
            seeds = seeds if method == "untrained" else 1
            return self._missing(method, [(f"{method} seed {seed}", ["--seed", seed]) for seed in range(seeds)])
        trials = [
            (f"{method} trial {number}", ["--kind", "trial", "--images", self.images // 2, *settings])
            for number, settings in enumerate(self._settings(method))
        ]
        left = self._missing(method, trials) if self.tried is self.cells else []
        if left or any(name not in self.tried for name, _ in trials):
            return left
        best = max(range(len(trials)), key=lambda number: self.tried[trials[number][0]]["result"].get("knn", 0.0))
        chosen = self._settings(method)[best]
        return self._missing(
            method,
            [(f"{method} seed {s}", ["--images", self.images, "--seed", s, *chosen]) for s in range(seeds)],
        )

    def _settings(self, method: str) -> list[list[Any]]:
        knob, values = KNOBS[method]
        if knob == "views" and self.source == "fashion-mnist":  # which has no colour to vary
            values = ("grey", "crops")
        return [
            ["--learning-rate", rate, *(["--views", value] if knob == "views" else ["--option", f"{knob}={value}"])]
            for rate, value in itertools.product(RATES, values)
        ]

    def _missing(self, method: str, cells: list[tuple[str, list[Any]]]) -> list[Job]:
        jobs = []
        for name, settings in cells:
            if name not in self.cells:
                run = RUNS / self.suite.removeprefix("leaderboard-") / name.replace(" ", "-")
                command = self.command(method, ["--batch-size", BATCH, *settings], run)
                jobs.append(Job(name, [str(word) for word in command], run, self.stored))
        return jobs

    def command(self, method: str, settings: list[Any], run: Path) -> list[Any]:
        """-> the process of one cell; baselines leave no run"""
        folder = [] if method in BASELINES else ["--run", run]
        data = ["--data", self.data] if self.data else []
        return [*script("pretrain", method, self.source), *settings, *folder, *data]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("SALIENCE_DATA"), help="or set SALIENCE_DATA")
    parser.add_argument("--images", type=int, default=100_000, help="seen by each run")
    parser.add_argument("--chosen-at", type=int, metavar="IMAGES", help="no trials: their choices at this budget")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="final runs of each method")
    parser.add_argument("--only", nargs="+", metavar="SOURCE:METHOD", help="these alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="cells at a time, one core each")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    boards = [Board("fashion-mnist", args.images, None, chosen_at=args.chosen_at)]
    if args.data:
        boards.insert(0, Board("cifar10", args.images, Path(args.data).resolve(), chosen_at=args.chosen_at))
    else:
        print("skipped: CIFAR-10 (give --data or SALIENCE_DATA, see --help)", file=sys.stderr)
    pairs = [(board, method) for board in boards for method in board.methods()]
    if args.only:
        pairs = [pair for pair in pairs if f"{pair[0].source}:{pair[1]}" in args.only]

    def left() -> list[Job]:
        """In the order of methods; asked again after every cell, as trials decide what final runs are."""
        return [job for board, method in pairs for job in board.jobs(method, args.seeds)]

    return run_all(left, args.jobs)


if __name__ == "__main__":
    sys.exit(main())
