"""What every representation has to beat: the raw input, its principal components, and its own encoder untrained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from salience.batch import Progress, Spec
from salience.data import Dataset
from salience.views import make_views
from salience.views.unit import unit_images, unit_table

Embed = Callable[[Dataset], np.ndarray]  # n items -> [n d]

LARGEST_RAW = 32  # pixels a side; raw pixels of larger images are their averages over as many patches
FIT_PCA_ON = 10_000
MOST_VIEWED = 1_000  # rows whose two views give the alignment


def raw(data: Dataset) -> np.ndarray:
    """Pixels on [0, 1]; of a table, numbers standardised and imputed, categories one-hot.  -> [n d] float32"""
    parts = [_raw_batch(batch.x, data.spec).flatten(1).numpy() for batch in data.chunks(2048)]
    return np.concatenate(parts)


def around_mean(train: torch.Tensor, *others: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Raw input around the mean of its training rows, before cosines are taken of it.

    That mean is large and says nothing: on a white ground all cosines are nearly one.  [n d], [m d], ... -> the same
    """
    origin = train.mean(0)
    return tuple(rows - origin for rows in (train, *others))


def _raw_batch(x: torch.Tensor, spec: Spec) -> torch.Tensor:
    if spec.modality != "image":
        return unit_table(x, spec)
    images = unit_images(x, spec)
    return F.adaptive_avg_pool2d(images, LARGEST_RAW) if spec.resolution > LARGEST_RAW else images


def principal_components(train: np.ndarray, dim: int) -> Callable[[np.ndarray], np.ndarray]:
    """The projection on the leading components of the training rows' raw input.  train: [n d] -> ([m d] -> [m k])"""
    from sklearn.decomposition import PCA

    rows = train[np.linspace(0, len(train) - 1, min(len(train), FIT_PCA_ON)).astype(int)]
    with np.errstate(divide="ignore", invalid="ignore"):  # rows that are all the same explain 0 of 0; nobody asks
        pca = PCA(min(dim, *rows.shape), random_state=0).fit(rows)
    return pca.transform


def two_views(data: Dataset, policy: str | None) -> tuple[Dataset, Dataset] | None:
    """Two random views of each item, as a dataset each, stored as the data is; None for tables, which cannot be put
    back from the unit scale."""
    if data.spec.modality != "image":
        return None
    views = make_views(policy, data.spec)
    batch = data.batch(np.arange(len(data)))
    drawn = views(batch, Progress(seed=0))["global"]
    first, second = (replace(data, stored=_as_stored(view.x, data.spec), rows=None) for view in drawn)
    return first, second


def _as_stored(x: torch.Tensor, spec: Spec) -> np.ndarray:
    """Unit scale -> as stored.  [n c h w]"""
    values = (x * (spec.high - spec.low) + spec.low).numpy()
    if np.issubdtype(spec.dtype, np.integer):
        limits = np.iinfo(spec.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(spec.dtype)
