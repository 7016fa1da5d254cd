import itertools

import numpy as np
import pytest
import torch

from salience.data import Dataset, open_data
from salience.data import near_duplicates as module
from salience.data.equal_items import content_hashes, equal_groups
from salience.data.near_duplicates import near_pairs
from salience.modalities.image.edges import signatures
from salience.modalities.image.spec import ImageSpec
from salience.modalities.table.spec import TableSpec


def images(x: np.ndarray) -> Dataset:
    spec = ImageSpec(x.shape[1:], str(x.dtype), 0, 255)
    return Dataset("made", "train", spec, x, None, (), [str(row) for row in range(len(x))], "f")


def noise(n: int, *, side: int = 16, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 200, (n, channels, side, side)).astype(np.uint8)


def signature_by_hand(image: np.ndarray) -> np.ndarray:
    """Differences to the right and the lower neighbour, within the corner that has both, of length 1."""
    edges = []
    for plane in image.astype(np.float64):
        for i, j in itertools.product(range(plane.shape[0] - 1), range(plane.shape[1] - 1)):
            edges += [plane[i, j + 1] - plane[i, j], plane[i + 1, j] - plane[i, j]]
    return np.array(edges) / np.linalg.norm(edges)


# --- equal -------------------------------------------------------------------------------------------------------


def test_equal_items_are_found_by_content():
    x = noise(9)
    x[[4, 7]] = x[1]
    x[8] = x[3]
    groups = equal_groups(content_hashes(images(x)))
    assert [group.tolist() for group in groups] == [[1, 4, 7], [3, 8]]
    assert equal_groups(content_hashes(images(noise(9)))) == []


def test_one_changed_pixel_is_another_item():
    x = noise(2)
    x[1] = x[0]
    x[1, 0, 3, 3] += 1
    assert equal_groups(content_hashes(images(x))) == []


def test_rows_of_a_table_are_equal_with_the_same_missing_values_and_either_zero():
    x = np.array([[0.0, np.nan], [-0.0, -np.nan], [0.0, 1.0], [np.nan, 0.0]])
    spec = TableSpec((2,), "float64")
    table = Dataset("made", "train", spec, x, None, (), list("abcd"), "f")
    assert [group.tolist() for group in equal_groups(content_hashes(table))] == [[0, 1]]


def test_hashes_do_not_depend_on_chunks_or_subsets():
    x = noise(20)
    dataset = images(x)
    rows = np.array([3, 17, 5])
    assert np.array_equal(content_hashes(dataset)[rows], content_hashes(dataset.subset(rows)))


# --- nearly equal ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_cosines_of_signatures_are_those_of_the_edges(channels):
    x = noise(5, channels=channels)
    ours = signatures(torch.from_numpy(x))
    by_hand = np.stack([signature_by_hand(image) for image in x])
    assert np.allclose(ours @ ours.T, by_hand @ by_hand.T, atol=1e-6)


def test_brightness_and_contrast_do_not_count_and_a_flat_image_resembles_nothing():
    x = torch.from_numpy(noise(1)).float()
    flat = torch.full_like(x, 77.0)
    a, b, c = signatures(torch.cat([x, 0.5 * x + 30, flat]))
    assert torch.allclose(a, b, atol=1e-5)
    assert c.norm() == 0


def spoiled(n: int = 300, seed: int = 0) -> tuple[np.ndarray, set[tuple[int, int]]]:
    """Noise images, of which some are others slightly altered; and the pairs that are."""
    x = noise(n, seed=seed)
    rng = np.random.default_rng(seed + 1)
    pairs = {(3, 250), (10, 11), (77, 200)}
    for source, copy in pairs:
        x[copy] = np.clip(0.8 * x[source] + 10 + rng.normal(0, 4, x[source].shape), 0, 255)
    x[299] = x[0]  # equal, hence not *near*
    return x, pairs


def test_altered_copies_are_found_and_nothing_else():
    x, pairs = spoiled()
    found = near_pairs(images(x))
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == pairs
    assert found.complete
    assert found.searched == (300,)
    assert (np.diff(found.similarity) <= 0).all()


