"""Where a VAE's posterior collapses, does CR-VAE keep its codes awake? Active dimensions, what draws tell, kNN.

    .venv/bin/python benchmarks/collapse.py                       # stop and go on at will

Fashion-MNIST, the leaderboard's encoder, batch and images seen, one learning rate, codes of the authors' width, three
seeds. A nat of a code costs beta, of which the contrast repays gamma at most: so gamma is 10 beta, the authors' ratio,
and in an arm of its own 10, their value. The arm without contrast is a VAE of the same views, so that views and
contrast are told apart. Results: benchmarks/results/collapse.json.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from leaderboard import BATCH, CELL, RUNS, SEEDS
from machine import machine
from pool import Job, run_all
from run import RESULTS, Stored

SOURCE = "fashion-mnist"
RATE = 5e-4
DIM = 16
BETAS = (1.0, 100.0)
RATIO = 10.0
ARMS: dict[str, tuple[str, Callable[[float], tuple[str, ...]]]] = {  # name: method, its options at a beta
    "vae": ("vae", lambda beta: ()),
    "vae of views": ("crvae", lambda beta: ("gamma=0.0",)),
    "crvae": ("crvae", lambda beta: (f"gamma={RATIO * beta}",)),
    "crvae of gamma 10": ("crvae", lambda beta: ("gamma=10.0",)),
}


def jobs(stored: Stored, images: int) -> list[Job]:
    found = []
    for seed in range(SEEDS):
        for beta in BETAS:
            for arm, (method, options_at) in ARMS.items():
                name = f"{arm} beta {beta:g} seed {seed}"
                if name in stored.content["cells"] or (arm.endswith("10") and beta == 1):  # there it is crvae
                    continue
                run = RUNS / f"collapse-{images}" / name.replace(" ", "-")
                options = (f"dim={DIM}", f"beta={beta}", *options_at(beta))
                settings = [word for option in options for word in ("--option", option)]
                command = [sys.executable, CELL, method, SOURCE, "--run", run, "--images", images, "--seed", seed]
                command += ["--batch-size", BATCH, "--learning-rate", RATE, *settings]
                found.append(Job(name, [str(word) for word in command], run, stored))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000, help="seen by each run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="cells at a time, one core each")
    args = parser.parse_args()
    stored = Stored(RESULTS, "collapse", machine(), timed=False)
    return run_all(lambda: jobs(stored, args.images), args.jobs)


if __name__ == "__main__":
    sys.exit(main())
