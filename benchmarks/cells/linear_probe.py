"""Compare Salience's linear probe with 100 epochs of SGD, the usual protocol, and with scikit-learn: time and accuracy.

    SALIENCE_DATA=FOLDER .venv/bin/python -m benchmarks.cells.linear_probe
    .venv/bin/python -m benchmarks.cells.linear_probe --data FOLDER --features pixels
    .venv/bin/python -m benchmarks.cells.linear_probe --data FOLDER --features conv --against scikit-learn

Features of CIFAR-10, 50,000 training and 10,000 test rows: `conv`, 512 mean responses of random 6x6 filters; `pca`, the
512 leading components of the pixels; `pixels`, all 3,072. Both arms use the same features and the same 5,000 validation
rows for selection, then train again on all rows. Salience selects its penalty and standardisation, SGD its learning
rate and standardisation. SGD is as in MoCo and later work: batch size 256, momentum 0.9, no weight decay, cosine
schedule to zero. Here the rows are in memory, and a batch is one indexing operation. `one_run` is a single training
with a known learning rate. `with_loader` is the same with torch's DataLoader, the usual implementation (measured over
two epochs, times 50).

scikit-learn's arm is our own algorithm with another solver: LogisticRegression, L-BFGS, warm-started along the same
path of penalties on the same rows, on both scalings, with its default tolerance and 100 iterations. `cpu` is the
processor's seconds, which say more than the clock's where the machine is shared. The arms take turns; medians count.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.harness.images import cifar10
from benchmarks.harness.report import SUMMARY, emit, versions
from salience.evaluation.linear_probe import FINE, PATIENCE, PENALTIES, SAMPLE, evenly_spaced, fit_probe

EPOCHS, BATCH = 100, 256
RATES = (0.01, 0.1, 1.0)
VALIDATION = 5_000
CLASSES = 10


def pixels(images: np.ndarray) -> Tensor:
    """uint8 [n 32 32 3] -> [n 3072] in [0, 1]"""
    return torch.from_numpy(images).permute(0, 3, 1, 2).flatten(1).float() / 255


def conv(images: np.ndarray) -> Tensor:
    """Mean positive and negative response of 256 random filters of zero mean.  -> [n 512]"""
    filters = torch.randn(256, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    filters -= filters.mean((1, 2, 3), keepdim=True)
    parts = []
    for chunk in pixels(images).view(-1, 3, 32, 32).split(1000):
        response = F.conv2d(chunk, filters, stride=2)
        parts.append(torch.cat([response.relu(), (-response).relu()], 1).mean((2, 3)))
    return torch.cat(parts)


def principal(train: Tensor, test: Tensor, dim: int = 512) -> tuple[Tensor, Tensor]:
    mean = train.mean(0)
    directions = torch.linalg.eigh((train - mean).T @ (train - mean)).eigenvectors[:, -dim:]
    return (train - mean) @ directions, (test - mean) @ directions


def make_features(name: str, folder: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """-> train [n d], labels [n], test [m d], labels [m]"""
    (images, labels), (held, truth) = cifar10(folder, "train"), cifar10(folder, "test")
    form = conv if name == "conv" else pixels
    train, test = form(images), form(held)
    if name == "pca":
        train, test = principal(train, test)
    return train, torch.from_numpy(labels), test, torch.from_numpy(truth)


def accuracy(scores: Tensor, truth: Tensor) -> float:
    """scores: [n c]"""
    return float((scores.argmax(1) == truth).double().mean())


def train_sgd(x: Tensor, y: Tensor, rate: float, batches: Callable[[], Any], epochs: int = EPOCHS) -> torch.nn.Linear:
    """batches: yields (x [b d], y [b]) of one epoch"""
    torch.manual_seed(0)
    linear = torch.nn.Linear(x.shape[1], CLASSES)
    optimiser = torch.optim.SGD(linear.parameters(), rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS * -(-len(x) // BATCH))
    for _ in range(epochs):
        for rows, labels in batches():
            optimiser.zero_grad(set_to_none=True)
            F.cross_entropy(linear(rows), labels).backward()
            optimiser.step()
            schedule.step()
    return linear


def in_memory(x: Tensor, y: Tensor) -> Callable[[], Any]:
    def epoch() -> Any:
        return ((x[rows], y[rows]) for rows in torch.randperm(len(x)).split(BATCH))

    return epoch


def scaled(train: Tensor, test: Tensor, standardise: bool) -> tuple[Tensor, Tensor]:
    """Centred, and the mean variance, or every variance, brought to 1."""
    variance, mean = torch.var_mean(train, 0)
    scale = variance.clamp(min=1e-6 * float(variance.mean())).sqrt() if standardise else variance.mean().sqrt()
    return (train - mean) / scale, (test - mean) / scale


@torch.no_grad()
def judge(linear: torch.nn.Linear, x: Tensor, y: Tensor) -> float:
    return accuracy(linear(x), y)


def protocol(x: Tensor, y: Tensor, test: Tensor, truth: Tensor, validation: Tensor) -> dict[str, float]:
    """Every learning rate on both scalings, then the best on all rows."""
    start = time.perf_counter()
    tried = []
    for standardise in (False, True):
        z, _ = scaled(x, test, standardise)
        fitting, judging, labels = z[~validation], z[validation], y[~validation]
        for rate in RATES:
            linear = train_sgd(fitting, labels, rate, in_memory(fitting, labels))
            tried.append((judge(linear, judging, y[validation]), rate, standardise))
    _, rate, standardise = max(tried)
    z, held = scaled(x, test, standardise)
    one = time.perf_counter()
    linear = train_sgd(z, y, rate, in_memory(z, y))
    end = time.perf_counter()
    loader = DataLoader(TensorDataset(z, y), BATCH, shuffle=True)
    train_sgd(z, y, rate, lambda: loader, epochs=2)
    with_loader = (time.perf_counter() - end) * EPOCHS / 2
    return {
        "seconds": end - start,
        "one_run": end - one,
        "with_loader": with_loader,
        "accuracy": judge(linear, held, truth),
        "rate": rate,
        "standardised": standardise,
    }


def ours(x: Tensor, y: Tensor, test: Tensor, truth: Tensor, validation: Tensor, repeats: int) -> dict[str, float]:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        probe = fit_probe(x, y, CLASSES, validation)
        seconds.append(time.perf_counter() - start)
    found = {"accuracy": accuracy(probe.scores(test).T, truth), "penalty": probe.penalty}
    return {"seconds": float(np.median(seconds)), **found, "standardised": probe.standardised}


def warm_started(x: Tensor, y: Tensor, test: Tensor, truth: Tensor, validation: Tensor) -> dict[str, float]:
    """The path of `fit_probe` with scikit-learn's solver: on a sample, then on all rows around its best."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    warnings.simplefilter("ignore", ConvergenceWarning)

    rows = (~validation).nonzero()[:, 0]
    few, tried = evenly_spaced(rows, SAMPLE), []
    for standardise in (False, True):
        z = scaled(x, test, standardise)[0].numpy()
        model = LogisticRegression(warm_start=True)
        tried.append((*best_of(model, z, y, few, validation, PENALTIES), standardise, model))
    _, penalty, standardise, model = max(tried, key=lambda found: found[0])
    z, held = (part.numpy() for part in scaled(x, test, standardise))
    around = penalty * len(few) / len(rows)
    _, penalty = best_of(model, z, y, rows, validation, [around * step for step in FINE])
    final = penalty * len(rows) / len(x)
    model.set_params(C=1 / (final * len(x))).fit(z, y.numpy())
    found = float((model.predict(held) == truth.numpy()).mean())
    return {"accuracy": found, "penalty": final, "standardised": standardise}


