"""Compare an RBM's features and a fine-tuned DBN with raw pixels on Fashion-MNIST with 1,000 labels.

    .venv/bin/python -m benchmarks.cells.thousand_labels --arm rbm --seed 0

Training uses all 60,000 training images. 1,000 of them have a label, 100 of each class, drawn by the seed. The same
logistic regression is fitted to raw pixels and to the RBM's probabilities; its penalty is selected on a fifth of the
1,000. The DBN uses the labels in its last stage. Accuracy is measured on all 10,000 test images.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

import salience
from benchmarks.harness.report import SUMMARY, emit, versions
from benchmarks.harness.sources import open_split
from salience.data import Dataset
from salience.measures.raw_features import raw_features

EACH = 100  # labels of each class
PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)


def labelled_rows(labels: np.ndarray, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.permutation(np.flatnonzero(labels == c))[:EACH] for c in np.unique(labels)])


def regression(known: np.ndarray, labels: np.ndarray, unseen: np.ndarray, seed: int) -> np.ndarray:
    """Classes of the unseen, by the penalty that does best on a fifth of the known."""
    order = np.random.default_rng(seed).permutation(len(known))
    judged, learnt = order[: len(order) // 5], order[len(order) // 5 :]

    def fitted(rows: np.ndarray, penalty: float) -> LogisticRegression:
        return LogisticRegression(C=penalty, max_iter=2000).fit(known[rows], labels[rows])

    scores = [fitted(learnt, penalty).score(known[judged], labels[judged]) for penalty in PENALTIES]
    return fitted(order, PENALTIES[int(np.argmax(scores))]).predict(unseen)


def classes(args: argparse.Namespace, train: Dataset, test: Dataset) -> np.ndarray:
    """The classes an arm gives the test images."""
    assert train.labels is not None
    rows = labelled_rows(train.labels, args.seed)
    if args.arm == "raw":
        return regression(raw_features(train.subset(rows)), train.labels[rows], raw_features(test), args.seed)
    settings = {"epochs": args.epochs, "seed": args.seed, "progress": False}
    with tempfile.TemporaryDirectory() as folder:
        if args.arm == "rbm":
            rep = salience.fit("rbm", train, out=Path(folder) / "run", hidden=args.hidden, **settings)
            return regression(rep.embed(train.subset(rows)), train.labels[rows], rep.embed(test), args.seed)
        few = np.full(len(train), -1)
        few[rows] = train.labels[rows]
        known = salience.open_data(np.asarray(train.x), labels=few, progress=False)
        rep = salience.fit(
            "dbn", known, out=Path(folder) / "run", hidden=args.hidden, dim=args.hidden, use_labels=True, **settings
        )
        return np.concatenate([rep.method.predict(batch).argmax(1).numpy() for batch in test.chunks(1000)])


def main() -> None:
    args = arguments()
    train, test = open_split("fashion-mnist", "train", None), open_split("fashion-mnist", "test", None)
    found = classes(args, train, test)
    emit(SUMMARY, accuracy=float((found == test.labels).mean()), versions=versions("torch", "scikit-learn", "numpy"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", required=True, choices=("raw", "rbm", "dbn"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--hidden", type=int, default=512)
    return parser.parse_args()


if __name__ == "__main__":
    main()
