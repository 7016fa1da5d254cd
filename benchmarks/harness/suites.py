"""Define the cells of `make bench`: one process each, in order. The arms of a suite alternate in every round.

Every suite has two sizes: the real one, and a smoke test of seconds on one thread, which only tests that the cell runs.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks.harness import peers
from benchmarks.harness.cell import Cell, script
from salience.training.machine import fast_bf16

OUR_CLASSICAL = ("salience", "fit")  # the other arms are scikit-learn's solvers
PEER_ARMS = ("lightly-documented", "lightly-our-flags")
JOINT_EMBEDDING = ("simclr", "moco", "byol", "simsiam", "swav", "barlowtwins", "vicreg", "dino", "cmc", "supcon")
SMOKE_NETWORK = ("--rows", "256", "--batch-size", "32", "--skip", "2", "--window", "2")


def simclr(arm: str, data: Path, *arguments: object) -> tuple[str, ...]:
    """The command of one SimCLR arm. Where a processor is no faster in bf16, ours does without, and so does lightly."""
    if arm == "ours":
        return script("simclr_ours", "--data", data, *arguments)
    flags = "documented" if arm == PEER_ARMS[0] else "ours"
    if "--fp32" not in arguments and not fast_bf16("cpu"):
        arguments += ("--fp32",)
    return script("simclr_lightly", "--data", data, "--flags", flags, *arguments, python=peers.PYTHON)


def throughput(data: Path, smoke: bool) -> list[Cell]:
    """Images/s end to end, small net: three rounds of eight windows of ten steps; the same without bf16."""
    extra = ("--steps", 8, *SMOKE_NETWORK) if smoke else ("--steps", 100)
    return [
        Cell(suite, arm, i, simclr(arm, data, *extra, *flags), peer=arm != "ours")
        for suite, flags in (("throughput-convnet", ()), ("throughput-fp32", ("--fp32",)))
        for i in range(1 if smoke else 3)
        for arm in ("ours", *PEER_ARMS)
    ]


def throughput_large(data: Path, smoke: bool) -> list[Cell]:
    """Images/s of ResNet-18, with the share of the bf16 matrix-product peak, and of ViT-tiny."""
    small = (*SMOKE_NETWORK, "--steps", 4, "--batch-size", 8, "--skip", 1, "--window", 1)
    extra = small if smoke else ("--steps", 12, "--skip", 4, "--window", 2)
    return [
        Cell(
            suite, arm, i, simclr(arm, data, "--net", net, *extra, *(["--peak"] if peak and arm == "ours" else [])),
            peer=arm != "ours",
        )
        for suite, net, peak in (
            ("throughput-resnet18", "resnet18", True),
            ("throughput-vit", "vit_tiny_patch16_224", False),
        )
        for i in range(1 if smoke else 3)
        for arm in ("ours", *PEER_ARMS)
    ]  # fmt: skip


def methods(data: Path, smoke: bool) -> list[Cell]:
    """Images/s and FLOPs of each joint-embedding method, small net."""
    extra = ("--steps", 8, *SMOKE_NETWORK) if smoke else ("--steps", 55)
    return [
        Cell("methods-convnet", method, i, script("method_speed", method, "--data", data, *extra))
        for i in range(1 if smoke else 5)
        for method in JOINT_EMBEDDING
    ]


def knn(data: Path, smoke: bool) -> list[Cell]:
    """Weighted kNN accuracy after one epoch of half the images, three seeds."""
    extra = ("--epochs", 1, *SMOKE_NETWORK) if smoke else ("--epochs", 1, "--rows", 25_000)
    return [
        Cell("knn-convnet", arm, seed, simclr(arm, data, *extra, "--seed", seed), peer=arm != "ours")
        for seed in range(1 if smoke else 3)
        for arm in ("ours", PEER_ARMS[0])
    ]


def breakdown(data: Path, smoke: bool) -> list[Cell]:
    """Where a step's time goes: data, views, network, and the trainer around it."""
    extra = ("--rows", 256, "--batch-size", 32, "--steps", 9, "--skip", 2, "--block", 2) if smoke else ()
    return [
        Cell("breakdown-convnet", "ours", i, script("simclr_breakdown", "--data", data, *extra))
        for i in range(1 if smoke else 3)
    ]


def classical(what: str, arms: tuple[str, ...], smoke: bool) -> list[Cell]:
    """Seconds to fit Fashion-MNIST; the round is the seed."""
    extra = ("--rows", 2000) if smoke else ()
    return [
        Cell(what, arm, i, script("classical", what, "--arm", arm, "--seed", i, *extra), peer=arm not in OUR_CLASSICAL)
        for i in range(1 if smoke else 3)
        for arm in arms
    ]


