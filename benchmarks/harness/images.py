"""CIFAR-10 and Fashion-MNIST as arrays, for both environments of the benchmarks.

Imports no salience, because the peers' environment uses it too.
"""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np

FASHION = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")


def cifar10(folder: Path, split: str, cache: Path = Path(".bench")) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10 decoded into memory, as torchvision's class holds it.  -> uint8 [n 32 32 3], int64 [n]"""
    prepared = cache / f"cifar10-{split}.npz"
    if not prepared.exists():
        prepared.parent.mkdir(parents=True, exist_ok=True)
        images, labels = _decode(folder / f"cifar10-{split}.parquet")
        np.savez(prepared, images=images, labels=labels)
    with np.load(prepared) as arrays:
        return arrays["images"], arrays["labels"]


def _decode(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import pyarrow.parquet as pq
    from PIL import Image

    table = pq.read_table(path)
    images = [np.asarray(Image.open(io.BytesIO(item["bytes"])).convert("RGB")) for item in table["image"].to_pylist()]
    return np.stack(images), np.asarray(table["label"], dtype=np.int64)


def fashion(path: Path, rows: int | None) -> np.ndarray:
    """IDX images.  -> uint8 [n 1 28 28]"""
    content = gzip.decompress(path.read_bytes())
    return np.frombuffer(content, np.uint8, offset=16).reshape(-1, 1, 28, 28)[:rows].copy()


def unit(images: np.ndarray) -> np.ndarray:
    """uint8 [n ...] -> float32 [n w] in [0, 1]"""
    return np.divide(images.reshape(len(images), -1), np.float32(255), dtype=np.float32)
