"""Train an RBM of 256 hidden units on Fashion-MNIST with Salience or scikit-learn's BernoulliRBM: one arm per process.

    .venv/bin/python -m benchmarks.cells.boltzmann --arm salience --batch-size 256 --epochs 5
    .venv/bin/python -m benchmarks.cells.boltzmann --arm scikit-learn --batch-size 10 --epochs 2

Both train by persistent contrastive divergence on images in memory. `seconds` is the time of the complete `fit`; for
Salience it includes the run folder, the plan and the health records. The quality, which must be equal, is the
pseudo-likelihood of the test images. scikit-learn computes it from the weights of both, with the same flipped bits.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.neural_network import BernoulliRBM

import salience
from benchmarks.harness.images import FASHION, fashion, unit
from benchmarks.harness.report import SUMMARY, emit, versions

HIDDEN = 256
TESTED = Path(str(FASHION).replace("train", "t10k"))


def ours(images: np.ndarray, args: argparse.Namespace) -> BernoulliRBM:
    """Our weights, in scikit-learn's machine."""
    with tempfile.TemporaryDirectory() as folder:
        rep = salience.fit(
            "rbm", images, out=Path(folder) / "run", epochs=args.epochs, batch_size=args.batch_size, seed=args.seed,
            hidden=HIDDEN, visible="bernoulli", persistent=True, progress=False,
            **({"learning_rate": args.learning_rate} if args.learning_rate else {}),
        )  # fmt: skip
    hidden = rep.method.encoder.body[1]
    machine = BernoulliRBM(HIDDEN, random_state=0)
    machine.components_ = hidden.weight.numpy().astype(np.float64)
    machine.intercept_hidden_ = hidden.bias.numpy().astype(np.float64)
    machine.intercept_visible_ = rep.method.visible_bias.numpy().astype(np.float64)
    return machine


def theirs(images: np.ndarray, args: argparse.Namespace) -> BernoulliRBM:
    machine = BernoulliRBM(HIDDEN, batch_size=args.batch_size, n_iter=args.epochs, random_state=args.seed)
    if args.learning_rate:
        machine.set_params(learning_rate=args.learning_rate)
    return machine.fit(unit(images))


def main() -> None:
    args = arguments()
    images, tested = fashion(FASHION, args.rows), fashion(TESTED, 2000)
    salience.fit  # noqa: B018 - imported now, not on the clock
    start = time.perf_counter()
    machine = (ours if args.arm == "salience" else theirs)(images, args)
    seconds = time.perf_counter() - start
    machine.random_state = 0
    emit(
        SUMMARY,
        seconds=seconds,
        rows_per_second=len(images) * args.epochs / seconds,
        pseudo_likelihood=float(machine.score_samples(unit(tested)).mean()),
        versions=versions("numpy", "scikit-learn", "torch"),
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", required=True, choices=("salience", "scikit-learn"))
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--learning-rate", type=float, help="otherwise each side's own default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, help="use only the first rows (smoke test)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
