"""The values that travel between the parts: a batch, where training stands, and what the data is.

This module imports nothing of ours; every other part imports it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """n items.

    x: raw as stored, [n ...], or named tensors of it
    index: [n] int64, the row of each item in its dataset (also its row in an embedding table)
    y: task -> labels, [n] int64 with -1 where unknown (scikit-learn's convention)
    mask: [n t] bool, which tokens are real; None where all are
    """

    x: Tensor
    index: Tensor
    y: Mapping[str, Tensor] = field(default_factory=dict)
    mask: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def label(self) -> Tensor | None:
        """The only task's labels [n], None where there is no task."""
        if len(self.y) > 1:
            raise ValueError(f"batch.label: there are {len(self.y)} tasks ({', '.join(self.y)}); take one from batch.y")
        return next(iter(self.y.values()), None)

    def with_x(self, x: Tensor) -> Batch:
        return replace(self, x=x)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        mask = None if self.mask is None else move(self.mask)
        return Batch(move(self.x), move(self.index), {task: move(labels) for task, labels in self.y.items()}, mask)


@dataclass(frozen=True)
class Progress:
    """Where training stands. `total` is frozen before step 0, so every schedule ends where its paper says."""

    step: int = 0
    total: int = 1
    epoch: int = 0
    seed: int = 0
    rank: int = 0
    world: int = 1

    @property
    def fraction(self) -> float:
        """0 at the first step, 1 when all steps are done."""
        return min(1.0, self.step / max(1, self.total))


DTYPES = ("uint8", "uint16", "float32", "float64")  # that items are stored as


@dataclass(frozen=True)
class Column:
    """One column of a table. A category is stored as its position in `categories`; missing values as NaN.

    mean, std: of a numeric column's known values, on the training data
    """

    name: str
    kind: str = "number"
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True)
class Spec:
    """What one stored item is, and the statistics that bring it to a network's scale. Kept in every run.

    modality: "image" or "table"
    shape: of one stored item: (channels, height, width) or (columns,)
    dtype: as stored: "uint8", "uint16", "float32", "float64"
    low, high: image: stored values that mean 0 and 1
    mean, std: image: per channel, of the values brought to [0, 1]
    columns: table: one entry per column
    views: the view policy that suits the data, where its source or a test of the data tells ("glyphs" for digits)
    ground: image: what transparent pixels show: "white", "black" or "grey"
    """

    modality: str
    shape: tuple[int, ...]
    dtype: str
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    columns: tuple[Column, ...] = ()
    views: str | None = None
    ground: str = "white"

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def resolution(self) -> int:
        """Height of a stored image (images are stored square)."""
        return self.shape[-2]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, for YAML and JSON."""
        plain = asdict(self)
        for key in ("shape", "mean", "std"):
            plain[key] = list(plain[key])
        if self.ground == "white":
            del plain["ground"]  # as in what was written before there was a choice
        plain["columns"] = [{**column, "categories": list(column["categories"])} for column in plain["columns"]]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Spec:
        """What `to_dict` gave. Raises ValueError, TypeError or KeyError where a file that holds it was damaged."""
        columns = tuple(Column(**{**column, "categories": tuple(column["categories"])}) for column in plain["columns"])
        lists = {key: tuple(plain[key]) for key in ("shape", "mean", "std")}
        spec = cls(**{**plain, **lists, "columns": columns})
        spec._check()
        return spec

    def _check(self) -> None:
        """Raises ValueError for the first value that is none of this kind."""
        of_columns = [number for column in self.columns for number in (column.mean, column.std)]
        texts = [text for column in self.columns for text in (column.name, *column.categories)]
        for name, fits in (
            ("dtype", self.dtype in DTYPES),
            ("shape", all(isinstance(side, int) and side > 0 for side in self.shape)),
            ("low and high", _are_numbers((self.low, self.high))),
            ("mean and std", _are_numbers((*self.mean, *self.std, *of_columns))),
            ("columns", all(isinstance(text, str) for text in texts)),
            ("views", self.views is None or isinstance(self.views, str)),
        ):
            if not fits:
                raise ValueError(f"spec: {name} is not what it must be")


def _are_numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)
