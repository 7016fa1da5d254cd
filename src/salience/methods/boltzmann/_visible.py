"""Visible units: which kind suits the data, and the way from items to their values and back."""

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
    """ "bernoulli" or "gaussian": as wished, else binary units for grey images, normal ones for all else.

    Errors: UserError where binary units cannot take the data.
    """
    if wished == "bernoulli":
        spec.modality.refuse_bernoulli(spec, "visible")
    return spec.modality.likelihood(spec) if wished == AUTO else wished


def visible_input(spec: Spec, kind: str) -> Input:
    """Normal units take standardised values; to binary ones, pixels are probabilities as they are."""
    return spec.modality.visible_input(spec, kind)


def gaussian_units(spec: Spec, kind: str) -> int:
    """How many visible units are normal: all or none."""
    return input_width(spec) if kind == "gaussian" else 0


def first_bias(spec: Spec, kind: str) -> Tensor:
    """Biases with which units have the mean of the training data: of their channel where they are pixels.  [visible]"""
    mean = None if kind == "gaussian" else spec.modality.mean(spec)
    return torch.zeros(input_width(spec)) if mean is None else mean.clamp(0.01, 0.99).logit()


def values_of(batch: Batch, input: Input, kind: str, dtype: torch.dtype) -> Tensor:
    """Raw items -> [n visible]"""
    x = input.unit(batch.x)
    return (input(x) if kind == "gaussian" else x).flatten(1).to(dtype)


def items_of(values: Tensor, input: Input, kind: str) -> Tensor:
    """[n visible] -> items on the unit scale [n ...]"""
    return input.inverse(input.spec.modality.shaped(values, input.spec))


@full_precision
def rebuilding_error(rebuilt: Tensor, values: Tensor, *, kind: str) -> Tensor:
    """Cross-entropy of probabilities, squared error of normal units, mean over all values.  [n visible] twice -> []"""
    if kind == "gaussian":
        return F.mse_loss(rebuilt, values)
    return F.binary_cross_entropy(rebuilt, values)
