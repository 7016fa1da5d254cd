"""What a person watching sees: how many steps are done, the loss, and the time left."""

from __future__ import annotations

from typing import Any

import lightning as L

from salience.progress import progress_bar


class ProgressBar(L.Callback):
    """refresh: steps between two looks at the loss, each of which waits for the device"""

    def __init__(self, refresh: int):
        self.refresh = refresh

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        total, done = int(trainer.max_steps), trainer.global_step
        self.bar = progress_bar(total, "training", True, "steps", initial=done, scale=False)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any) -> None:
        if trainer.global_step % self.refresh == 0:
            self.bar.set_postfix(loss=f"{float(outputs['loss']):.4g}", refresh=False)
        self.bar.update()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.bar.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if hasattr(self, "bar"):  # it may have been interrupted before the first step
            self.bar.close()
