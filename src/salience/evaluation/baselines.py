"""What every representation has to beat: the raw input, its principal components, and its own encoder untrained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch import Tensor

from salience.batch import Progress
from salience.data import Dataset
from salience.views import make_views

Embed = Callable[[Dataset], np.ndarray]  # n items -> [n d]

FIT_PCA_ON = 10_000
MOST_VIEWED = 1_000  # rows whose two views give the alignment


def raw(data: Dataset) -> np.ndarray:
    """The raw features of each item, as its kind of data has them: pixels, standardised columns.  -> [n d] float32"""
    modality = data.spec.modality
    features = np.empty((len(data), 0), np.float32)
    for batch in data.equal_length_chunks(2048):
        part = modality.raw_features(batch.x, data.spec, batch.mask).numpy()
        if not features.shape[1]:
            features = np.empty((len(data), part.shape[1]), np.float32)
        features[batch.index.numpy()] = part
    return features


def around_mean(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Raw input around the mean of its training rows, before cosines are taken of it.

    That mean is large and says nothing: on a white ground all cosines are nearly one.  [n d], [m d], ... -> the same
    """
    origin = train.mean(0)
    return tuple(rows - origin for rows in (train, *others))


def principal_components(train: np.ndarray, dim: int) -> Callable[[np.ndarray], np.ndarray]:
    """The projection on the leading components of the training rows' raw input.  train: [n d] -> ([m d] -> [m k])"""
    from sklearn.decomposition import PCA

    rows = train[np.linspace(0, len(train) - 1, min(len(train), FIT_PCA_ON)).astype(int)]
    with np.errstate(divide="ignore", invalid="ignore"):  # rows that are all the same explain 0 of 0; nobody asks
        pca = PCA(min(dim, *rows.shape), random_state=0).fit(rows)
    return pca.transform


def two_views(data: Dataset, policy: str | None) -> tuple[Dataset, Dataset] | None:
    """Two random views of each item, as a dataset each, stored as the data is; None where views cannot be put back
    from the unit scale."""
    modality = data.spec.modality
    if modality.restored(modality.blank(data.spec), data.spec) is None:
        return None
    views = make_views(policy, data.spec)
    batch = data.batch(np.arange(len(data)))
    drawn = views(batch, Progress(seed=0))["global"]
    restored = [modality.restored(view.x, data.spec) for view in drawn]
    first, second = (replace(data, stored=stored, rows=None) for stored in restored if stored is not None)
    return first, second
