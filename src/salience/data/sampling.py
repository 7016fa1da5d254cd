"""The order of training batches. It is computed, not stored.

The row at position p of an epoch is a keyed bijection of p. A Feistel network permutes the 2k-bit numbers for any round
function. Numbers beyond the last row are permuted again until they are valid (cycle walking: Black and Rogaway 2002,
https://doi.org/10.1007/3-540-45760-7_9). So the row at any position of any epoch is computed without the others.

Ragged items of like lengths are drawn together (bucketing). The batches of an epoch are divided into windows of
consecutive ones. The rows of a window are sorted by padded length, cut into batches, and the batches are permuted. So
every row still comes once an epoch, in other company each epoch, and a step needs the rows of its window only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from salience.batch import Batch
from salience.errors import UserError
from salience.units import counted

Rows = NDArray[np.int64]

AHEAD = 4096  # positions whose rows are computed at once, because a call per small batch is slow
WINDOW = 16  # least number of batches that ragged items of like lengths are gathered from
_ROUNDS = 7
_LEAST_HALF = 3  # bits: a Feistel network of fewer than 64 positions mixes badly
_GAMMA = 0x9E3779B97F4A7C15
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class Source(Protocol):
    """The part of a dataset that a loader needs."""

    def __len__(self) -> int: ...

    def batch(self, rows: Rows) -> Batch: ...


def permute(positions: Rows, n: int, seed: int, epoch: int) -> Rows:
    """Return the rows at these positions of an epoch: a bijection on 0 .. n - 1 for every (seed, epoch).

    Args:
        positions: [m] integers in 0 .. n - 1.
        n: Number of rows.
        seed: Random seed.
        epoch: Number of the epoch.

    Returns:
        [m] int64 rows.
    """
    positions = np.asarray(positions)
    if positions.size and not (positions.min() >= 0 and positions.max() < n):
        raise ValueError(f"positions must lie in 0 .. {n - 1}, got {positions.min()} .. {positions.max()}")
    keys = _round_keys(seed, epoch)
    half = max(_LEAST_HALF, ((n - 1).bit_length() + 1) // 2)
    rows = _feistel(positions.astype(np.uint64), half, keys)
    outside = np.flatnonzero(rows >= n)
    while outside.size:
        rows[outside] = _feistel(rows[outside], half, keys)
        outside = outside[rows[outside] >= n]
    return rows.astype(np.int64)


def _feistel(x: NDArray[np.uint64], half: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Compute a bijection of the numbers of 2 * half bits."""
    bits, low = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = x >> bits, x & low
    for key in keys:
        left, right = right, left ^ (_mix(right + key) & low)
    return left << bits | right


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply the finaliser of SplitMix64, with wrapping arithmetic."""
    z = (z ^ (z >> np.uint64(30))) * _M1
    z = (z ^ (z >> np.uint64(27))) * _M2
    return z ^ (z >> np.uint64(31))


def _round_keys(seed: int, epoch: int) -> NDArray[np.uint64]:
    def words(start: NDArray[np.uint64], count: int) -> NDArray[np.uint64]:
        return _mix(start + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GAMMA))

    both = words(np.array([seed % 2**64], np.uint64), 1) + np.uint64(epoch)
    return words(_mix(both), _ROUNDS)


class Loader:
    """Full training batches of a dataset, in an order that depends only on (seed, epoch).

    The batches of all processes together are the batch of batch_size * world rows that one process would draw.

    Args:
        dataset: The dataset.
        batch_size: Number of rows of the batch of each process.
        seed: Random seed.
        rank: Number of this process.
        world: Number of processes.
        lengths: Function that returns the padded lengths [m] of rows [m] of ragged items; None for dense items.

    Raises:
        UserError: The dataset has fewer rows than one batch.
    """

    def __init__(
        self,
        dataset: Source,
        batch_size: int,
        seed: int = 0,
        *,
        rank: int = 0,
        world: int = 1,
        lengths: Callable[[Rows], Rows] | None = None,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size: expected at least 1, got {batch_size}")
        if not 0 <= rank < world:
            raise ValueError(f"rank must lie in 0 .. {world - 1}, got {rank}")
        if batch_size * world > len(dataset):
            raise UserError(_too_large(batch_size, world, len(dataset)))
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.rank, self.world = rank, world
        self.epoch = 0
        self.position = 0  # number of batches of this epoch that were already returned
        self.lengths = lengths
        # A window of ragged batches is equal for any number of processes; the blocks of dense ones do not matter.
        self._ahead = max(1, AHEAD // batch_size) if lengths is None else max(WINDOW, AHEAD // (batch_size * world))
        self._block = (-1, -1)  # epoch, and which block of batches `_order` holds
        self._order = np.empty((0, batch_size), np.int64)

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self.dataset) // (self.batch_size * self.world)

    def rows_at(self, step: int) -> Rows:
        """Return the rows [batch_size] int64 of this process for batch number `step`, counted over all epochs."""
        epoch, position = divmod(step, len(self))
        block, within = divmod(position, self._ahead)
        if self._block != (epoch, block):
            last = min((block + 1) * self._ahead, len(self))
            rows = self._strided if self.lengths is None else self._bucketed
            self._order = rows(block * self._ahead, last, epoch)
            self._block = (epoch, block)
        return self._order[within]

    def _strided(self, first: int, last: int, epoch: int) -> Rows:
        """Return the rows of this process for batches `first` to `last` of an epoch, [last - first batch_size]."""
        together = self.batch_size * self.world
        positions = np.arange(first * together + self.rank, last * together, self.world)
        return permute(positions, len(self.dataset), self.seed, epoch).reshape(-1, self.batch_size)

    def _bucketed(self, first: int, last: int, epoch: int) -> Rows:
        """Return the same for ragged items, of like lengths in each batch of all processes together."""
        assert self.lengths is not None
        together, count = self.batch_size * self.world, last - first
        rows = permute(np.arange(first * together, last * together), len(self.dataset), self.seed, epoch)
        batches = rows[np.argsort(self.lengths(rows), kind="stable")].reshape(count, together)
        order = permute(np.arange(count), count, self.seed + _GAMMA * (first + 1), epoch)
        return batches[order, self.rank :: self.world]

    def batch_at(self, step: int) -> Batch:
        """Return batch number `step`, independent of the current position."""
        return self.dataset.batch(self.rows_at(step))

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the rest of this epoch, then advance to the next. A batch counts when it is returned."""
        epoch = self.epoch
        while self.epoch == epoch:
            batch = self.batch_at(self.epoch * len(self) + self.position)
            self.epoch, self.position = divmod(self.epoch * len(self) + self.position + 1, len(self))
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the position: the next batch is number `position` of `epoch`."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]


def _too_large(batch_size: int, world: int, rows: int) -> str:
    share = f" for each of {world} processes" if world > 1 else ""
    remedy = f"use at most {rows // world}" if rows >= world else "there is nothing to train on"
    return f"batch_size: {batch_size}{share} exceeds the {counted(rows, 'row')} of the data; {remedy}"
