"""From what the user asked for to a complete plan: every number a training needs, decided before its first step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from salience.config import Config, ModelConfig, TrainingConfig, TrainingPlan
from salience.data import Dataset
from salience.errors import UserError
from salience.methods import Method
from salience.representation import encoder_for
from salience.training import budget, machine, recipe
from salience.training.flops import step_flops
from salience.training.suit import views_of
from salience.units import counted, format_duration, parse_duration
from salience.views import default_policy


def make_plan(
    method: Method, dataset: Dataset, config: Config, *, started: float, why_views: str | None = None
) -> tuple[Config, list[str]]:
    """The configuration with its training decided, and lines that say what was chosen and why.

    started: when the fit began, by the clock of its time budget
    why_views: what a test of the data has found out about its views
    """
    choices, asked = recipe.Choices(), config.training
    networks = _name_networks(choices, method, dataset, config.model, why_views)
    planned = _size(choices, method, dataset, asked)
    layers = sum(parameter.ndim > 1 for parameter in method.parameters())
    tiny = recipe.is_tiny(planned["flops_per_step"], layers)
    convolutions = sum(isinstance(part, nn.Conv2d) for part in method.encoder.modules())
    planned |= _speed(choices, planned, asked, tiny=tiny, convolves=convolutions > 1)  # a transformer has one
    planned |= {"init": None if asked.init is None else str(Path(asked.init).resolve())}
    planned |= {"checkpoint_every": str(asked.checkpoint_every)}
    plan = TrainingPlan(**vars(asked) | planned)
    if asked.budget is not None:
        plan = _within(choices, method, dataset, plan, started)
        lines = choices.lines()
    else:
        flops, world = plan.flops_per_step, plan.devices
        forecast = recipe.expected_seconds(flops, plan.steps, precision=plan.precision, world=world)
        roughly = f"  {counted(plan.steps, 'step')}, roughly {format_duration(forecast)}"
        lines = [*choices.lines(), roughly]
    return replace(config, model=replace(config.model, **networks), training=plan), lines


def _name_networks(
    choices: recipe.Choices, method: Method, dataset: Dataset, asked: ModelConfig, why_views: str | None
) -> dict[str, Any]:
    modality = dataset.spec.modality
    usual = "the default for " + ("this method" if method.default_encoder else modality.plural)
    encoder = encoder_for(type(method), asked.encoder, dataset.spec) or method.default_encoder
    encoder = encoder or modality.default_encoder
    choices.decide("encoder", encoder, "as given" if asked.encoder else usual)
    views = views_of(method)
    if views is not None:
        policy, reason = default_policy(dataset.spec)
        if asked.views is not None:
            reason = "as given"
        elif why_views is not None:
            reason = why_views
        elif views.policy != policy:
            reason = "what this method compares"
        choices.decide("views", views.policy, reason)
    elif asked.views is not None:
        raise UserError(f"views: {asked.views} was given, but this method does not use views; leave this option out")
    return {"encoder": encoder, "views": choices.values.get("views")}


def _size(choices: recipe.Choices, method: Method, dataset: Dataset, asked: TrainingConfig) -> dict[str, Any]:
    """How much is seen, how fast it is learnt, and what a step costs."""
    rows, world = len(dataset), asked.devices
    batch = recipe.choose_batch(choices, rows=rows, world=world, given=asked.batch_size)
    given = None if asked.epochs is None else int(asked.epochs)
    epochs = None if asked.budget else recipe.choose_epochs(choices, rows=rows, given=given)
    encoder = str(choices.values["encoder"])
    per_epoch = rows // (batch * world)
    return {
        "devices": world,
        "batch_size": batch,
        "epochs": epochs,
        "budget": None if asked.budget is None else str(asked.budget),
        "steps_per_epoch": per_epoch,
        "steps": (epochs or 1) * per_epoch,
        "learning_rate": recipe.choose_learning_rate(
            choices, batch=batch, encoder=encoder, given=asked.learning_rate, usual=method.learning_rate
        ),
        "flops_per_step": step_flops(method, dataset.batch(np.arange(batch))),
    }


def _speed(
    choices: recipe.Choices, planned: Mapping[str, Any], asked: TrainingConfig, *, tiny: bool, convolves: bool
) -> dict[str, Any]:
    """How the arithmetic is done."""
    accelerator, flops, world = machine.accelerator(), planned["flops_per_step"], planned["devices"]
    precision = recipe.choose_arithmetic(choices, tiny=tiny, accelerator=accelerator, given=asked.precision)
    seconds = recipe.expected_seconds(flops, planned["steps"], precision=precision, world=world)
    if asked.budget is not None:
        seconds = parse_duration(asked.budget)
    compiled = recipe.choose_compilation(
        choices, seconds=seconds, flops=flops, accelerator=accelerator, convolves=convolves, given=asked.compile
    )
    share = world if accelerator == "cpu" else 1
    threads = recipe.choose_threads(choices, tiny=tiny, share=share, given=asked.threads)
    return {"precision": precision, "compile": compiled, "threads": threads}


def _within(
    choices: recipe.Choices, method: Method, dataset: Dataset, plan: TrainingPlan, started: float
) -> TrainingPlan:
    """As many steps as the time allows, and fewer looks at the run's health where it is short."""
    from salience.health.record import PROBES

    seconds = parse_duration(plan.budget or 0)
    steps, probes, each = budget.steps_within(budget.Time(seconds, started), method, dataset, plan)
    choices.decide("steps", steps, f"{each * 1000:.0f} ms each, within {format_duration(seconds)}")
    if probes == PROBES:
        return replace(plan, steps=steps)
    choices.decide("probes", probes, f"checks its health, for which there is time; otherwise {PROBES}")
    return replace(plan, steps=steps, probes=probes)
