"""Watches a run from inside: the geometry of a fixed probe batch, and whether the loss is still finite.

The probe is normalised by its own statistics: running statistics of a young batch norm look like a collapse. It draws
nothing from the training's randomness and leaves every buffer as it was, so a watched run ends with the same weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
import torch
from torch import nn

from salience.batch import Batch
from salience.errors import UserError
from salience.evaluation.geometry import effective_rank, std, uniformity
from salience.files import write_text
from salience.methods import Method

PROBES = 20  # over a training
LEAST = 5  # steps between two probes
SIZE = 256  # items of the probe


class Diverged(UserError):  # noqa: N818 - says what happened
    """The loss is no longer a number, and no later step can mend the weights."""


class Health(L.Callback):
    """Writes health.json: one entry a probe, the first before training. Travels in the checkpoint.

    batch: the probe;  steps: of the whole training;  every: steps between two looks at the loss
    """

    def __init__(self, path: Path, batch: Batch, *, steps: int, every: int):
        self.path = path
        self.batch = batch
        self.interval = max(LEAST, steps // PROBES)
        self.steps = steps
        self.every = every
        self.probes: list[dict[str, float]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.probes:
            self._look(trainer, pl_module)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any) -> None:
        step = trainer.global_step
        due = step % self.interval == 0 or step == self.steps
        if (due or step % self.every == 0) and not torch.isfinite(outputs["loss"]):
            self._diverged(f"the loss is {float(outputs['loss'])}", trainer)
        if due:
            self._look(trainer, pl_module)

    def _diverged(self, what: str, trainer: L.Trainer) -> NoReturn:
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        raise Diverged(
            f"training has diverged: {what} at step {trainer.global_step}, with a learning rate of {rate:.2g}; "
            "fit again with a lower --learning-rate"
        )

    def _look(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(method, Method)
        seen = look(method, self.batch.to(method.device))
        if seen is None:
            self._diverged("the representation is not finite", trainer)
        self.probes.append({"step": trainer.global_step, **seen})
        write_text(self.path, json.dumps({"probes": self.probes}, indent=1) + "\n")

    def state_dict(self) -> dict[str, Any]:
        return {"probes": [dict(probe) for probe in self.probes]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.probes = state_dict["probes"]


@torch.no_grad()
def look(method: Method, batch: Batch) -> dict[str, float] | None:
    """Geometry of the probe's representation, None where it is not finite."""
    with torch.random.fork_rng(devices=[]), own_statistics(method):
        # forward, not a call: a compiled encoder would be compiled once more for this shape
        h = method.encoder.forward(method.encoder.input.unit(batch.x), batch.mask).float().cpu()
    if not torch.isfinite(h).all():
        return None
    return {
        "effective_rank": round(float(effective_rank(h)), 4),
        "std": round(float(std(h).mean()), 6),
        "uniformity": round(float(uniformity(h)), 6),
    }


@contextmanager
def own_statistics(module: nn.Module) -> Iterator[None]:
    """No dropout; batch norms use the batch's statistics, as they do without running ones, and theirs are kept safe."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    kept = [(norm.running_mean, norm.running_var) for norm in norms]
    training = module.training
    module.eval()
    for norm in norms:
        norm.running_mean = norm.running_var = None
    try:
        yield
    finally:
        for norm, (mean, variance) in zip(norms, kept, strict=True):
            norm.running_mean, norm.running_var = mean, variance
        module.train(training)
