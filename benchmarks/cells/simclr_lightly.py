"""Train SimCLR on CIFAR-10 as lightly 1.6's documentation describes. Runs in the peers' environment, without salience.

    .bench/venv/bin/python -m benchmarks.cells.simclr_lightly --data FOLDER --net convnet --flags documented --steps 95
    .bench/venv/bin/python -m benchmarks.cells.simclr_lightly --data FOLDER --net convnet --flags ours --epochs 2

Measures images/s end to end (loader, views, network, optimiser) in windows of steps. With --epochs it measures the
weighted kNN accuracy (k=20, temperature 0.1) on the test images after each epoch. There are two arms. `documented` is
fp32, as in lightly's example. `ours` adds the flags that Salience selects: bf16 autocast (without --fp32),
channels_last, fused AdamW. From lightly: SimCLRTransform(input_size=32, gaussian_blur=0), SimCLRProjectionHead,
NTXentLoss, the loop of examples/pytorch/simclr.py with a DataLoader of 2 workers. Optimiser, temperature and networks
are those of Salience, so that they are equal.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
import timm
import torch
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from lightly.transforms.utils import IMAGENET_NORMALIZE
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet18

from benchmarks.harness.images import cifar10
from benchmarks.harness.report import SUMMARY, emit, versions
from benchmarks.harness.step_clock import Enough, StepClock
from benchmarks.harness.weighted_knn import weighted_knn


class Cifar(Dataset):
    """torchvision's CIFAR10: arrays in memory, a PIL image made for each access."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: SimCLRTransform) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[list[Tensor], int]:
        return self.transform(Image.fromarray(self.images[row])), int(self.labels[row])


def convnet() -> nn.Module:
    """The small net: 3x3 convolutions with batch norm and ReLU, then the global mean.  [n 3 32 32] -> [n 256]"""
    layers: list[nn.Module] = []
    for before, after, stride in ((3, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2)):
        convolution = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def small_resnet18() -> nn.Module:
    """ResNet-18 with the 3x3 stem for small images, no max-pool.  [n 3 32 32] -> [n 512]"""
    net = resnet18()
    net.conv1 = nn.Conv2d(3, 64, 3, 1, padding=1, bias=False)
    net.maxpool, net.fc = nn.Identity(), nn.Identity()
    return net


def vit() -> nn.Module:
    """timm's ViT-tiny in patches of 4x4, as ours cuts small images.  [n 3 32 32] -> [n 192]"""
    return timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, patch_size=4)


NETS = {"convnet": (convnet, 256), "resnet18": (small_resnet18, 512), "vit_tiny_patch16_224": (vit, 192)}


class SimCLR(nn.Module):
    """As in lightly's example: backbone and projection head."""

    def __init__(self, name: str) -> None:
        super().__init__()
        make, dim = NETS[name]
        self.backbone = make()
        self.projection_head = SimCLRProjectionHead(dim, dim, 128)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection_head(self.backbone(x))


class Training:
    """One run: the model in its arm's flags, the optimiser with its one-cycle schedule, the loader."""

    def __init__(self, args: argparse.Namespace, images: np.ndarray, labels: np.ndarray) -> None:
        self.fast = args.flags == "ours"
        self.half = self.fast and not args.fp32
        self.model = SimCLR(args.net)
        if self.fast:
            self.model = self.model.to(memory_format=torch.channels_last)
        transform = SimCLRTransform(input_size=32, gaussian_blur=0.0)
        self.loader = DataLoader(
            Cifar(images, labels, transform), args.batch_size, shuffle=True, drop_last=True, num_workers=args.workers
        )
        self.criterion = NTXentLoss(temperature=0.2)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=2e-3, fused=self.fast or None)
        total = max(args.epochs, 20 if args.steps else 1) * len(self.loader)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, 2e-3, total_steps=total + 1)

    def project(self, x: Tensor) -> Tensor:
        if self.fast:
            x = x.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            return self.model(x).float()

    def epoch(self) -> float:
        """Train one pass.  -> the mean loss"""
        self.model.train()
        total = torch.zeros(())
        for (x0, x1), _ in self.loader:
            loss = self.criterion(self.project(x0), self.project(x1))
            total += loss.detach()
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.schedule.step()
        return float(total) / len(self.loader)

    @torch.no_grad()
    def embed(self, images: np.ndarray) -> Tensor:
        """uint8 [n 32 32 3] -> [n d], in fp32"""
        self.model.eval()
        mean, std = (torch.tensor(IMAGENET_NORMALIZE[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        chunks = torch.from_numpy(images).permute(0, 3, 1, 2).split(500)
        return torch.cat([self.model.backbone((chunk / 255 - mean) / std) for chunk in chunks])


def main() -> None:
    args = arguments()
    torch.manual_seed(args.seed)
    images, labels = (array[: args.rows] for array in cifar10(args.data, "train"))
    test, truth = (array[: args.rows] for array in cifar10(args.data, "test"))
    training = Training(args, images, labels)
    clock, accuracies = StepClock(args.steps), []
    try:
        for epoch in range(1, 1_000_000 if args.steps else args.epochs + 1):
            loss = training.epoch()
            clock.mark()
            if not args.steps:
                bank, queries = training.embed(images), training.embed(test)
                accuracies.append(weighted_knn(bank, torch.from_numpy(labels), queries, torch.from_numpy(truth)))
                emit("epoch", epoch=epoch, loss=loss, knn=accuracies[-1])
    except Enough:
        pass
    rates = clock.throughput(args.batch_size, skip=args.skip, window=args.window)
    emit(
        SUMMARY,
        images_per_second=statistics.median(rates) if rates else None,
        windows=rates,
        knn=accuracies,
        threads=torch.get_num_threads(),
        parameters=sum(p.numel() for p in training.model.parameters()),
        versions=versions("lightly", "torch", "torchvision", "numpy"),
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar10-train.parquet")
    parser.add_argument("--net", choices=NETS, default="convnet")
    parser.add_argument("--flags", choices=("documented", "ours"), default="documented")
    parser.add_argument("--fp32", action="store_true", help="no bf16 among our flags")
    parser.add_argument("--steps", type=int, help="time this many steps and stop, no kNN")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, help="use only the first rows (smoke test)")
    parser.add_argument("--skip", type=int, default=15, help="steps left out of the windows")
    parser.add_argument("--window", type=int, default=10, help="steps in one window")
    return parser.parse_args()


if __name__ == "__main__":
    main()
