from dataclasses import replace

import numpy as np
import pytest
import torch

from salience.data import Dataset, open_data
from salience.errors import UserError


@pytest.fixture
def data():
    x = np.random.default_rng(0).integers(0, 255, (20, 3, 4, 4)).astype(np.uint8)
    return open_data(x, labels=np.arange(20) % 4, groups=np.arange(20) // 5)


def test_a_batch_holds_the_rows_asked_for_in_their_order(data):
    rows = np.array([7, 2, 7])
    batch = data.batch(rows)
    np.testing.assert_array_equal(batch.x.numpy(), data.x[rows])
    assert batch.x.dtype == torch.uint8
    assert batch.index.tolist() == [7, 2, 7]
    assert batch.label.tolist() == [3, 2, 3]


def test_a_batch_is_a_copy(data):
    before = data.x.copy()
    data.batch(np.arange(20)).x.zero_()
    np.testing.assert_array_equal(data.x, before)


def test_chunks_are_all_rows_in_order(data):
    chunks = list(data.chunks(8))
    assert [len(chunk) for chunk in chunks] == [8, 8, 4]
    np.testing.assert_array_equal(torch.cat([chunk.x for chunk in chunks]).numpy(), data.x)
    assert torch.cat([chunk.index for chunk in chunks]).tolist() == list(range(20))


def test_a_subset_of_a_subset_is_the_rows_of_the_whole(data):
    rows, again = np.array([9, 3, 5, 12]), np.array([3, 0])
    part = data.subset(rows).subset(again)
    np.testing.assert_array_equal(part.x, data.x[[12, 9]])
    np.testing.assert_array_equal(part.batch(np.array([1])).x.numpy()[0], data.x[9])
    np.testing.assert_array_equal(part.item(0), data.x[12])
    assert part.labels.tolist() == [0, 1]
    assert part.groups.tolist() == data.groups[[12, 9]].tolist()
    assert list(part.ids) == ["12", "9"]
    assert part.batch(np.array([0, 1])).index.tolist() == [0, 1]
    assert len(part) == 2


def test_a_subset_copies_nothing(data):
    assert np.shares_memory(data.subset(np.arange(5)).stored, data.stored)


def test_rows_beyond_the_data_are_refused(data):
    with pytest.raises(UserError, match=r"rows: expected row numbers in 0\.\.19, got"):
        data.subset([20])


def test_fingerprints_tell_data_apart_and_only_data(data):
    same = open_data(data.x.copy())
    changed = data.x.copy()
    changed[19, 2, 3, 3] ^= 1
    assert same.fingerprint == data.fingerprint
    assert open_data(changed).fingerprint != data.fingerprint
    assert data.subset(np.arange(20)).fingerprint == data.fingerprint
    assert data.subset(np.arange(19)).fingerprint != data.fingerprint
    assert data.subset([1, 0]).fingerprint != data.subset([0, 1]).fingerprint


def test_require_labels(data):
    np.testing.assert_array_equal(data.require_labels("x"), data.labels)
    with pytest.raises(UserError, match=r"a probe requires labels, but .* has none"):
        open_data(data.x).require_labels("a probe")
    with pytest.raises(UserError, match=r"at least two classes, but .* has one \(2\)"):
        data.subset([2, 6]).require_labels("a probe")
    with pytest.raises(UserError, match="requires labels"):
        open_data(data.x, labels=[None] * 20).require_labels("a probe")


def test_classes_are_matched_by_name(data):
    other = open_data(data.x[:3], labels=["b", "c", "a"])
    assert other.classes == ("a", "b", "c")
    matched = other.with_classes(("c", "b"))
    assert matched.labels.tolist() == [1, 0, -1]
    assert matched.classes == ("c", "b")


def test_repr_says_what_it_is(data):
    assert repr(data) == "Dataset(array, 20 x (3, 4, 4) uint8, 4 classes)"
    assert isinstance(data, Dataset)


def test_the_loader_gives_full_batches_of_it(data):
    batches = list(data.loader(6, seed=3))
    assert [len(batch) for batch in batches] == [6, 6, 6]
    for batch in batches:
        np.testing.assert_array_equal(batch.x.numpy(), data.x[batch.index.numpy()])


def test_an_unknown_label_stays_unknown(data):
    labels = data.labels.copy()
    labels[[1, 5]] = -1
    partly = open_data(data.x, labels=np.array([None if label < 0 else "abcd"[label] for label in labels]))
    assert partly.labels[[1, 5]].tolist() == [-1, -1]
    assert partly.with_classes(("d", "c", "b", "a")).labels.tolist() == [-1 if v < 0 else 3 - v for v in labels]
    assert partly.without("a").labels.tolist() == [label for label in labels if label != 0]
    with pytest.raises(UserError, match=r"at least two classes, but .* has one \(b\)"):
        partly.subset([1, 9, 13, 5]).require_labels("a probe")


def test_rows_before_the_data_are_refused(data):
    with pytest.raises(UserError, match=r"rows: expected row numbers in 0\.\.19, got -1\.\.3"):
        data.subset([-1, 3])


def test_a_batch_of_a_subset_has_its_own_labels_and_row_numbers(data):
    part = data.subset([9, 3, 5])
    batch = part.batch(np.array([2, 0]))
    assert batch.index.tolist() == [2, 0]
    assert batch.label.tolist() == data.labels[[5, 9]].tolist()
    np.testing.assert_array_equal(batch.x.numpy(), data.x[[5, 9]])
    np.testing.assert_array_equal(part.x, data.x[[9, 3, 5]])


def test_the_loader_draws_by_its_seed_and_its_share(data):
    def rows(seed, **share):
        return [batch.index.tolist() for batch in data.loader(5, seed, **share)]

    assert rows(1) != rows(2)
    first, second = rows(1, rank=0, world=2), rows(1, rank=1, world=2)
    assert len(first) == len(second) == 2
    assert sorted(row for batch in first + second for row in batch) == list(range(20))


def test_labels_are_a_quantity_where_all_names_are_numbers(data):
    data = replace(data.subset(range(4)), labels=np.array([1, 0, -1, 1]), classes=("-2", "10"))
    np.testing.assert_array_equal(data.quantity, [10, -2, np.nan, 10])
    assert not data.measured
    assert replace(data, classes=("-2", "0.5")).measured
    for classes in (("a", "1"), ("1", "inf"), ("1", "nan")):
        assert replace(data, classes=classes).quantity is None
        assert not replace(data, classes=classes).measured
    assert replace(data, labels=None, classes=()).quantity is None
