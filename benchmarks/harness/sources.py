"""The data of the leaderboard and of the doctor's benchmark, by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from salience.data import Dataset, open_data
from salience.modalities.image.colour import luma

NAMES = ("cifar10", "small-cifar10", "grey-cifar10", "fashion-mnist", "digits")
SMALL = 16  # pixels a side of the small and the grey ones


def open_split(name: str, split: str, folder: Path | None) -> Dataset:
    """split: "train" or "test";  folder: of CIFAR-10's files"""
    if not name.endswith("cifar10"):
        return open_data(f"{name}:{split}", progress=False)
    assert folder is not None
    resolution = None if name == "cifar10" else SMALL
    found = open_data(str(folder / f"cifar10-{split}.parquet"), resolution=resolution, progress=False)
    return without_colour(found) if name == "grey-cifar10" else found


def without_colour(data: Dataset) -> Dataset:
    x = torch.from_numpy(np.asarray(data.x)).float()
    return open_data(luma(x).round().byte().numpy(), labels=data.labels, progress=False)