def vae(smoke: bool) -> list[Cell]:
    """Images/s of training a VAE on Fashion-MNIST, batch 128, against pythae with the same nets."""
    short = ("--steps", 12, "--skip", 4, "--window", 4)
    conv = ("--net", "conv", *(short if smoke else ("--steps", 180, "--skip", 60, "--window", 20)))
    suites = {  # with their rounds; the shorter, the more the machine's mood decides
        "vae-dense": (7, ("--net", "dense", *(short if smoke else ("--steps", 900)))),
        "vae-conv": (5, conv),
        "vae-conv-fp32": (3, conv),
        "vae-large": (3, ("--net", "large", *(short if smoke else ("--steps", 60, "--skip", 10, "--window", 10)))),
    }
    return [
        Cell(suite, arm, i, script(name, *extra, *flags, python=python), peer=arm == "pythae")
        for suite, (rounds, extra) in suites.items()
        for i in range(1 if smoke else rounds)
        for arm, python, name, flags in (
            ("salience", sys.executable, "vae_ours", ("--fp32",) if suite.endswith("fp32") else ()),
            ("pythae", str(peers.PYTHON), "vae_pythae", ()),  # has no other arithmetic
        )
    ]


def boltzmann(smoke: bool) -> list[Cell]:
    """Rows/s of an RBM on Fashion-MNIST against scikit-learn's, small and large batches."""
    sizes = {256: ("--epochs", 10), 10: ("--epochs", 2)}
    small = ("--epochs", 1, "--rows", 2000)
    rate = {10: ("--learning-rate", 0.01)}  # ours falls with the square root of the batch, too much for an RBM
    return [
        Cell(
            f"boltzmann-{batch}",
            arm,
            i,
            script(
                "boltzmann", "--arm", arm, "--batch-size", batch, "--seed", i, *(small if smoke else extra),
                *(rate.get(batch, ()) if arm == "salience" else ()),
            ),
            peer=arm == "scikit-learn",
        )
        for batch, extra in sizes.items()
        for i in range(1 if smoke else 3)
        for arm in ("salience", "scikit-learn")
    ]  # fmt: skip


def thousand_labels(smoke: bool) -> list[Cell]:
    """Accuracy on Fashion-MNIST with 1,000 labels; the round is the seed. It has no small size."""
    return [
        Cell("thousand-labels", arm, seed, script("thousand_labels", "--arm", arm, "--seed", seed), timed=False)
        for seed in range(0 if smoke else 10)
        for arm in ("raw", "rbm", "dbn")
    ]


def memory(smoke: bool) -> list[Cell]:
    """RssAnon of training on 10,000 and on 1,000,000 images."""
    sizes, steps = ((1_000, 2_000), 3) if smoke else ((10_000, 1_000_000), 12)
    return [
        Cell("memory", f"{rows} images", i, script("memory", "--rows", rows, "--steps", steps))
        for i in range(1)
        for rows in sizes
    ]


def store(smoke: bool) -> list[Cell]:
    """An index over a million embeddings against exact search, and the memory of searching."""
    rows, extra = (2_000, ("--queries", 10)) if smoke else (1_000_000, ())
    return [Cell("store", f"{rows} rows", i, script("store_search", "--rows", rows, *extra)) for i in range(1)]


def explorer(smoke: bool) -> list[Cell]:
    """The server under eight clients, and the map in a browser, where there is one."""
    load = script("explorer_load", "--seconds", 3 if smoke else 60)
    cells = [Cell("explorer", "load", 0, load)]
    if shutil.which("chromium") or shutil.which("google-chrome"):
        small = ("--rows", 20_000, "--times", 1) if smoke else ()
        cells.append(Cell("explorer", "map", 0, script("explorer_draw", *small)))
    return cells


def linear_probe(data: Path, smoke: bool) -> list[Cell]:
    """Our linear probe against SGD and scikit-learn, on 512 random-filter features; it has no small size."""
    if smoke:
        return []
    command = ("linear_probe", "--data", data, "--features", "conv")
    return [
        Cell("linear-probe", "ours", 0, script(*command)),
        Cell(
            "linear-probe", "scikit-learn", 0, script(*command, "--against", "scikit-learn", "--repeats", 3), peer=True
        ),
    ]


def all_cells(data: Path | None, smoke: bool) -> list[Cell]:
    """Every cell that this machine has the data for, in order: the interleaved comparisons first."""
    cells: list[Cell] = []
    if data is not None:
        cells += throughput(data, smoke) + throughput_large(data, smoke) + breakdown(data, smoke)
        cells += methods(data, smoke)
    cells += classical("pca", ("salience", "fit", "covariance_eigh", "randomized", "full"), smoke)
    cells += classical("kmeans", ("salience", "fit", "lloyd", "elkan"), smoke)
    with_data = ("--data", data) if data else ()
    cells.append(Cell("startup", "ours", 0, script("startup", *with_data, "--repeats", 1 if smoke else 11)))
    cells.append(Cell("startup-verbs", "ours", 0, script("startup_verbs", "--repeats", 1 if smoke else 5)))
    cells += memory(smoke) + store(smoke) + explorer(smoke) + vae(smoke) + boltzmann(smoke) + thousand_labels(smoke)
    if data is not None:
        cells += linear_probe(data, smoke) + knn(data, smoke)
    return cells
