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


def test_rows_sorted_by_cluster_are_clustered_as_well_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    centres = np.stack(np.meshgrid(np.arange(5), np.arange(4)), axis=-1).reshape(20, 2) * 20.0
    x = np.repeat(centres, 1000, axis=0) + generator.normal(size=(20_000, 2))
    monkeypatch.setattr("salience.methods.classical.kmeans.SAMPLE", 1000)

    def inertia(**options: int) -> float:
        method, rows = fitted(x, k=20, restarts=3, **options)
        return method.embed_rows(rows).min(dim=1).values.square().sum().item()

    assert inertia(memory=1) <= 1.05 * inertia()


def test_chunk_by_chunk_each_centre_is_the_mean_of_its_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("salience.methods.classical.kmeans.SAMPLE", 6)
    monkeypatch.setattr("salience.methods.classical.kmeans.SAMPLE_EACH", 2)
    monkeypatch.setattr("salience.training.closed_form.CHUNK", 7)
    method, rows = fitted(blobs(), memory=1, k=3)
    nearest = torch.cdist(rows, method.centres).argmin(dim=1)
    for cluster in range(3):
        torch.testing.assert_close(method.centres[cluster], rows[nearest == cluster].mean(dim=0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [1, 50, 120, 500])
def test_a_sample_of_rows_is_of_different_ones_and_in_order(count: int) -> None:
    dataset = open_data(np.arange(120.0)[:, None], progress=False)
    reader = Rows(dataset, KMeans.build(Context(dataset.spec, 120)), memory=1)
    drawn = reader.sample(count, seed=3)
    assert drawn.shape == (min(count, 120), 1)
    assert (np.diff(drawn[:, 0]) > 0).all()
    np.testing.assert_array_equal(drawn, reader.sample(count, seed=3))
    assert count >= 120 or not np.array_equal(drawn, reader.sample(count, seed=4))
