"""Train SimCLR on CIFAR-10 with `salience.fit`, for comparison with the arms of simclr_lightly.py.

    .venv/bin/python -m benchmarks.cells.simclr_ours --data FOLDER --net convnet --steps 95
    .venv/bin/python -m benchmarks.cells.simclr_ours --data FOLDER --net convnet --epochs 2 --seed 1
    .venv/bin/python -m benchmarks.cells.simclr_ours --data FOLDER --net resnet18 --steps 15 --skip 3 --window 3 --peak

Measures images/s end to end in windows of steps. With --epochs it measures the weighted kNN accuracy (k=20, temperature
0.1) on the test images after the last epoch. --peak also measures the machine's bf16 matrix product before and after,
and reports the share of it that training reaches; FLOPs are counted on meta tensors. With --steps the run is planned
for 20 epochs, so that `fit` decides as for a real run, and is stopped after the steps.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

import salience
from benchmarks.harness.report import SUMMARY, emit, versions
from benchmarks.harness.step_clock import Enough, StepClock, bf16_matmul_peak
from benchmarks.harness.weighted_knn import weighted_knn
from salience.methods.contract import Context
from salience.methods.contrastive.simclr import SimCLR, nt_xent
from salience.modalities.image.spec import ImageSpec

NETS = ("convnet", "resnet18", "vit_tiny_patch16_224")
PLANNED_EPOCHS = 20


def source(args: argparse.Namespace, split: str) -> Any:
    data = salience.open_data(str(args.data / f"cifar10-{split}.parquet"), progress=False)
    return data.subset(np.arange(min(args.rows, len(data)))) if args.rows else data


def train(args: argparse.Namespace, out: Path) -> tuple[StepClock, salience.Representation | None]:
    """The run through `fit`. No representation where it was stopped after --steps."""
    clock = StepClock(args.steps)
    try:
        representation = salience.fit(
            "simclr",
            source(args, "train"),
            out=out,
            encoder=args.net,
            epochs=PLANNED_EPOCHS if args.steps else args.epochs,
            batch_size=args.batch_size,
            learning_rate=2e-3,
            precision="32-true" if args.fp32 else "auto",
            seed=args.seed,
            progress=False,
            dim=128,
            temperature=0.2,
        )
    except Enough:
        return clock, None
    return clock, representation


def knn(representation: salience.Representation, args: argparse.Namespace) -> float:
    train, test = source(args, "train"), source(args, "test")
    bank, queries = (torch.from_numpy(np.asarray(representation.embed(data))) for data in (train, test))
    labels, truth = (torch.from_numpy(np.asarray(data.labels)) for data in (train, test))
    return weighted_knn(bank, labels, queries, truth)


def image_flops(net: str, batch_size: int) -> float:
    """FLOPs of one training step on both views (forward and backward), per image. A multiply-add is two."""
    spec = ImageSpec((3, 32, 32), "uint8", 0, 255, (0.5,) * 3, (0.25,) * 3)
    method = SimCLR.build(Context(spec, 50_000, net)).to("meta")
    views = [torch.empty(batch_size, 3, 32, 32, device="meta") for _ in range(2)]
    with FlopCounterMode(display=False) as counter:
        a, b = (method.projector(method.encoder(view)) for view in views)
        nt_xent(a, b, temperature=0.2).backward()
    return counter.get_total_flops() / batch_size


def main() -> None:
    args = arguments()
    sizes = (256,) if args.rows else (1024, 2048, 4096)
    peaks = [bf16_matmul_peak(sizes)] if args.peak else []
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        clock, representation = train(args, Path(folder) / "run")
        clock.close()
        accuracy = knn(representation, args) if representation else None
        config = yaml.safe_load((Path(folder) / "run" / "config.yaml").read_text())
    peaks += [bf16_matmul_peak(sizes)] if args.peak else []
    rates = clock.throughput(args.batch_size, skip=args.skip, window=args.window)
    rate = statistics.median(rates) if rates else None
    flops = image_flops(args.net, args.batch_size)
    emit(
        SUMMARY,
        images_per_second=rate,
        windows=rates,
        knn=accuracy,
        flops_per_image=flops,
        bf16_matmul_peak=peaks,
        share_of_peak=rate * flops / statistics.mean(peaks) if rate and peaks else None,
        decided={name: config[name] for name in ("precision", "compile", "threads", "views")},
        versions=versions("torch", "torchvision", "lightning", "numpy"),
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar10-train.parquet")
    parser.add_argument("--net", choices=NETS, default="convnet")
    parser.add_argument("--steps", type=int, help="time this many steps and stop, no kNN")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, help="use only the first rows (smoke test)")
    parser.add_argument("--skip", type=int, default=15, help="steps left out of the windows")
    parser.add_argument("--window", type=int, default=10, help="steps in one window")
    parser.add_argument("--fp32", action="store_true", help="no bf16, also where it is faster")
    parser.add_argument("--peak", action="store_true", help="measure the bf16 matrix product too")
    parser.add_argument("--scratch", type=Path, help="folder for the run, default the system's")
    return parser.parse_args()


if __name__ == "__main__":
    main()
