"""From rows as stored to the unit scale: numbers standardised with the training data's statistics, categories one-hot.

So 0 stands for "as expected" and "not known" alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from salience.modalities.table.spec import Column, TableSpec

FAR = 2.0  # standard deviations: the least and greatest value of a number that has no limits
DIGITS = 1e5  # of mean to spread; in float32 the mean then rounds by more than a hundredth of the spread


def unit_table(x: Tensor, spec: TableSpec, dtype: torch.dtype = torch.float32) -> Tensor:
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


def column_widths(spec: TableSpec) -> list[int]:
    """How many unit-scale values each column of a table takes."""
    return [1 if column.kind == "number" else len(column.categories) for column in spec.columns]


def limits(spec: TableSpec) -> tuple[Tensor, Tensor]:
    """The least and greatest unit-scale values, [width] each: of a number that has no limits, FAR from its mean."""
    pairs = zip(spec.columns, column_widths(spec), strict=True)
    low = [-FAR if column.kind == "number" else 0.0 for column, width in pairs for _ in range(width)]
    return torch.tensor(low), torch.tensor([FAR if value else 1.0 for value in low])


def probabilities(x: Tensor, spec: TableSpec) -> Tensor:
    """Numbers as they are; of a column of categories, their probabilities.  [n width] -> the same"""
    parts = x.split(column_widths(spec), dim=1)
    kinds = [column.kind for column in spec.columns]
    whole = [part if kind == "number" else part.softmax(1) for part, kind in zip(parts, kinds, strict=True)]
    return torch.cat(whole, dim=1)
