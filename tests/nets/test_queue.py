"""The queue of keys: what it holds after any number of steps, and how long it is for so many rows."""

from __future__ import annotations

import pytest
import torch

from salience.nets.queue import enqueue, queue_for, random_keys, share_filled


@pytest.mark.parametrize("length", [1, 3, 4, 6, 7, 13])
def test_the_queue_holds_the_last_keys_that_came(length: int) -> None:
    """First in, first out, around the end, for a queue that is no multiple of the batch or shorter than it."""
    queue, written = torch.zeros(length, 1), torch.zeros((), dtype=torch.int64)
    place = queue.data_ptr()
    for step in range(1, 8):
        enqueue(queue, written, torch.arange(4.0 * step - 4, 4.0 * step)[:, None])
        came = list(range(4 * step))
        assert sorted(queue[:, 0].tolist()) == sorted(([0] * length + came)[-length:])
        assert queue[(written - 1) % length, 0] == came[-1]
    assert queue.data_ptr() == place


def test_a_queue_is_a_power_of_two_of_at_most_half_the_rows() -> None:
    assert [queue_for(rows) for rows in (2, 96, 1437, 50_000, 1_281_167)] == [1, 32, 512, 4096, 65_536]
    assert all(1 <= queue_for(rows) <= rows / 2 for rows in range(2, 3000))


def test_a_queue_begins_with_the_same_random_rows_whatever_was_drawn_before() -> None:
    first = random_keys(50, 8)
    torch.rand(3)
    assert torch.equal(first, random_keys(50, 8))
    torch.testing.assert_close(first.norm(dim=1), torch.ones(50))
    assert float((first @ first.T).fill_diagonal_(0).abs().max()) < 0.99


def test_the_share_that_is_keys_stops_at_one() -> None:
    counts = torch.tensor([0, 5, 10, 25])
    assert [float(share_filled(count, 10)) for count in counts] == [0.0, 0.5, 1.0, 1.0]
    assert float(share_filled(counts[0], 0)) == 0.0
