"""What a person watching sees: a bar with the loss and the time left."""

from __future__ import annotations

from typing import Any

import lightning as L
from tqdm import tqdm


class ProgressBar(L.Callback):
    """refresh: steps between two looks at the loss, each of which waits for the device"""

    def __init__(self, refresh: int):
        self.refresh = refresh

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        total, done = int(trainer.max_steps), trainer.global_step
        # disable=None: only on a terminal, where it can be redrawn
        self.bar = tqdm(None, "training", total, False, initial=done, unit="step", mininterval=0.5, disable=None)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any) -> None:
        if trainer.global_step % self.refresh == 0:
            self.bar.set_postfix(loss=f"{float(outputs['loss']):.4g}", refresh=False)
        self.bar.update()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.bar.close()
