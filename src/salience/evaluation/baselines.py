"""What every representation has to beat: the raw input, its principal components, and its own encoder untrained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from salience.batch import Progress
from salience.data import Dataset
from salience.views import make_views

Embed = Callable[[Dataset], np.ndarray]  # n items -> [n d]

FIT_PCA_ON = 10_000
MOST_VIEWED = 1_000  # rows whose two views give the alignment


def principal_components(train: np.ndarray, dim: int) -> Callable[[np.ndarray], np.ndarray]:
    """The projection on the leading components of the training rows' raw input.  train: [n d] -> ([m d] -> [m k])"""
    from sklearn.decomposition import PCA

    rows = train[np.linspace(0, len(train) - 1, min(len(train), FIT_PCA_ON)).astype(int)]
    with np.errstate(divide="ignore", invalid="ignore"):  # rows that are all the same explain 0 of 0; nobody asks
        pca = PCA(min(dim, *rows.shape), random_state=0).fit(rows)
    return pca.transform


def two_views(data: Dataset, policy: Any) -> tuple[Dataset, Dataset] | None:
    """Two random views of each item, as a dataset each, stored as the data is; None where views cannot be put back
    from the unit scale."""
    modality = data.spec.modality
    if modality.to_stored(modality.blank(data.spec), data.spec) is None:
        return None
    views = make_views(policy, data.spec)
    batch = data.batch(np.arange(len(data)))
    drawn = views(batch, Progress(seed=0))["global"]
    restored = [modality.to_stored(view.x, data.spec) for view in drawn]
    first, second = (replace(data, stored=stored, rows=None) for stored in restored if stored is not None)
    return first, second