def best_of(
    model: Any, z: np.ndarray, y: Tensor, rows: Tensor, validation: Tensor, penalties: Sequence[float]
) -> tuple[float, float]:
    """(accuracy on the validation rows, penalty) of the best; each fit starts where the last ended."""
    found: list[tuple[float, float]] = []
    for penalty in penalties:
        model.set_params(C=1 / (penalty * len(rows))).fit(z[rows], y[rows].numpy())
        found.append((float((model.predict(z[validation]) == y[validation].numpy()).mean()), penalty))
        if len(found) - 1 - found.index(max(found)) >= PATIENCE:
            break
    return max(found)


def timed(arm: Callable[[], dict[str, float]]) -> dict[str, float]:
    start, cpu = time.perf_counter(), time.process_time()
    found = arm()
    return found | {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}


def alternating(data: Sequence[Tensor], repeats: int) -> dict[str, Any]:
    """Our probe and scikit-learn's path by turns.  data: x, y, test, truth, validation"""
    runs = [(timed(lambda: ours(*data, repeats=1)), timed(lambda: warm_started(*data))) for _ in range(repeats)]
    found = {}
    for arm, results in zip(("probe", "scikit_learn"), zip(*runs, strict=True), strict=True):
        found[arm] = results[0] | {key: float(np.median([one[key] for one in results])) for key in ("seconds", "cpu")}
    ratios = {key: found["scikit_learn"][key] / found["probe"][key] for key in ("seconds", "cpu")}
    return found | {f"faster_than_{key}": ratio for key, ratio in ratios.items()}


def main() -> None:
    args = arguments()
    results: dict[str, Any] = {}
    for name in args.features:
        x, y, test, truth = make_features(name, args.data)
        validation = torch.zeros(len(x), dtype=torch.bool)
        validation[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:VALIDATION]] = True
        if args.against == "scikit-learn":
            results[name] = {"shape": list(x.shape), **alternating((x, y, test, truth, validation), args.repeats)}
            emit("features", name=name, **results[name])
            continue
        mine = ours(x, y, test, truth, validation, args.repeats)
        theirs = protocol(x, y, test, truth, validation)
        ratios = {f"faster_than_{key}": theirs[key] / mine["seconds"] for key in ("seconds", "one_run", "with_loader")}
        results[name] = {"shape": list(x.shape), "probe": mine, "sgd": theirs, **ratios}
        emit("features", name=name, **results[name])
    emit(
        SUMMARY, features=results, threads=torch.get_num_threads(), versions=versions("torch", "numpy", "scikit-learn")
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("SALIENCE_DATA")
    parser.add_argument("--data", type=Path, default=folder, required=folder is None, help="folder of CIFAR-10")
    parser.add_argument("--features", nargs="+", default=["conv", "pca", "pixels"], choices=["conv", "pca", "pixels"])
    parser.add_argument("--against", default="sgd", choices=["sgd", "scikit-learn"])
    parser.add_argument("--repeats", type=int, default=5, help="how often ours is timed; the median counts")
    return parser.parse_args()


if __name__ == "__main__":
    main()
