"""The unit scale of tables: numbers standardised with the statistics of the training data, categories one-hot.

A missing value is 0, the mean of a number.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from salience.modalities.table.spec import Column, TableSpec, column_widths

FAR = 2.0  # standard deviations: the range of a number without limits
DIGITS = 1e5  # ratio of mean to std above which float32 rounds the mean by more than a hundredth of the std


def unit_table(x: Tensor, spec: TableSpec, dtype: torch.dtype = torch.float32) -> Tensor:
    """Convert stored rows [n columns], with NaN for missing values, to the unit scale [n width].

    A number becomes (x - mean) / std, 0 if missing; a category becomes one-hot, all zeros if missing or unknown.
    """
    parts, at = [], 0
    for number, run in itertools.groupby(spec.columns, lambda column: column.kind == "number"):
        columns = list(run)
        if number:  # all columns at once, because calls per column are slow for small batches
            parts.append(_unit_numbers(x[:, at : at + len(columns)], columns, dtype))
        else:
            parts += [_one_hot(x[:, at + i], column, dtype) for i, column in enumerate(columns)]
        at += len(columns)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _unit_numbers(x: Tensor, columns: Sequence[Column], dtype: torch.dtype) -> Tensor:
    """Standardise columns of numbers.  [n columns] -> [n columns]"""
    spread = [column.std or 1.0 for column in columns]
    mean, wide = [column.mean for column in columns], x.dtype == torch.float64 != dtype
    if wide and any(_needs_double(*column) for column in zip(mean, spread, strict=True)):
        at, per = (torch.tensor(values, dtype=torch.float64, device=x.device) for values in (mean, spread))
        return torch.nan_to_num((x / per - at / per).to(dtype), nan=0.0)
    at, per = (torch.tensor(values, dtype=dtype, device=x.device) for values in (mean, spread))
    return torch.nan_to_num((x.to(dtype) - at) / per, nan=0.0)


def _needs_double(mean: float, std: float) -> bool:
    """Return whether a column exceeds the range or precision of float32, for example times in seconds."""
    return not 1e-30 < std < 1e30 or abs(mean) > DIGITS * std


def _one_hot(x: Tensor, column: Column, dtype: torch.dtype) -> Tensor:
    """Encode a column of categories as one-hot.  [n] -> [n categories]"""
    code = torch.nan_to_num(x, nan=-1.0).long()
    count = len(column.categories)
    known = (code >= 0) & (code < count)
    return F.one_hot(torch.where(known, code, count), count + 1)[:, :count].to(dtype)


def value_range(spec: TableSpec) -> tuple[Tensor, Tensor]:
    """Return the minimum and maximum on the unit scale, [width] each; a number without limits has -FAR and FAR."""
    pairs = zip(spec.columns, column_widths(spec), strict=True)
    low = [-FAR if column.kind == "number" else 0.0 for column, width in pairs for _ in range(width)]
    return torch.tensor(low), torch.tensor([FAR if value else 1.0 for value in low])


def probabilities(x: Tensor, spec: TableSpec) -> Tensor:
    """Apply a softmax to each column of categories; numbers are unchanged.  [n width] -> [n width]"""
    parts = x.split(column_widths(spec), dim=1)
    kinds = [column.kind for column in spec.columns]
    whole = [part if kind == "number" else part.softmax(1) for part, kind in zip(parts, kinds, strict=True)]
    return torch.cat(whole, dim=1)
