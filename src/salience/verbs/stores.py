"""What verbs on a store have in common: opening it, what it shows of its items, labels as numbers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from salience.progress import progress_bar
from salience.store import Store, open_store
from salience.verbs.pictures import Strip

if TYPE_CHECKING:
    from torch import Tensor

TILE = 112  # pixels a side of a picture with a label below it
LABEL = 11  # letters of a label that have room there
BLOCK = 4096  # rows that are compared at once
LEAST = 1e-12  # of a vector's length, to divide by


def as_store(store: Store | Path | str) -> Store:
    """Opened where it is a path."""
    return open_store(store) if isinstance(store, str | Path) else store


def about_store(store: Store, **used: Any) -> dict[str, Any]:
    """What was used, for the report."""
    return {"method": store.about["method"], "store": store.uri, "on": store.name, "items": len(store)} | used


def unit_blocks(store: Store, what: str, progress: bool, size: int = BLOCK) -> Iterator[tuple[int, Tensor]]:
    """All vectors brought to length 1, in order, with the row each block begins at and a bar.  [<= size d]"""
    first = 0
    with progress_bar(len(store), what, progress) as bar:
        for block in store.blocks(size):
            yield first, unit(block)
            first += len(block)
            bar.update(len(block))


def unit(x: np.ndarray) -> Tensor:
    """[n d] -> [n d] of length 1, zeros where there is no direction."""
    import torch  # here: finding the items of a store needs none

    copy = torch.from_numpy(np.array(x, np.float32))  # what a table gives is not ours to write to
    return copy.div_(copy.norm(dim=1, keepdim=True).clamp_min(LEAST))


def sample_rows(store: Store, most: int, seed: int = 0) -> np.ndarray:
    """Rows drawn at random, ascending; all of them where there are not more than `most`.  [m]"""
    if len(store) <= most:
        return np.arange(len(store))
    return np.sort(np.random.default_rng(seed).choice(len(store), most, replace=False))


def labels_of(store: Store) -> tuple[np.ndarray, list[str]]:
    """[n] int64, -1 where an item has no label; and the names of the labels."""
    if "label" not in store.columns:
        return np.full(len(store), -1), []
    values = store.column("label")
    names = sorted({str(value) for value in values if value is not None})
    number = {name: at for at, name in enumerate(names)}
    return np.array([-1 if value is None else number[str(value)] for value in values], np.int64), names


def thumbnails(store: Store, rows: Sequence[int] | np.ndarray) -> np.ndarray | None:
    """[m 3 h w] on the unit scale, white where an item has none; None where no item has a picture."""
    files = store.thumbnails(rows)
    images = [None if file is None else Image.open(io.BytesIO(file)).convert("RGB") for file in files]
    size = next((image.size for image in images if image is not None), None)
    if size is None:
        return None
    blank = Image.new("RGB", size, "white")
    return np.stack([as_array(image or blank, size) for image in images])


def as_array(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """[3 h w] on the unit scale."""
    fitting = image if image.size == size else image.resize(size)
    return np.asarray(fitting, np.float32).transpose(2, 0, 1) / 255


def strips(name: str, x: np.ndarray, captions: Sequence[str], across: int = 10) -> list[Strip]:
    """Pictures in rows of `across`, the first one with the name, and more room above it."""
    parts = range(0, len(x), across)
    return [Strip(name * (at == 0), x[at : at + across], captions[at : at + across], apart=at == 0) for at in parts]


def caption(label: object, value: float) -> str:
    """Below a picture: what it is, and how far."""
    name = "" if label is None else str(label)
    short = name if len(name) <= LABEL else f"{name[: LABEL - 1]}…"
    return f"{short} {value:.3f}".strip() if value >= 0.01 else f"{short} {value:.1g}".strip()
