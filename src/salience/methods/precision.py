"""In which precision a loss is computed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")
HALF = (torch.float16, torch.bfloat16)


def full_precision(loss: Callable[P, R]) -> Callable[P, R]:
    """Computes a loss in float32 at least, whatever the networks ran in: its exponentials need it."""

    @functools.wraps(loss)
    def exact(*args: P.args, **kwargs: P.kwargs) -> R:
        raised = [value.float() if isinstance(value, Tensor) and value.dtype in HALF else value for value in args]
        device = next((value.device.type for value in args if isinstance(value, Tensor)), "cpu")
        with torch.autocast(device if device != "meta" else "cpu", enabled=False):
            return loss(*raised, **kwargs)  # type: ignore[arg-type]

    return exact
