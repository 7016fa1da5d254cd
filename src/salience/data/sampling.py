"""The order of training: computed, not stored.

Row at position p of an epoch = a keyed bijection of p. A Feistel network permutes the 2k-bit numbers, whatever its
round function; numbers beyond the last row are sent through again until they fall inside (cycle walking: Black and
Rogaway 2002, https://doi.org/10.1007/3-540-45760-7_9). So any position of any epoch is found without the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from salience.batch import Batch
from salience.errors import UserError
from salience.units import counted

Rows = NDArray[np.int64]

AHEAD = 4096  # positions whose rows are computed at once: for a small batch a call costs more than its numbers
_ROUNDS = 7
_LEAST_HALF = 3  # bits: a Feistel network of fewer than 64 positions mixes badly, so small n walk more
_GAMMA = 0x9E3779B97F4A7C15
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class Source(Protocol):
    """What a loader reads: a dataset."""

    def __len__(self) -> int: ...

    def batch(self, rows: Rows) -> Batch: ...


def permute(positions: Rows, n: int, seed: int, epoch: int) -> Rows:
    """Rows at these positions of the epoch's order: a bijection on 0 .. n - 1 for every (seed, epoch).

    positions: int [m], each in 0 .. n - 1 -> int64 [m]
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
    """A bijection of the numbers of 2 half bits."""
    bits, low = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = x >> bits, x & low
    for key in keys:
        left, right = right, left ^ (_mix(right + key) & low)
    return left << bits | right


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser, wrapping."""
    z = (z ^ (z >> np.uint64(30))) * _M1
    z = (z ^ (z >> np.uint64(27))) * _M2
    return z ^ (z >> np.uint64(31))


def _round_keys(seed: int, epoch: int) -> NDArray[np.uint64]:
    def words(start: NDArray[np.uint64], count: int) -> NDArray[np.uint64]:
        return _mix(start + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GAMMA))

    both = words(np.array([seed % 2**64], np.uint64), 1) + np.uint64(epoch)
    return words(_mix(both), _ROUNDS)


class Loader:
    """Training batches of a dataset, full ones only, in an order that depends on (seed, epoch) alone.

    batch_size: rows of each process's batch;  rank, world: this process among how many. The processes' batches
    together are the batch of batch_size * world that one process would draw.
    Errors: UserError where the dataset has fewer rows than one batch takes.
    """

    def __init__(self, dataset: Source, batch_size: int, seed: int = 0, *, rank: int = 0, world: int = 1) -> None:
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
        self.position = 0  # batches of this epoch already handed out
        self._ahead = max(1, AHEAD // batch_size)
        self._block = (-1, -1)  # epoch, and which block of batches `_order` holds
        self._order = np.empty((0, batch_size), np.int64)

    def __len__(self) -> int:
        """Batches of an epoch, wherever in it we stand."""
        return len(self.dataset) // (self.batch_size * self.world)

    def rows_at(self, step: int) -> Rows:
        """This process's rows of batch number `step`, counted from the first epoch's first.  [batch_size] int64"""
        epoch, position = divmod(step, len(self))
        block, within = divmod(position, self._ahead)
        if self._block != (epoch, block):
            first, together = block * self._ahead, self.batch_size * self.world
            last = min(first + self._ahead, len(self))
            positions = np.arange(first * together + self.rank, last * together, self.world)
            self._order = permute(positions, len(self.dataset), self.seed, epoch).reshape(-1, self.batch_size)
            self._block = (epoch, block)
        return self._order[within]

    def batch_at(self, step: int) -> Batch:
        """Batch number `step`, whatever was read before."""
        return self.dataset.batch(self.rows_at(step))

    def __iter__(self) -> Iterator[Batch]:
        """The rest of this epoch; then the next epoch is due. A batch counts as handed out when it is."""
        epoch = self.epoch
        while self.epoch == epoch:
            batch = self.batch_at(self.epoch * len(self) + self.position)
            self.epoch, self.position = divmod(self.epoch * len(self) + self.position + 1, len(self))
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Where we stand: the next batch is number `position` of `epoch`."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]


def _too_large(batch_size: int, world: int, rows: int) -> str:
    share = f" for each of {world} processes" if world > 1 else ""
    remedy = f"use at most {rows // world}" if rows >= world else "there is nothing to train on"
    return f"batch_size: {batch_size}{share} exceeds the {counted(rows, 'row')} of the data; {remedy}"
