"""Visible units: the choice of a type for the data, and the conversion between items and unit values."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from salience.batch import Batch
from salience.methods.precision import full_precision
from salience.modalities import Spec
from salience.nets import Input, input_width
from salience.units import AUTO


def visible_kind(spec: Spec, wished: Any) -> str:
    """Return "bernoulli" or "gaussian": the requested type, else bernoulli for grey images and gaussian otherwise.

    Raises: UserError if binary units cannot represent the data.
    """
    if wished == "bernoulli":
        spec.modality.refuse_bernoulli(spec, "visible")
    return spec.modality.likelihood(spec) if wished == AUTO else wished


def visible_input(spec: Spec, kind: str) -> Input:
    """Return the input: standardised values for normal units, pixels as probabilities for binary units."""
    return spec.modality.visible_input(spec, kind)


def gaussian_units(spec: Spec, kind: str) -> int:
    """Return the number of normal visible units: all or none."""
    return input_width(spec) if kind == "gaussian" else 0


def first_bias(spec: Spec, kind: str) -> Tensor:
    """Return biases that give units the mean of the training data (of their channel, for pixels).  [visible]"""
    mean = None if kind == "gaussian" else spec.modality.mean(spec)
    return torch.zeros(input_width(spec)) if mean is None else mean.clamp(0.01, 0.99).logit()


def values_of(batch: Batch, input: Input, kind: str, dtype: torch.dtype) -> Tensor:
    """Convert raw items to visible units.  -> [n visible]"""
    x = input.unit(batch.x)
    return (input(x) if kind == "gaussian" else x).flatten(1).to(dtype)


def items_of(values: Tensor, input: Input, kind: str) -> Tensor:
    """Convert visible units to items.  [n visible] -> [n ...] on the unit scale"""
    return input.inverse(input.spec.modality.unflatten(values, input.spec))


@full_precision
def rebuilding_error(rebuilt: Tensor, values: Tensor, *, kind: str) -> Tensor:
    """Compute the mean cross-entropy of binary units, or squared error of normal ones.  [n visible] twice -> []"""
    if kind == "gaussian":
        return F.mse_loss(rebuilt, values)
    return F.binary_cross_entropy(rebuilt, values)
