"""Watches a run from inside: signs of health at regular steps, and whether the loss is still finite."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.optim import Optimizer

from salience.distributed import agree
from salience.errors import Note, UserError
from salience.files import write_text
from salience.health.diagnosis import HEALTHY, diagnose
from salience.health.probe import Probe
from salience.methods import Method
from salience.methods.lightning import LightningMethod

PROBES = 12  # over a training
LEAST = 5  # steps between two probes
WARN_FROM = 0.25  # of the training: what is said before is too often wrong
KNN_EVERY = 3  # probes from then on: nearest neighbours cost more than the rest


def asks_neighbours(probe: int, probes: int = PROBES) -> bool:
    """Whether this one of so many does, counted from 0: all that the first warning rests on, then some."""
    return probe <= WARN_FROM * probes or probe % KNN_EVERY == 0


class Diverged(UserError):  # noqa: N818 - says what happened
    """The loss is no longer a number, and no later step can mend the weights."""


class Collapsed(UserError):  # noqa: N818 - says what happened
    """All items have become alike, and --stop-when-collapsed was given."""


class Health(L.Callback):
    """Writes health.json: what the signs are judged against, then one entry a probe, the first before training.

    Warns as soon as the signs are bad, once for each verdict. Travels in the checkpoint.
    config: of the run;  batch_size: items of a step on all processes;  every: steps between two looks at the loss
    warn: whether somebody reads the warnings
    """

    def __init__(self, path: Path, probe: Probe, config: Mapping[str, Any], *, batch_size: int, every: int, warn: bool):
        self.path = path
        self.probe = probe
        self.config = config
        self.steps = config["steps"]
        self.looks = config.get("probes", PROBES)  # fewer where a time budget was short
        self.interval = max(LEAST, self.steps // self.looks)
        self.batch_size = batch_size
        self.every = every
        self.record: dict[str, Any] = {}
        self.gradient: float | None = None
        self.warned = {HEALTHY, "under-trained"}  # the second is no news while training goes on
        self.warn = warn

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero and not self.record:
            self.record = {"about": self.probe.about(method_of(pl_module), self.batch_size), "probes": []}
            problem = self._look(trainer, pl_module)
            if problem is not None:
                raise problem

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        if self._due(trainer.global_step + 1):
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            self.gradient = float(torch.nn.utils.get_total_norm(gradients))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any) -> None:
        step = trainer.global_step
        due = self._due(step)
        if (due or step % self.every == 0) and agree([not torch.isfinite(outputs["loss"])])[0]:
            raise self._diverged(f"the loss is {float(outputs['loss'])}", trainer)
        if due:
            problem = self._look(trainer, pl_module) if trainer.is_global_zero else None
            if agree([problem is not None])[0]:  # all processes end together; only the first has looked
                raise problem or UserError("run: the first process ended the training; see its message")

    def _due(self, step: int) -> bool:
        return step % self.interval == 0 or step == self.steps

    def _diverged(self, what: str, trainer: L.Trainer) -> Diverged:
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        if trainer.is_global_zero:
            self.record["diverged"] = {"step": trainer.global_step, "what": what, "learning_rate": rate}
            self._write()
        return Diverged(
            f"training has diverged: {what} at step {trainer.global_step}, with a learning rate of {rate:.2g}; "
            "fit again with a lower --learning-rate"
        )

    def _look(self, trainer: L.Trainer, pl_module: L.LightningModule) -> UserError | None:
        """-> why training has to end, if it has"""
        step, probes = trainer.global_step, self.record["probes"]
        knn = asks_neighbours(len(probes), self.looks) or step == self.steps
        seen = self.probe.look(method_of(pl_module), step, knn=knn)
        if seen is None:
            return self._diverged("the representation is not finite", trainer)
        if self.gradient is not None:
            seen["gradient"] = float(f"{self.gradient:.4g}")
        probes.append({"step": step, **seen})
        self._write()
        return self._diagnose(step) if step >= WARN_FROM * self.steps else None

    def _diagnose(self, step: int) -> Collapsed | None:
        found = diagnose(self.record, self.config)
        hopeless = found.verdict == "collapsed" or self.record["about"].get("one_item")
        if hopeless and self.config.get("stop_when_collapsed"):
            finding = found.findings[0]
            return Collapsed(f"training has collapsed by step {step}: {finding.what}, {finding.why}; {finding.change}")
        if self.warn and found.verdict not in self.warned:
            self.warned.add(found.verdict)
            finding = found.findings[0]
            warnings.warn(
                f"step {step}: {found.verdict}; {finding.what} ({finding.why}); {finding.change}", Note, stacklevel=2
            )
        return None

    def _write(self) -> None:
        write_text(self.path, json.dumps(self.record, indent=1) + "\n")

    def state_dict(self) -> dict[str, Any]:
        return {**self.record, "probes": [dict(probe) for probe in self.record.get("probes", [])]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.record = state_dict


def method_of(pl_module: L.LightningModule) -> Method:
    """What the trainer trains."""
    assert isinstance(pl_module, LightningMethod)
    return pl_module.method
