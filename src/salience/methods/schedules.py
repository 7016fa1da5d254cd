"""Schedules over a training: numbers that are a function of the step and of how many there are."""

from __future__ import annotations

import math

import torch

WARM_UP = 0.1  # share of the steps over which the learning rate rises


def cosine(start: float, end: float, fraction: float) -> float:
    """From start to end along half a cosine; `fraction` 1 is the end."""
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def warm_up_cosine(step: int, total: int) -> float:
    """Factor on the learning rate: linear from 1/w to 1 over the first w = 10 % of steps, then a half cosine to 0."""
    rise = max(1, round(WARM_UP * total))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def set_weight_decay(optimiser: torch.optim.Optimizer, decay: float | None) -> None:
    """Of this step, for weights: biases and normalisation have none. None leaves it as it is."""
    if decay is None:
        return
    for group in optimiser.param_groups:
        if any(parameter.ndim > 1 for parameter in group["params"]):
            group["weight_decay"] = decay
