"""What a run costs: floating point operations, time, memory."""

from __future__ import annotations

import copy
import time
from typing import Any

import lightning as L
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from salience.batch import Batch
from salience.methods import Method
from salience.training.machine import anonymous_memory


def step_flops(method: Method, batch: Batch) -> int:
    """Operations of one training step, forward and backward, counted on the meta device: nothing is computed.

    Where an operation has no form for that device, the step is computed once.

    Call it before compilation. A multiply-add counts as two. Of stages of different cost, their mean.
    """
    try:
        return _counted(copy.deepcopy(method).to("meta"), batch.to("meta"))
    except NotImplementedError:
        return _counted(copy.deepcopy(method), batch)


def _counted(twin: Method, batch: Batch) -> int:
    whole = 0.0
    for share, at in twin.phases():
        # On the CPU the counter misses fused attention (pytorch#195460); the plain form is counted everywhere.
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            for loss in twin.losses(batch, at):
                loss.backward()
        whole += share * counter.get_total_flops()
    return round(whole)


class CostMeter(L.Callback):
    """Seconds spent training and peak memory, over all the sittings of a run. Travels in the checkpoint.

    every: steps between two looks at the memory
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.seconds = 0.0
        self.peak = 0
        self._since: float | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._since = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step % self.every == 0:
            self.peak = max(self.peak, self._memory())

    def on_train_end(self, *args: Any) -> None:
        self.state_dict()
        self._since = None

    def state_dict(self) -> dict[str, Any]:
        if self._since is not None:
            now = time.monotonic()
            self.seconds += now - self._since
            self._since = now
        return {"seconds": self.seconds, "peak": self.peak}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.peak = state_dict["seconds"], state_dict["peak"]

    @staticmethod
    def _memory() -> int:
        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else anonymous_memory() or 0
