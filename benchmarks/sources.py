"""The data of the leaderboard and of the doctor's benchmark, by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from salience.data import Dataset, open_data

NAMES = ("cifar10", "fashion-mnist", "digits", "moved-fashion", "moved-digits")


def open_split(name: str, split: str, folder: Path | None) -> Dataset:
    """split: "train" or "test"; the moved ones are made from real images. folder: of CIFAR-10's files"""
    if name == "cifar10":
        assert folder is not None
        return open_data(str(folder / f"cifar10-{split}.parquet"), progress=False)
    base = name.removeprefix("moved-").replace("fashion-mnist", "fashion").replace("fashion", "fashion-mnist")
    whole = open_data(f"{base}:{split}", progress=False)
    return moved(whole, 14 if base == "fashion-mnist" else 8) if name.startswith("moved-") else whole


def moved(data: Dataset, side: int) -> Dataset:
    """Each image brought to `side` pixels and put somewhere on an empty canvas of twice the side: pixels alone no
    longer tell what it is, wherever it is."""
    images = torch.from_numpy(data.x.astype(np.float32))
    small = F.interpolate(images, size=(side, side), mode="area").round().byte().numpy()
    at = np.random.default_rng(0).integers(0, side + 1, (len(small), 2))
    canvas = np.zeros((len(small), small.shape[1], 2 * side, 2 * side), np.uint8)
    for place, image, (top, left) in zip(canvas, small, at, strict=True):
        place[:, top : top + side, left : left + side] = image
    return open_data(canvas, labels=data.labels, progress=False)
