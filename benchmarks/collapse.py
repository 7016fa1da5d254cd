"""Where a VAE's posterior collapses, does CR-VAE keep its codes awake? Active dimensions and kNN, three seeds.

    .venv/bin/python benchmarks/collapse.py                       # stop and go on at will

Fashion-MNIST, the leaderboard's encoder, batch and images seen, one learning rate. The third arm is CR-VAE without its
contrast: a VAE of the same views, so that views and contrast are told apart. Results: benchmarks/results/collapse.json.
"""

from __future__ import annotations

import argparse
import os
import sys

from leaderboard import BATCH, CELL, RUNS, SEEDS
from machine import machine
from pool import Job, run_all
from run import RESULTS, Stored

SOURCE = "fashion-mnist"
RATE = 5e-4
BETAS = (1.0, 30.0, 100.0)
ARMS = {"vae": ("vae", ()), "crvae": ("crvae", ("gamma=10.0",)), "vae of views": ("crvae", ("gamma=0.0",))}


def jobs(stored: Stored, images: int) -> list[Job]:
    found = []
    for seed in range(SEEDS):
        for beta in BETAS:
            for arm, (method, options) in ARMS.items():
                name = f"{arm} beta {beta:g} seed {seed}"
                if name in stored.content["cells"]:
                    continue
                run = RUNS / f"collapse-{images}" / name.replace(" ", "-")
                settings = [word for option in (f"beta={beta}", *options) for word in ("--option", option)]
                command = [sys.executable, CELL, method, SOURCE, "--run", run, "--images", images, "--seed", seed]
                command += ["--batch-size", BATCH, "--learning-rate", RATE, *settings]
                found.append(Job(name, [str(word) for word in command], run, stored))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000, help="seen by each run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="cells at a time, one core each")
    args = parser.parse_args()
    stored = Stored(RESULTS, "collapse", machine())
    return run_all(lambda: jobs(stored, args.images), args.jobs)


if __name__ == "__main__":
    sys.exit(main())
