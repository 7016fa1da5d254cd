"""The raw features of items, as every representation is compared with them."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from salience.data import Dataset


def raw_features(data: Dataset) -> np.ndarray:
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
