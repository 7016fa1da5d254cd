"""Visible units: which kind suits the data, and the way from items to their values and back."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from salience.batch import Batch, Spec
from salience.catalogue import AUTO
from salience.errors import UserError
from salience.methods.base import full_precision
from salience.nets import ImageInput, TableInput, input_width
from salience.units import printable

Input = ImageInput | TableInput


def visible_kind(spec: Spec, wished: Any) -> str:
    """ "bernoulli" or "gaussian": as wished, else binary units for grey images, normal ones for all else.

    Errors: UserError where binary units cannot take the data.
    """
    numbers = [column.name for column in spec.columns if column.kind == "number"]
    if wished == "bernoulli" and numbers:
        column = printable(numbers[0])
        raise UserError(
            f"visible: 'bernoulli' is for images and categories; column '{column}' holds numbers; take 'gaussian'"
        )
    if wished != AUTO:
        return wished
    return "bernoulli" if spec.modality == "image" and spec.channels == 1 else "gaussian"


def visible_input(spec: Spec, kind: str) -> Input:
    """Normal units take standardised values; to binary ones, pixels are probabilities as they are."""
    if spec.modality == "table":
        return TableInput(spec)
    return ImageInput(spec) if kind == "gaussian" else ImageInput(spec, [0.0] * spec.channels, [1.0] * spec.channels)


def gaussian_units(spec: Spec, kind: str) -> int:
    """How many visible units are normal: all or none."""
    return input_width(spec) if kind == "gaussian" else 0


def first_bias(spec: Spec, kind: str) -> Tensor:
    """Biases with which units have the mean of the training data: of their channel where they are pixels.  [visible]"""
    if kind == "gaussian" or spec.modality == "table" or not spec.mean:
        return torch.zeros(input_width(spec))
    pixels = spec.shape[1] * spec.shape[2]
    return torch.tensor(spec.mean).clamp(0.01, 0.99).logit().repeat_interleave(pixels)


def values_of(batch: Batch, input: Input, kind: str, dtype: torch.dtype) -> Tensor:
    """Raw items -> [n visible]"""
    x = input.unit(batch.x)
    return (input(x) if kind == "gaussian" else x).flatten(1).to(dtype)


def items_of(values: Tensor, input: Input, kind: str) -> Tensor:
    """[n visible] -> items on the unit scale [n ...]"""
    if isinstance(input, TableInput):
        return values
    items = values.unflatten(1, input.spec.shape)
    return items * input.std + input.mean if kind == "gaussian" else items


@full_precision
def rebuilding_error(rebuilt: Tensor, values: Tensor, *, kind: str) -> Tensor:
    """Cross-entropy of probabilities, squared error of normal units, mean over all values.  [n visible] twice -> []"""
    if kind == "gaussian":
        return F.mse_loss(rebuilt, values)
    return F.binary_cross_entropy(rebuilt, values)
