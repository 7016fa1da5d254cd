"""What a run costs: time and memory. Floating point operations are counted in `flops`."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
import torch

from salience.training.machine import anonymous_memory


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
