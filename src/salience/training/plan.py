"""From what the user asked for to a complete plan: every number a training needs, decided before its first step."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from salience.catalogue import Entry
from salience.data import Dataset
from salience.errors import UserError
from salience.methods import Method
from salience.processors import cap_threads
from salience.training import budget, engine, machine, recipe
from salience.training.cost import step_flops
from salience.training.health import PROBES
from salience.training.suit import views_of
from salience.units import check_flag, check_real, check_seed, check_whole, counted, format_duration, parse_duration
from salience.views import default_policy

BY_GRADIENT = ("epochs", "budget", "encoder", "views", "batch_size", "learning_rate", "init", "logger")
WEIGHT_DECAY = 1e-4
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class Wishes:
    """What `fit` was given, as it was given; None where it may decide. `started`: when, by the budget's clock."""

    epochs: int | None
    budget: str | float | None
    encoder: str | None
    views: str | None
    batch_size: int | None
    learning_rate: float | None
    init: Path | str | None
    logger: str | None
    checkpoint_every: str | float
    devices: int
    precision: str
    compile: bool | None
    threads: int | None
    seed: int
    started: float

    def checked(self, entry: Entry) -> Wishes:
        """The same with plain Python numbers. Raises UserError for what can be seen to be wrong without the data."""
        given = [name for name in BY_GRADIENT if getattr(self, name) is not None]
        if entry.kind == "ClosedForm" and given:
            raise UserError(f"{given[0]}: {entry.name} is solved in closed form and has no such option")
        if "epochs" in given and "budget" in given:
            raise UserError("epochs, budget: both were given; give the number of passes or the time there is, not both")
        plain = replace(self, **self._numbers())
        plain._check_machine()
        return plain

    def _numbers(self) -> dict[str, Any]:
        """Those that were given, as plain Python numbers."""
        numbers: dict[str, Any] = {"seed": check_seed(self.seed)}
        for name in ("epochs", "batch_size", "devices", "threads"):
            value = getattr(self, name)
            if value is not None:
                numbers[name] = check_whole(name, value, 1)
        if "threads" in numbers:
            numbers["threads"] = cap_threads(numbers["threads"])
        if self.learning_rate is not None:
            numbers["learning_rate"] = rate = check_real("learning_rate", self.learning_rate)
            if rate <= 0:
                raise UserError(f"learning_rate: {rate:g} is not above 0; leave it out, or give one such as 1e-3")
        if self.compile is not None:
            numbers["compile"] = check_flag("compile", self.compile)
        for name in ("budget", "checkpoint_every"):
            if getattr(self, name) is not None:
                parse_duration(getattr(self, name), name)
        return numbers

    def _check_machine(self) -> None:
        if self.precision not in PRECISIONS:
            raise UserError(f"precision: {self.precision} is not known; take one of {', '.join(PRECISIONS)}")
        if self.logger is not None:
            engine.logger_class(self.logger)
        started = int(os.environ.get("WORLD_SIZE", "1"))
        if started > 1 and self.devices == 1:
            raise UserError(f"devices: 1, but a launcher has started {started} processes; give --devices for them")
        if self.devices > machine.devices():
            raise UserError(f"devices: {self.devices} is more than this machine has; at most {machine.devices()}")


def make_plan(
    method: Method, dataset: Dataset, wishes: Wishes, config: Mapping[str, Any], why_views: str | None = None
) -> tuple[dict[str, Any], list[str]]:
    """The config's part on training, and lines that say what was chosen and why.

    why_views: what a test of the data has found out about its views
    """
    choices = recipe.Choices()
    planned = _name_networks(choices, method, dataset, wishes, why_views) | _size(choices, method, dataset, wishes)
    layers = sum(parameter.ndim > 1 for parameter in method.parameters())
    tiny = recipe.is_tiny(planned["flops_per_step"], layers)
    convolutions = sum(isinstance(part, nn.Conv2d) for part in method.encoder.modules())
    planned |= _speed(choices, planned, wishes, tiny=tiny, convolves=convolutions > 1)  # a transformer has one
    planned |= {
        "init": None if wishes.init is None else str(Path(wishes.init).resolve()),
        "checkpoint_every": str(wishes.checkpoint_every),
        "logger": wishes.logger,
        "weight_decay": WEIGHT_DECAY,
    }
    if wishes.budget is not None:
        planned |= _within(choices, method, dataset, wishes, {**config, **planned})
        return planned, choices.lines()
    forecast = recipe.expected_seconds(
        planned["flops_per_step"], planned["steps"], precision=planned["precision"], world=wishes.devices
    )
    return planned, [*choices.lines(), f"  {counted(planned['steps'], 'step')}, roughly {format_duration(forecast)}"]


