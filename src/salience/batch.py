"""The values that travel between the parts: a batch, and where training stands.

This module imports nothing of ours, and torch for type checkers only; every other part imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """n items.

    x: raw as stored, [n ...], or named tensors of it
    index: [n] int64, the row of each item in its dataset (also its row in an embedding table)
    y: task -> labels, [n] int64 with -1 where unknown (scikit-learn's convention)
    mask: [n t] bool, which tokens are real; None where all are
    """

    x: Tensor
    index: Tensor
    y: Mapping[str, Tensor] = field(default_factory=dict)
    mask: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def label(self) -> Tensor | None:
        """The only task's labels [n], None where there is no task."""
        if len(self.y) > 1:
            raise ValueError(f"batch.label: there are {len(self.y)} tasks ({', '.join(self.y)}); take one from batch.y")
        return next(iter(self.y.values()), None)

    def with_x(self, x: Tensor) -> Batch:
        return replace(self, x=x)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        mask = None if self.mask is None else move(self.mask)
        x = {name: move(one) for name, one in self.x.items()} if isinstance(self.x, Mapping) else move(self.x)
        return Batch(x, move(self.index), {task: move(labels) for task, labels in self.y.items()}, mask)


@dataclass(frozen=True)
class Progress:
    """Where training stands. `total` is frozen before step 0, so every schedule ends where its paper says."""

    step: int = 0
    total: int = 1
    epoch: int = 0
    seed: int = 0
    rank: int = 0
    world: int = 1

    @property
    def fraction(self) -> float:
        """0 at the first step, 1 when all steps are done."""
        return min(1.0, self.step / max(1, self.total))