@pytest.mark.parametrize("worth", [0, 10**9], ids=["pair by pair", "one product"])
def test_the_bound_loses_no_pair(monkeypatch, worth):
    """Against all pairs by hand, at a threshold so low that many count."""
    monkeypatch.setattr(module, "PAIRS_WORTH", worth)
    monkeypatch.setattr(module, "LOOSEST", 0.2)
    monkeypatch.setattr(module, "STRICTEST", 0.2)
    monkeypatch.setattr(module, "BLOCK", 32)
    monkeypatch.setattr(module, "DIRECTIONS", 5)
    x = noise(100, side=6)
    by_hand = np.stack([signature_by_hand(image) for image in x])
    expected = {(i, j) for i, j in itertools.combinations(range(100), 2) if by_hand[i] @ by_hand[j] >= 0.2}
    found = near_pairs(images(x))
    assert len(expected) > 50
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == expected
    exact = [by_hand[i] @ by_hand[j] for i, j in zip(found.first, found.second, strict=True)]
    np.testing.assert_allclose(found.similarity, exact, atol=1e-5)


def test_pairs_between_two_sources_name_the_rows_of_each():
    train, test = noise(200, seed=5), noise(50, seed=6)
    test[7] = np.clip(train[123] * 0.9, 0, 255)
    test[8] = train[4]  # equal, hence not *near*
    found = near_pairs(images(train), images(test))
    assert list(zip(found.first, found.second, strict=True)) == [(123, 7)]
    assert found.searched == (200, 50)


def test_where_all_images_are_alike_only_the_unusually_close_count():
    base = noise(1, seed=3).astype(np.float64)
    rng = np.random.default_rng(4)
    x = np.clip(base + rng.normal(0, 12, (200, 1, 16, 16)), 0, 255).astype(np.uint8)
    x[150] = np.clip(x[20].astype(float) + rng.normal(0, 2, (1, 16, 16)), 0, 255)
    found = near_pairs(images(x))
    assert list(zip(found.first, found.second, strict=True)) == [(20, 150)]
    assert found.threshold > 0.9


def test_a_large_source_is_searched_in_part(monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 100)
    x, _ = spoiled()
    found = near_pairs(images(x))
    assert found.searched == (100,)
    everything = near_pairs(images(x), seed=1)
    assert set(everything.first) <= {3, 10, 77}


def test_the_search_stops_where_pairs_are_too_many(monkeypatch):
    monkeypatch.setattr(module, "MOST_PAIRS", 20)
    monkeypatch.setattr(module, "LOOSEST", 0.0)
    monkeypatch.setattr(module, "STRICTEST", 0.0)
    found = near_pairs(images(noise(60)))
    assert not found.complete
    assert len(found) > 20


@pytest.mark.parametrize("x", [np.uint8(255), np.float32(0.1), np.uint16(40_001)])
@pytest.mark.parametrize("side", [17, 100, 224])
def test_a_flat_image_has_no_edges_however_it_is_rounded(x, side):
    flat = torch.from_numpy(np.full((1, 3, side, side), x) * np.array([1, 0.37, 0.9])[:, None, None])
    assert not signatures(flat.float()).any()


def test_flat_images_alone_are_no_near_duplicates(monkeypatch):
    """Some libraries find no eigenvectors of a matrix of zeros."""

    def fails(matrix):
        raise torch.linalg.LinAlgError("failed to converge")

    monkeypatch.setattr(torch.linalg, "eigh", fails)
    flat = np.array([[10, 200, 30], [90, 90, 0], [0, 0, 255]], np.uint8)[:, :, None, None].repeat(20, 2).repeat(40, 3)
    data = open_data(flat, progress=False)
    assert len(near_pairs(data)) == 0
    assert len(near_pairs(data, data)) == 0


@pytest.mark.parametrize("copies", [3, 6, 20])
def test_few_different_drawings_are_searched(copies):
    """Their signatures span few directions, for which eigenvectors in float32 may not be found."""
    ring = np.hypot(*np.mgrid[-14:14, -14:14]) // 5 == 2
    drawn = np.where(ring, 0, 255).astype(np.uint8)
    found = near_pairs(images(np.repeat(drawn[None], copies, axis=0)))
    assert len(found) == 0
    assert found.complete
