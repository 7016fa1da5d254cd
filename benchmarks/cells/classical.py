"""Fit PCA or k-means on Fashion-MNIST's 60,000 x 784 with Salience or scikit-learn's solvers: one arm per process.

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python -m benchmarks.cells.classical pca --arm salience
    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python -m benchmarks.cells.classical kmeans --arm lloyd --seed 3

Every arm starts with uint8 images in memory. `seconds` includes the conversion to float32 in [0, 1]. `quality` shows
that the arms solve the same task equally well: the share of explained variance (higher is better), or the mean squared
distance to the nearest centre (lower is better). The arm `fit` is the complete `salience.fit`, including its run
folder. The two environment variables halve the speed of NumPy's matrix product on the development machine, so the
benchmark refuses them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn import cluster, decomposition

import salience
from benchmarks.harness.images import FASHION, fashion, unit
from benchmarks.harness.report import SUMMARY, emit, versions
from salience.methods.classical.kmeans import KMeans
from salience.methods.classical.pca import PCA
from salience.methods.contract import Context
from salience.modalities.image.spec import ImageSpec

DIM = 64
CENTRES = 20
ARMS = {
    "pca": ("salience", "fit", "covariance_eigh", "randomized", "arpack", "full"),
    "kmeans": ("salience", "fit", "lloyd", "elkan"),
}


class StoredRows:
    """A reader of the stored images: flat float32 rows in [0, 1]."""

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.rows, self.width = images, len(images), images[0].size

    def chunks(self) -> Iterator[np.ndarray]:
        for start in range(0, self.rows, 8192):
            yield unit(self.images[start : start + 8192])

    def everything(self) -> np.ndarray:
        return unit(self.images)


def solve_ours(what: str, images: np.ndarray, seed: int) -> Callable[[], Any]:
    spec = ImageSpec(images.shape[1:], "uint8", 0, 255, (0.2860,), (0.3530,), views="grey")
    context = Context(spec, len(images))
    method = PCA.build(context, dim=DIM) if what == "pca" else KMeans.build(context, k=CENTRES)

    def work() -> Any:
        method.fit_rows(StoredRows(images), seed=seed)
        return method

    return work


def solve_whole_fit(what: str, images: np.ndarray, seed: int) -> Callable[[], Any]:
    options = {"dim": DIM} if what == "pca" else {"k": CENTRES}
    fit = salience.fit  # imported now, not on the clock

    def work() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            return fit(what, images, out=Path(folder) / "run", seed=seed, progress=False, **options)

    return work


def solve_sklearn(what: str, arm: str, images: np.ndarray, seed: int) -> Callable[[], Any]:
    if what == "pca":
        estimator: Any = decomposition.PCA(DIM, svd_solver=arm, random_state=seed)
    else:
        estimator = cluster.KMeans(CENTRES, n_init=1, algorithm=arm, random_state=seed)
    return lambda: estimator.fit(unit(images))


def embedding(solved: Any, images: np.ndarray) -> np.ndarray:
    """Codes or distances of flat rows.  -> [n d]"""
    rows = unit(images)
    if hasattr(solved, "transform"):
        return solved.transform(rows)
    if hasattr(solved, "embed_rows"):
        return solved.embed_rows(torch.from_numpy(rows)).numpy()
    return np.asarray(solved.embed(images))


def quality(what: str, codes: np.ndarray, images: np.ndarray) -> float:
    if what == "pca":
        return float(codes.var(axis=0).sum() / unit(images).var(axis=0).sum())
    return float(np.square(codes.min(axis=1)).mean())


def main() -> None:
    args = arguments()
    images = fashion(args.images, args.rows)
    if args.arm == "salience":
        work = solve_ours(args.what, images, args.seed)
    elif args.arm == "fit":
        work = solve_whole_fit(args.what, images, args.seed)
    else:
        work = solve_sklearn(args.what, args.arm, images, args.seed)
    unit(images[:1000]) @ unit(images[:1000]).T  # threads and libraries are awake
    start = time.perf_counter()
    solved = work()
    seconds = time.perf_counter() - start
    emit(
        SUMMARY,
        seconds=seconds,
        quality=quality(args.what, embedding(solved, images), images),
        shape=[len(images), images[0].size],
        versions=versions("numpy", "scikit-learn", "torch"),
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(ARMS))
    parser.add_argument("--arm", required=True, help="; ".join(f"{k}: {', '.join(v)}" for k, v in ARMS.items()))
    parser.add_argument("--images", type=Path, default=FASHION, help="gzipped IDX file of the training images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, help="use only the first rows (smoke test)")
    args = parser.parse_args()
    if args.arm not in ARMS[args.what]:
        parser.error(f"--arm: {args.arm} is not an arm of {args.what}; one of {', '.join(ARMS[args.what])}")
    present = [name for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE") if name in os.environ]
    if present:
        parser.error(f"{', '.join(present)} set in the environment slows NumPy and flatters us; run under env -u")
    return args


if __name__ == "__main__":
    main()
