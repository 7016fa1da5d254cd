"""One autograd-aware gather, so that a loss and its gradient do not depend on the number of processes.

Each process returns the loss of its own anchors against everyone's samples. The mean of these losses over processes is
the loss of one process with all the data, and so is its gradient: the backward pass hands every process the sum of
what all of them want from its samples, and the engine averages over processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Within, this process reckons with its own samples only: for a look that the others do not take."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def rank_and_world() -> tuple[int, int]:
    """This process' number and how many there are; (0, 1) alone."""
    if _ALONE.get():
        return 0, 1
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather(mine: Tensor) -> tuple[Tensor, Tensor]:
    """Everyone's rows, in the order of processes, and where mine are among them.

    mine: [n ...], the same shape on every process -> ([world·n ...], [n] int64)
    """
    rank, world = rank_and_world()
    mine_at = torch.arange(len(mine), device=mine.device) + rank * len(mine)
    return (_Gather.apply(mine) if world > 1 else mine), mine_at


def average_(tensors: Sequence[Tensor]) -> None:
    """Each becomes its mean over all processes, in place, by one message.  Of one type and device"""
    _, world = rank_and_world()
    if world == 1 or not tensors:
        return
    together = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(together)
    parts = together.div_(world).split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def agree(wishes: list[bool]) -> list[bool]:
    """What any of the processes wishes, the same on all of them."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return wishes
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    said = torch.tensor(wishes, dtype=torch.int32, device=device)
    dist.all_reduce(said, dist.ReduceOp.MAX)
    return [bool(wish) for wish in said.tolist()]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        rank, world = rank_and_world()
        ctx.rows = slice(rank * len(mine), (rank + 1) * len(mine))
        parts = [torch.empty_like(mine) for _ in range(world)]
        dist.all_gather(parts, mine.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient)
        return gradient[ctx.rows]
