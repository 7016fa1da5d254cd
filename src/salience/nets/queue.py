"""The queue of MoCo: representations of earlier items, to be told apart from those of the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LONGEST = 65_536  # He et al. 2019, https://arxiv.org/abs/1911.05722


def queue_for(rows: int) -> int:
    """A power of two. More than a sixteenth of the rows only where that is less than 4096, the authors' for CIFAR-10:
    in a long queue many an image would meet its own old key as a negative."""
    longest = min(LONGEST, max(rows // 16, min(rows // 2, 4096)))
    return 1 << max(0, longest.bit_length() - 1)


def random_keys(length: int, dim: int) -> Tensor:
    """What a queue holds at first: rows of length 1, the same on all processes.  -> [length dim]"""
    return F.normalize(torch.randn(length, dim, generator=torch.Generator().manual_seed(0)), dim=1)


def share_filled(written: Tensor, length: int) -> Tensor:
    """The share of a queue that is keys, no longer random rows.  written: [] int64, how many keys came so far -> []"""
    return (written / max(1, length)).clamp(max=1.0)


@torch.no_grad()
def enqueue(queue: Tensor, written: Tensor, keys: Tensor) -> None:
    """Keys take the places of the oldest, in place, from one end to the other and around.

    queue: [K d];  written: [] int64, how many came before, counted on;  keys: [m d], the last K of which stay
    """
    length, count = len(queue), len(keys)
    if length:
        places = written + torch.arange(max(0, count - length), count, device=queue.device)
        queue.index_copy_(0, places % length, keys[-length:])
    written.add_(count)
