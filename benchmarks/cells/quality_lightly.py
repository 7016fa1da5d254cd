"""Train SimCLR, BYOL or VICReg on CIFAR-10 with lightly 1.6's transforms, heads, losses and schedules, and evaluate it.

    .bench/venv/bin/python -m benchmarks.cells.quality_lightly byol --data FOLDER --learning-rate 2e-3 --seed 1
    .bench/venv/bin/python -m benchmarks.cells.quality_lightly byol --data FOLDER --kind trial --option momentum=0.97

Runs in the peers' environment, without salience. pretrain.py is the counterpart of Salience and has the same
arguments. Both use the same small network, rows, batch size, epochs, AdamW with a learning rate that rises and falls,
and tuning. The widths of heads follow Salience's defaults for an encoder of width 256. bf16 (without --fp32) and
channels_last are on, as in Salience. A trial trains on 25,000 rows and evaluates weighted kNN on 5,000 others; `final`
trains on 50,000 rows and evaluates on the test rows.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np
import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss, VICRegLoss
from lightly.models.modules.heads import (
    BYOLPredictionHead,
    BYOLProjectionHead,
    SimCLRProjectionHead,
    VICRegProjectionHead,
)
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms import SimCLRTransform
from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform
from lightly.transforms.utils import IMAGENET_NORMALIZE
from lightly.transforms.vicreg_transform import VICRegTransform
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.cells.simclr_lightly import Cifar, convnet
from benchmarks.harness.images import cifar10
from benchmarks.harness.report import SUMMARY, emit, versions
from benchmarks.harness.weighted_knn import weighted_knn

BANK, VALIDATION = 15_000, 5_000


class SimCLR(nn.Module):
    transform = staticmethod(lambda: SimCLRTransform(input_size=32, gaussian_blur=0.0))

    def __init__(self, temperature: float = 0.5) -> None:
        super().__init__()
        self.backbone = convnet()
        self.head = SimCLRProjectionHead(256, 256, 128)
        self.criterion = NTXentLoss(temperature=temperature)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.criterion(*(self.head(self.backbone(x)).float() for x in (a, b)))

    def after_step(self, step: int, total: int) -> None:
        pass


class BYOL(nn.Module):
    transform = staticmethod(
        lambda: BYOLTransform(
            BYOLView1Transform(input_size=32, gaussian_blur=0.0), BYOLView2Transform(input_size=32, gaussian_blur=0.0)
        )
    )

    def __init__(self, momentum: float = 0.996) -> None:
        super().__init__()
        self.momentum = momentum
        self.backbone, self.head = convnet(), BYOLProjectionHead(256, 512, 256)
        self.predictor = BYOLPredictionHead(256, 512, 256)
        self.teacher, self.teacher_head = copy.deepcopy(self.backbone), copy.deepcopy(self.head)
        deactivate_requires_grad(self.teacher)
        deactivate_requires_grad(self.teacher_head)
        self.criterion = NegativeCosineSimilarity()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        predicted = [self.predictor(self.head(self.backbone(x))).float() for x in (a, b)]
        with torch.no_grad():
            target = [self.teacher_head(self.teacher(x)).float() for x in (a, b)]
        return 0.5 * (self.criterion(predicted[0], target[1]) + self.criterion(predicted[1], target[0]))

    def after_step(self, step: int, total: int) -> None:
        momentum = cosine_schedule(step, total, self.momentum, 1)
        update_momentum(self.backbone, self.teacher, m=momentum)
        update_momentum(self.head, self.teacher_head, m=momentum)


class VICReg(nn.Module):
    transform = staticmethod(lambda: VICRegTransform(input_size=32, gaussian_blur=0.0))

    def __init__(self, covariance: float = 1.0) -> None:
        super().__init__()
        self.backbone, self.head = convnet(), VICRegProjectionHead(256, 1024, 1024, num_layers=3)
        self.criterion = VICRegLoss(nu_param=covariance)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.criterion(*(self.head(self.backbone(x)).float() for x in (a, b)))

    def after_step(self, step: int, total: int) -> None:
        pass


METHODS = {"simclr": SimCLR, "byol": BYOL, "vicreg": VICReg}


def train(method: nn.Module, images: np.ndarray, labels: np.ndarray, args: argparse.Namespace) -> None:
    data = Cifar(images, labels, method.transform())
    loader = DataLoader(data, args.batch_size, shuffle=True, drop_last=True, num_workers=args.workers)
    method.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(method.parameters(), lr=args.learning_rate, fused=True)
    epochs = max(1, round(args.images / len(data)))
    total = epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.learning_rate, total_steps=total + 1)
    step = 0
    for _ in range(epochs):
        for (a, b), _ in loader:
            views = (x.to(memory_format=torch.channels_last) for x in (a, b))
            with torch.autocast("cpu", torch.bfloat16, enabled=not args.fp32):
                loss = method(*views)
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            method.after_step(step, total)
            schedule.step()
            step += 1


@torch.no_grad()
def embed(method: nn.Module, images: np.ndarray) -> Tensor:
    """uint8 [n 32 32 3] -> [n d], in fp32"""
    method.eval()
    mean, std = (torch.tensor(IMAGENET_NORMALIZE[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    chunks = torch.from_numpy(images).permute(0, 3, 1, 2).split(500)
    return torch.cat([method.backbone((chunk / 255 - mean) / std) for chunk in chunks])


def main() -> None:
    args = arguments()
    torch.manual_seed(args.seed)
    images, labels = cifar10(args.data, "train")
    if args.kind == "trial":  # the rows that pretrain.py takes
        order = np.random.default_rng(0).permutation(len(images))
        half, held = order[: len(order) // 2], order[len(order) // 2 :][:VALIDATION]
        test, truth = images[held], labels[held]
        images, labels = images[half], labels[half]
    else:
        test, truth = cifar10(args.data, "test")
    if args.rows:
        images, labels, test, truth = (array[: args.rows] for array in (images, labels, test, truth))
    method = METHODS[args.method](**{name: float(value) for name, value in (pair.split("=") for pair in args.option)})
    train(method, images, labels, args)
    bank = slice(BANK if args.kind == "trial" else None)
    known, unseen = embed(method, images[bank]), embed(method, test)
    accuracy = weighted_knn(known, torch.from_numpy(labels[bank]), unseen, torch.from_numpy(truth))
    emit(
        SUMMARY,
        knn=accuracy,
        diverged=not bool(known.isfinite().all()),
        versions=versions("lightly", "torch", "torchvision", "numpy"),
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=tuple(METHODS))
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar10-train.parquet")
    parser.add_argument("--kind", choices=("final", "trial"), default="final")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--images", type=int, default=100_000, help="seen in training")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=NUMBER")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=0, help="a cell has one core")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fp32", action="store_true", help="no bf16")
    parser.add_argument("--rows", type=int, help="use only the first rows (smoke test)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
