"""The order of training: a permutation, computed; processes and resumed runs lose and repeat nothing."""

from itertools import chain, combinations

import numpy as np
import pytest
import torch
from scipy import stats

from salience.batch import Batch
from salience.data.dataset import Dataset
from salience.data.sampling import AHEAD, Loader, permute
from salience.errors import UserError
from salience.fields.ids import Ids
from salience.fields.stored_items import Ragged, padded_lengths
from salience.modalities.table import TableSpec


class Rows:
    """The least a loader reads: n rows that say which they are."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def batch(self, rows):
        assert rows.dtype == np.int64
        return Batch(torch.from_numpy(rows * 10), torch.from_numpy(rows))


def rows_of(loader):
    return [batch.index.tolist() for batch in loader]


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 17, 255, 256, 257, 1000, 65_537])
@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (0, 1), (1, 0), (2**63, 10**6), (-3, 5)])
def test_every_row_once(n, seed, epoch):
    rows = permute(np.arange(n), n, seed, epoch)
    assert rows.dtype == np.int64
    assert np.array_equal(np.sort(rows), np.arange(n))


def test_any_part_of_the_order_is_found_alone():
    whole = permute(np.arange(1000), 1000, 4, 2)
    assert np.array_equal(permute(np.arange(300, 317), 1000, 4, 2), whole[300:317])
    assert np.array_equal(permute(np.array([999, 0, 0]), 1000, 4, 2), whole[[999, 0, 0]])


def test_a_position_of_a_huge_dataset_needs_no_table():
    n = 10**12
    rows = permute(np.arange(n - 1000, n), n, 0, 0)
    assert len(np.unique(rows)) == 1000
    assert 0 <= rows.min() < n / 10 < 0.9 * n < rows.max() < n


def test_epochs_and_seeds_give_different_orders():
    orders = [permute(np.arange(1000), 1000, seed, epoch) for seed in range(3) for epoch in range(3)]
    for first, other in combinations(orders, 2):
        assert (first == other).mean() < 0.02
        assert abs(stats.spearmanr(first, other).statistic) < 0.15


@pytest.mark.parametrize("n", [5, 50, 300])
def test_orders_are_fair(n):
    """Each row comes first, and comes right after each other row, equally often over many epochs."""
    orders = np.stack([permute(np.arange(n), n, 0, epoch) for epoch in range(1200)])
    assert stats.chisquare(np.bincount(orders[:, 0], minlength=n)).pvalue > 1e-4
    assert stats.chisquare(np.bincount(orders[:, -1], minlength=n)).pvalue > 1e-4
    steps = (orders[:, 1:] - orders[:, :-1]) % n
    assert stats.chisquare(np.bincount(steps.ravel(), minlength=n)[1:]).pvalue > 1e-4


def test_all_orders_of_three_are_equally_likely():
    orders = [tuple(permute(np.arange(3), 3, seed, 0)) for seed in range(1200)]
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-4


def test_positions_outside_the_data_are_refused():
    for position in (-1, 10):
        with pytest.raises(ValueError, match=r"0 \.\. 9"):
            permute(np.array([position]), 10, 0, 0)


def test_an_epoch_has_full_batches_of_distinct_rows():
    loader = Loader(Rows(103), 10, seed=1)
    batches = rows_of(loader)
    assert len(batches) == len(loader) == 10
    assert {len(batch) for batch in batches} == {10}
    assert len(set(chain(*batches))) == 100
    assert rows_of(loader) != batches  # the next epoch


@pytest.mark.parametrize(("world", "batch_size"), [(1, 100), (2, 50), (5, 20), (1, 6000)])
def test_an_epoch_of_many_blocks_has_every_row_once_and_the_next_another_order(world, batch_size):
    n = 6 * AHEAD - 6 * AHEAD % (batch_size * world)
    together = [Loader(Rows(n), batch_size, seed=3, rank=rank, world=world) for rank in range(world)]
    orders = []
    for _ in range(2):
        rows = [np.concatenate([batch.index.numpy() for batch in loader]) for loader in together]
        orders.append(np.stack(rows, axis=1).ravel())
        assert np.array_equal(np.sort(orders[-1]), np.arange(n))
    assert (orders[0] == orders[1]).mean() < 0.01
    assert np.array_equal(orders[0], permute(np.arange(n), n, 3, 0))
    assert np.array_equal(orders[1], permute(np.arange(n), n, 3, 1))


def test_every_row_comes_in_time_though_batches_are_full():
    loader = Loader(Rows(23), 10, seed=0)
    assert set(chain(*chain(*(rows_of(loader) for _ in range(20))))) == set(range(23))


@pytest.mark.parametrize("world", [2, 3, 5])
def test_processes_together_draw_the_batch_that_one_would(world):
    alone = Loader(Rows(101), 6 * world, seed=3)
    together = [Loader(Rows(101), 6, seed=3, rank=rank, world=world) for rank in range(world)]
    assert {len(loader) for loader in together} == {len(alone)}
    for _ in range(2):
        for one, parts in zip(alone, zip(*together, strict=True), strict=True):
            merged = torch.stack([part.index for part in parts], dim=1).flatten()  # rank r has every world-th
            assert torch.equal(merged, one.index)


def test_a_loader_resumed_in_mid_epoch_loses_and_repeats_nothing():
    straight = Loader(Rows(50), 8, seed=5)
    expected = rows_of(straight) + rows_of(straight)
    for stop in range(len(expected)):
        first = Loader(Rows(50), 8, seed=5)
        seen, reading = [], iter(first)
        while len(seen) < stop:
            for batch in reading:
                seen.append(batch.index.tolist())
                if len(seen) == stop:
                    break
            reading = iter(first)
        second = Loader(Rows(50), 8, seed=5)
        second.load_state_dict(first.state_dict())
        while len(seen) < len(expected):
            assert len(second) == 6
            seen += rows_of(second)
        assert seen == expected


def test_a_batch_by_its_number_is_the_batch_that_iteration_gives():
    loader = Loader(Rows(50), 8, seed=5)
    in_turn = rows_of(loader) + rows_of(loader)
    assert [loader.batch_at(step).index.tolist() for step in reversed(range(12))] == in_turn[::-1]
    assert loader.state_dict() == {"epoch": 2, "position": 0}  # asking by number moves nothing
    assert torch.equal(loader.batch_at(3).x, loader.batch_at(3).index * 10)


def test_a_batch_of_all_rows_is_fine_and_a_larger_one_is_refused():
    assert sorted(rows_of(Loader(Rows(10), 10))[0]) == list(range(10))
    with pytest.raises(UserError, match="batch_size: 11 exceeds the 10 rows of the data; use at most 10"):
        Loader(Rows(10), 11)
    with pytest.raises(UserError, match=r"for each of 3 processes .* use at most 3"):
        Loader(Rows(10), 4, world=3)
    with pytest.raises(UserError, match="nothing to train on"):
        Loader(Rows(0), 1)
    with pytest.raises(UserError, match="batch_size: expected at least 1, got 0"):
        Loader(Rows(10), 0)
    with pytest.raises(ValueError, match="rank"):
        Loader(Rows(10), 2, rank=2, world=2)


# --- more batches than are computed at once

MANY = 3 * AHEAD + 1234  # rows: four blocks an epoch, the last a part of one


@pytest.mark.parametrize(("world", "batch_size"), [(1, 7), (1, 1000), (2, 7), (3, 5)])
def test_every_row_comes_once_an_epoch_and_each_epoch_has_another_order(world, batch_size):
    loaders = [Loader(Rows(MANY), batch_size, seed=2, rank=rank, world=world) for rank in range(world)]
    orders = []
    for epoch in range(3):
        first = epoch * len(loaders[0])
        steps = range(first, first + len(loaders[0]))
        orders.append(np.stack([[loader.rows_at(step) for step in steps] for loader in loaders]).ravel())
        assert len(np.unique(orders[-1])) == len(orders[-1]) == MANY // (batch_size * world) * batch_size * world
    for one, other in combinations(orders, 2):
        assert (one == other).mean() < 0.01  # by chance 1 in 13,522


def test_blocks_join_without_a_seam():
    """The order is that of `permute`, whatever is computed at once."""
    loader = Loader(Rows(MANY), 10, seed=4)
    straight = permute(np.arange(MANY), MANY, 4, 0)[: len(loader) * 10].reshape(-1, 10)
    assert np.array_equal([loader.rows_at(step) for step in range(len(loader))], straight)
    second = permute(np.arange(MANY), MANY, 4, 1)[: len(loader) * 10].reshape(-1, 10)
    assert np.array_equal([loader.rows_at(len(loader) + step) for step in range(len(loader))], second)


@pytest.mark.parametrize("stop", [1, 585, 586, 1700, 1931, 1932, 2400])
def test_a_loader_resumed_in_a_late_block_goes_on_exactly_there(stop):
    straight = Loader(Rows(MANY), 7, seed=5)  # 585 batches a block, 1,931 an epoch
    assert len(straight) == 1931
    resumed = Loader(Rows(MANY), 7, seed=5)
    resumed.load_state_dict({"epoch": stop // 1931, "position": stop % 1931})
    rest = [batch.index.tolist() for batch, _ in zip(resumed, range(100), strict=False)]
    assert rest == [straight.rows_at(step).tolist() for step in range(stop, stop + len(rest))]
    assert len(rest) == min(100, 1931 - stop % 1931)


def test_processes_together_draw_the_batch_of_one_in_late_blocks_too():
    alone = Loader(Rows(MANY), 12, seed=3)
    together = [Loader(Rows(MANY), 4, seed=3, rank=rank, world=3) for rank in range(3)]
    for step in (0, 341, 342, 1024, 1025, len(alone) - 1, len(alone), 2 * len(alone) + 700):
        merged = np.stack([loader.rows_at(step) for loader in together], axis=1).ravel()
        assert np.array_equal(merged, alone.rows_at(step)), step


# --- ragged items of like lengths

LENGTHS = np.random.default_rng(0).integers(1, 200, MANY)


def bucketed(n=MANY, batch_size=7, **options):
    return Loader(Rows(n), batch_size, seed=2, lengths=lambda rows: padded_lengths(LENGTHS[rows]), **options)


@pytest.mark.parametrize(("world", "batch_size"), [(1, 7), (1, 1000), (2, 7), (3, 5)])
def test_ragged_rows_come_once_an_epoch_each_epoch_in_another_order_and_other_company(world, batch_size):
    loaders = [bucketed(batch_size=batch_size, rank=rank, world=world) for rank in range(world)]
    orders = []
    for epoch in range(2):
        steps = range(epoch * len(loaders[0]), (epoch + 1) * len(loaders[0]))
        orders.append(np.stack([[loader.rows_at(step) for step in steps] for loader in loaders]))
        assert len(np.unique(orders[-1])) == orders[-1].size == MANY // (batch_size * world) * batch_size * world
    assert (orders[0] == orders[1]).mean() < 0.01
    first = {frozenset(rows) for rows in orders[0].reshape(-1, batch_size).tolist()}
    assert not first & {frozenset(rows) for rows in orders[1].reshape(-1, batch_size).tolist()}


def test_ragged_batches_have_items_of_like_lengths_in_no_order():
    dense, ragged = Loader(Rows(MANY), 32, seed=2), bucketed(batch_size=32)
    longest = {}
    for name, loader in (("dense", dense), ("ragged", ragged)):
        lengths = [padded_lengths(LENGTHS[loader.rows_at(step)]) for step in range(len(loader))]
        longest[name] = np.array([batch.max() for batch in lengths])
        padding = longest[name].sum() * 32 / np.sum(lengths)
        assert padding < 1.05 if name == "ragged" else padding > 1.5
    assert abs(stats.spearmanr(longest["ragged"], np.arange(len(ragged))).statistic) < 0.1


def test_ragged_batches_of_processes_are_the_batch_of_one_process():
    alone = bucketed(batch_size=12)
    together = [bucketed(batch_size=4, rank=rank, world=3) for rank in range(3)]
    for step in (0, 341, 342, 1024, 1025, len(alone) - 1, len(alone), 2 * len(alone) + 700):
        merged = np.stack([loader.rows_at(step) for loader in together], axis=1).ravel()
        assert np.array_equal(merged, alone.rows_at(step)), step


def test_a_ragged_batch_is_found_by_its_number_alone():
    straight = bucketed()
    expected = [straight.rows_at(step).tolist() for step in range(1900, 2000)]  # into the second epoch
    assert [bucketed().rows_at(step).tolist() for step in range(1900, 2000)] == expected


def test_a_dataset_buckets_ragged_items_and_leaves_dense_ones_alone():
    ragged = Ragged.of(np.zeros((length, 2), np.float32) for length in LENGTHS[:500])
    data = {"ragged": ragged, "dense": np.zeros((500, 4), np.float32)}
    for name, stored in data.items():
        spec = TableSpec((4,), "float32")
        whole = Dataset(name, "train", spec, stored, None, (), Ids(500), "")
        loader = whole.subset(np.arange(499, -1, -1)).loader(10, seed=3)
        rows = [loader.rows_at(step) for step in range(len(loader))]
        spread = np.mean([np.ptp(padded_lengths(LENGTHS[499 - batch])) for batch in rows])
        assert spread < 20 if name == "ragged" else spread > 100
        plain = Loader(Rows(500), 10, seed=3)
        assert np.array_equal(rows, [plain.rows_at(step) for step in range(50)]) == (name == "dense")
