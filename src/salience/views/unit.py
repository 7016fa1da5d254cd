"""From values as stored to the unit scale, where views are drawn and losses compare.

Images: x in [low, high] -> (x - low) / (high - low).  Tables: numbers standardised with the training data's statistics,
categories one-hot, so that 0 stands for "as expected" and "not known" alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from salience.batch import Column, Spec

DIGITS = 1e5  # of mean to spread; in float32 the mean then rounds by more than a hundredth of the spread


def unit_images(x: Tensor, spec: Spec) -> Tensor:
    """Images as stored, [n c h w] of any dtype -> float32 on [0, 1]."""
    if x.dtype == torch.uint16:  # few operations know this type
        x = x.view(torch.int16).to(torch.int32) & 0xFFFF
    scale = 1.0 / (spec.high - spec.low)
    x = x.to(torch.float32)
    return x * scale if spec.low == 0 else (x - spec.low) * scale


def unit_table(x: Tensor, spec: Spec, dtype: torch.dtype = torch.float32) -> Tensor:
    """Rows as stored, [n columns] with NaN where missing -> [n width].

    A number becomes (x - mean) / std, 0 where missing; a category one-hot, all zeros where missing or unknown.
    """
    parts, at = [], 0
    for number, run in itertools.groupby(spec.columns, lambda column: column.kind == "number"):
        columns = list(run)
        if number:  # all at once: of a wide table a small batch would spend its time in calls
            parts.append(_unit_numbers(x[:, at : at + len(columns)], columns, dtype))
        else:
            parts += [_one_hot(x[:, at + i], column, dtype) for i, column in enumerate(columns)]
        at += len(columns)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _unit_numbers(x: Tensor, columns: Sequence[Column], dtype: torch.dtype) -> Tensor:
    """[n columns] -> [n columns]"""
    spread = [column.std or 1.0 for column in columns]
    mean, wide = [column.mean for column in columns], x.dtype == torch.float64 != dtype
    if wide and any(_needs_double(*column) for column in zip(mean, spread, strict=True)):
        at, per = (torch.tensor(values, dtype=torch.float64, device=x.device) for values in (mean, spread))
        return torch.nan_to_num((x / per - at / per).to(dtype), nan=0.0)
    at, per = (torch.tensor(values, dtype=dtype, device=x.device) for values in (mean, spread))
    return torch.nan_to_num((x.to(dtype) - at) / per, nan=0.0)


def _needs_double(mean: float, std: float) -> bool:
    """Whether a column lies beyond float32, or its spread within float32's rounding of its mean, as of times in s."""
    return not 1e-30 < std < 1e30 or abs(mean) > DIGITS * std


def _one_hot(x: Tensor, column: Column, dtype: torch.dtype) -> Tensor:
    """[n] -> [n categories]"""
    code = torch.nan_to_num(x, nan=-1.0).long()
    count = len(column.categories)
    known = (code >= 0) & (code < count)
    return F.one_hot(torch.where(known, code, count), count + 1)[:, :count].to(dtype)


def column_widths(spec: Spec) -> list[int]:
    """How many unit-scale values each column of a table takes."""
    return [1 if column.kind == "number" else len(column.categories) for column in spec.columns]
