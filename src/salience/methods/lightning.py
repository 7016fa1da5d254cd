"""A method as a LightningModule: what our engine trains, and what a user's own Trainer takes.

    L.Trainer(max_epochs=10).fit(LightningMethod(method), dataset.loader(256))

Its weights, in checkpoints and wherever a state_dict is asked for, have the names they have in the method itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor

from salience.batch import Batch, Progress
from salience.errors import UserError
from salience.methods.adamw import AdamW
from salience.methods.contract import Method, reseed
from salience.methods.schedules import set_weight_decay


@dataclass(frozen=True)
class Plan:
    """The optimisation `fit` decided on. `total` steps, counted once before the first."""

    total: int
    steps_per_epoch: int
    learning_rate: float
    weight_decay: float = 1e-4
    seed: int = 0


class LightningMethod(L.LightningModule):
    """Trains a method.

    plan: what `fit` decided on; None takes steps and epochs from the trainer, and a learning rate of 1e-3
    """

    def __init__(self, method: Method, plan: Plan | None = None):
        super().__init__()
        self.method = method
        self.plan = plan
        self._begun: Progress | None = None  # the step under way

    # --- what it is to Lightning

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.method.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.method.load_state_dict(*args, **kwargs)

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """What torch need not send from the first process to the others."""
        return [f"method.{name}" for name in self.method.shared_buffers]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":  # Lightning's note of where it is, some forty times a step: no module, no tensor
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def on_fit_start(self) -> None:
        self._begun = None
        several = self.trainer.accumulate_grad_batches
        if several > 1 and len(self.method.turns) > 1:  # earlier batches' gradients would be the first player's alone
            raise UserError(
                f"accumulate_grad_batches: {several} was given, but both networks are updated with every batch; use 1"
            )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch.to(device, non_blocking=True)

    def configure_optimizers(self) -> Any:
        """AdamW, with the method's groups of parameters, its betas, and the learning rate of its `rate_factor`."""
        method, plan = self.method, self.plan or Plan(int(self.trainer.estimated_stepping_batches), 1, 1e-3)
        optimiser = AdamW(
            list(method.param_groups()), plan.learning_rate, method.betas, weight_decay=plan.weight_decay, fused=True
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: method.rate_factor(step, plan.total))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # --- one step

    def progress(self) -> Progress:
        trainer, plan = self.trainer, self.plan
        step, rank, world = trainer.global_step, trainer.global_rank, trainer.world_size
        if plan is None:
            return Progress(step, int(trainer.estimated_stepping_batches), trainer.current_epoch, 0, rank, world)
        return Progress(step, plan.total, step // plan.steps_per_epoch, plan.seed, rank, world)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        at = self.progress()
        if at != self._begun:  # once a step, whatever number of turns or of batches it has
            self._begun = at
            reseed(at)
            self.method.before_step(at)
            set_weight_decay(self.trainer.optimizers[0], self.method.weight_decay(at))
        terms = self.method.loss(batch, at)
        if (at.step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._record(terms, at)
        return terms["loss"]

    def _record(self, terms: Mapping[str, Tensor], at: Progress) -> None:
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        values = {name: term.detach() for name, term in terms.items()}
        self.log_dict({"step": float(at.step + 1), **values, "learning_rate": rate}, sync_dist=at.world > 1)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.method.before_update(self.progress())

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        at = self.progress()
        for turn in self.method.turns:
            with self.method.playing(turn):
                super().optimizer_step(*args, **kwargs)
        self.method.after_step(at)
