"""Staged: a training in stages, each of which trains what the last one left alone.

All stages are steps of one training, so that it resumes, is budgeted and is watched like any other. A stage has a share
of the steps and a learning rate that rises and falls within it. What it does not train gets no gradient, and AdamW
leaves such parameters, and their moments, as they are to the bit.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import ClassVar

import torch
from torch import Tensor

from salience.batch import Batch, Progress
from salience.methods.contract import Method
from salience.methods.schedules import warm_up_cosine


@dataclass(frozen=True)
class Stage:
    """name: what it trains;  share: of all steps, in proportion to the shares of the others"""

    name: str
    share: float = 1.0


class Staged(Method):
    """Learns stage by stage."""

    partial: ClassVar[bool] = True

    @property
    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """In the order they are trained."""

    @abstractmethod
    def stage_loss(self, stage: int, batch: Batch, at: Progress) -> dict[str, Tensor]:
        """`{"loss": []}` of one stage and named terms of it.  at: within the stage; its seed and epoch are the run's"""

    def begin(self, stage: int) -> None:
        """Runs before the first step of a stage: what it takes over from the last."""

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        stage, within = self.stage(at)
        return self.stage_loss(stage, batch, within)

    def stage(self, at: Progress) -> tuple[int, Progress]:
        """Which stage a step belongs to, and where in it that is. Each has a step at least, if there are enough."""
        ends = self._ends(at.total)
        stage = next((number for number, end in enumerate(ends) if at.step < end), len(ends) - 1)
        first = ends[stage - 1] if stage else 0
        return stage, replace(at, step=at.step - first, total=max(1, ends[stage] - first))

    def rebuilds(self, at: Progress) -> bool:
        """From half of the last stage on: before, what decodes is not trained, or no longer what codes are made for."""
        stage, within = self.stage(at)
        return super().rebuilds(at) and stage == len(self.stages) - 1 and 2 * within.step >= within.total

    def before_step(self, at: Progress) -> None:
        starts = (0, *self._ends(at.total)[:-1])
        with torch.no_grad():
            for stage, start in enumerate(starts):
                if start == at.step:  # of two where the first has no steps
                    self.begin(stage)

    def phases(self) -> tuple[tuple[float, Progress], ...]:
        whole = sum(stage.share for stage in self.stages)
        ends = self._ends(1000 * len(self.stages))
        starts = (0, *ends[:-1])
        return tuple(
            (stage.share / whole, Progress(step, ends[-1])) for stage, step in zip(self.stages, starts, strict=True)
        )

    def rate_factor(self, step: int, total: int) -> float:
        _, within = self.stage(Progress(step, total))
        return warm_up_cosine(within.step, within.total)

    def _ends(self, total: int) -> list[int]:
        """The step after the last of each stage."""
        shares = [stage.share for stage in self.stages]
        ends = [0]
        for left, done in zip(reversed(range(len(shares))), accumulate(shares), strict=True):
            wished = max(ends[-1] + 1, round(total * done / sum(shares)))
            ends.append(max(1, min(wished, total - left)))  # those that are left need a step each
        return ends[1:]
