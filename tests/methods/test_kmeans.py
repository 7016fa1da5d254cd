"""k-means: its fixed point, the limit of as many centres as rows, agreement with scikit-learn, chunks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans as Reference

from salience.data import open_data
from salience.errors import UserError
from salience.methods import Context
from salience.methods.classical.kmeans import KMeans
from salience.training.closed_form import Rows

CENTRES = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])


def blobs(each: int = 40) -> np.ndarray:
    generator = np.random.default_rng(1)
    return np.concatenate([centre + generator.normal(size=(each, 2)) for centre in CENTRES])


def fitted(x: np.ndarray, memory: int = 2**30, **options: int) -> tuple[KMeans, torch.Tensor]:
    dataset = open_data(x, progress=False)
    method = KMeans.build(Context(dataset.spec, len(dataset)), **options)
    method.fit_rows(Rows(dataset, method, memory=memory), seed=0)
    return method, method.flat(dataset.batch(np.arange(len(dataset))))


def test_each_centre_is_the_mean_of_its_members() -> None:
    method, rows = fitted(blobs(), k=3)
    nearest = torch.cdist(rows, method.centres).argmin(dim=1)
    for cluster in range(3):
        torch.testing.assert_close(method.centres[cluster], rows[nearest == cluster].mean(dim=0), rtol=1e-9, atol=1e-9)


def test_as_tight_as_scikit_learn() -> None:
    method, rows = fitted(blobs(), k=3)
    ours = method.embed_rows(rows).min(dim=1).values.square().sum().item()
    assert ours == pytest.approx(Reference(3, n_init=10, random_state=0).fit(rows.numpy()).inertia_, rel=1e-6)


def test_as_many_centres_as_rows_leave_no_error() -> None:
    method, rows = fitted(blobs(4), k=12)
    assert method.embed_rows(rows).min(dim=1).values.max() < 1e-6


def test_embeds_as_distances_and_assigns_the_nearest() -> None:
    x = blobs()
    method, rows = fitted(x, k=3)
    batch = open_data(x, progress=False).batch(np.arange(len(x)))
    by_hand = torch.stack([(rows - centre).norm(dim=1) for centre in method.centres], dim=1)
    torch.testing.assert_close(method.embed(batch), by_hand, rtol=1e-6, atol=1e-6)
    assert torch.equal(method.assign(batch), by_hand.argmin(dim=1))


def test_chunk_by_chunk_finds_the_same_clusters() -> None:
    method, rows = fitted(blobs(), memory=1, k=3)
    assigned = method.embed_rows(rows).argmin(dim=1).view(3, -1)
    assert all(len(part.unique()) == 1 for part in assigned)


def test_more_centres_than_rows_are_refused() -> None:
    with pytest.raises(UserError, match=r"k: 13 centres for 12 rows"):
        fitted(blobs(4), k=13)
