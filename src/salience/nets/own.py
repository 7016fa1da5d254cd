"""Encoders that a user gives: a module, or a function or class that makes one from the spec of the data."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from salience.errors import UserError
from salience.nets.encoder import Encoder
from salience.nets.inputs import make_input

if TYPE_CHECKING:
    from salience.modalities.spec import Spec

Given = nn.Module | Callable[..., nn.Module]


def own_encoder(given: Given, spec: Spec) -> Encoder:
    """Make an encoder with this body; of a module a copy. The body sees standardised items and returns [n d].

    The width d is the module's attribute `dim` if it has one, otherwise it is found with a blank item.

    Raises:
        UserError: It makes no module, or does not fit the data.
    """
    made = copy.deepcopy(given) if isinstance(given, nn.Module) else _made(given, spec)
    if isinstance(made, Encoder):
        return made
    dim = getattr(made, "dim", None)
    return Encoder(make_input(spec), made, dim if isinstance(dim, int) else _found_width(made, spec))


def _made(given: Callable[..., Any], spec: Spec) -> nn.Module:
    needed = [
        one
        for one in inspect.signature(given).parameters.values()
        if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    made = given(spec) if needed else given()
    if not isinstance(made, nn.Module):
        raise UserError(f"encoder: expected {_name(given)} to return a torch module, got {type(made).__name__}")
    return made


def _found_width(body: nn.Module, spec: Spec) -> int:
    training = body.training
    body.eval()
    try:
        with torch.no_grad():
            found = body(make_input(spec)(spec.modality.blank(spec)))
    except Exception as problem:  # of the user's module
        reason = " ".join(str(problem).split())[:200]
        shape = "×".join(map(str, spec.shape))
        raise UserError(f"encoder: {_name(body)} does not take items of {shape} ({reason})") from problem
    finally:
        body.train(training)
    if not isinstance(found, Tensor) or found.ndim != 2:
        got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UserError(f"encoder: expected {_name(body)} to return [n d], got {got}; add pooling or nn.Flatten")
    return found.shape[1]


def _name(given: Any) -> str:
    return getattr(given, "__name__", type(given).__name__)


def start_again(module: nn.Module) -> list[str]:
    """Draw new weights for all layers that can; return the names of parameters that keep theirs."""
    kept = []
    for name, layer in module.named_modules():
        reset = getattr(layer, "reset_parameters", None)
        if callable(reset):
            reset()
        else:
            kept += [f"{name}.{own}" for own, _ in layer.named_parameters(recurse=False)]
    return kept
