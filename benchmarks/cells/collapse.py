"""Measure posterior collapse, caused by a large beta or a strong decoder, in VAE and CR-VAE.

    .venv/bin/python -m benchmarks.cells.collapse                       # run it again to resume

All arms use Fashion-MNIST, the leaderboard's encoder, batch size and number of images, one learning rate, codes of the
authors' width, and three seeds. A nat of information in a code costs beta, and the contrastive term gains at most gamma
per nat. Therefore gamma is 10 beta, the authors' ratio, and in a separate arm 10, the authors' value. The arm without
contrastive term is a VAE of the same views; it separates the effect of the views from that of the term. The strong
decoder is autoregressive, at beta 1: it receives the pixels before each pixel, and predicts most of an item without the
code. The metrics are active dimensions, information of sampled codes, and kNN. Results:
benchmarks/results/collapse.json.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable, Iterator

from benchmarks.cells.leaderboard import BATCH, RUNS, SEEDS
from benchmarks.harness.cell import script
from benchmarks.harness.folders import RESULTS
from benchmarks.harness.machine import machine
from benchmarks.harness.pool import Job, run_all
from benchmarks.harness.stored import Stored

SOURCE = "fashion-mnist"
RATE = 5e-4
DIM = 16
BETAS = (1.0, 100.0)
RATIO = 10.0
ARMS: dict[str, tuple[str, Callable[[float], tuple[str, ...]]]] = {  # name: method, its options at a beta
    "vae": ("vae", lambda beta: ()),
    "crvae": ("crvae", lambda beta: (f"gamma={RATIO * beta}",)),
    "vae of views": ("crvae", lambda beta: ("gamma=0.0",)),
    "crvae of gamma 10": ("crvae", lambda beta: ("gamma=10.0",)),
}
STRONG = ", strong decoder"


def arms() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Name of a cell, method, options."""
    for arm, (method, options_at) in ARMS.items():
        for beta in BETAS:
            if not (arm.endswith("10") and beta == 1):  # there it is crvae
                yield f"{arm} beta {beta:g}", method, (f"beta={beta}", *options_at(beta))
        if not arm.endswith("10"):
            yield f"{arm}{STRONG} beta 1", method, ("beta=1.0", "autoregressive=true", *options_at(1.0))


def jobs(stored: Stored, images: int) -> list[Job]:
    found = []
    for (arm, method, options), seed in itertools.product(arms(), range(SEEDS)):
        name = f"{arm} seed {seed}"
        if name not in stored.content["cells"]:
            run = RUNS / f"collapse-{images}" / name.replace(" ", "-").replace(",", "")
            settings = [word for option in (f"dim={DIM}", *options) for word in ("--option", option)]
            command = [*script("pretrain", method, SOURCE, "--run", run, "--images", images, "--seed", seed)]
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