def _name_networks(
    choices: recipe.Choices, method: Method, dataset: Dataset, wishes: Wishes, why_views: str | None
) -> dict[str, Any]:
    modality = dataset.spec.modality
    usual = "the default for " + ("this method" if method.default_encoder else modality.plural)
    encoder = wishes.encoder or method.default_encoder or modality.default_encoder
    choices.decide("encoder", encoder, "as given" if wishes.encoder else usual)
    views = views_of(method)
    if views is not None:
        policy, reason = default_policy(dataset.spec)
        if wishes.views is not None:
            reason = "as given"
        elif why_views is not None:
            reason = why_views
        elif views.policy != policy:
            reason = "what this method compares"
        choices.decide("views", views.policy, reason)
    elif wishes.views is not None:
        raise UserError(f"views: {wishes.views} was given, but this method draws no views; leave it out")
    return {"encoder": encoder, "views": choices.values.get("views")}


def _size(choices: recipe.Choices, method: Method, dataset: Dataset, wishes: Wishes) -> dict[str, Any]:
    """How much is seen, how fast it is learnt, and what a step costs."""
    rows, world = len(dataset), wishes.devices
    batch = recipe.choose_batch(choices, rows=rows, world=world, given=wishes.batch_size)
    epochs = None if wishes.budget else recipe.choose_epochs(choices, rows=rows, given=wishes.epochs)
    encoder = str(choices.values["encoder"])
    per_epoch = rows // (batch * world)
    return {
        "devices": world,
        "batch_size": batch,
        "epochs": epochs,
        "budget": None if wishes.budget is None else str(wishes.budget),
        "steps_per_epoch": per_epoch,
        "steps": (epochs or 1) * per_epoch,
        "learning_rate": recipe.choose_learning_rate(
            choices, batch=batch, encoder=encoder, given=wishes.learning_rate, usual=method.learning_rate
        ),
        "flops_per_step": step_flops(method, dataset.batch(np.arange(batch))),
    }


def _speed(
    choices: recipe.Choices, planned: Mapping[str, Any], wishes: Wishes, *, tiny: bool, convolves: bool
) -> dict[str, Any]:
    """How the arithmetic is done."""
    accelerator, flops, world = machine.accelerator(), planned["flops_per_step"], planned["devices"]
    precision = recipe.choose_arithmetic(choices, tiny=tiny, accelerator=accelerator, given=wishes.precision)
    seconds = recipe.expected_seconds(flops, planned["steps"], precision=precision, world=world)
    if wishes.budget is not None:
        seconds = parse_duration(wishes.budget)
    compiled = recipe.choose_compilation(
        choices, seconds=seconds, flops=flops, accelerator=accelerator, convolves=convolves, given=wishes.compile
    )
    share = world if accelerator == "cpu" else 1
    threads = recipe.choose_threads(choices, tiny=tiny, share=share, given=wishes.threads)
    return {"precision": precision, "compile": compiled, "threads": threads}


def _within(
    choices: recipe.Choices, method: Method, dataset: Dataset, wishes: Wishes, config: Mapping[str, Any]
) -> dict[str, Any]:
    """As many steps as the time allows, and fewer looks at the run's health where it is short."""
    seconds = parse_duration(wishes.budget or 0)
    steps, probes, each = budget.steps_within(budget.Time(seconds, wishes.started), method, dataset, config)
    choices.decide("steps", steps, f"{each * 1000:.0f} ms each, within {format_duration(seconds)}")
    if probes == PROBES:
        return {"steps": steps}
    choices.decide("probes", probes, f"looks at its health, for which there is time; otherwise {PROBES}")
    return {"steps": steps, "probes": probes}
