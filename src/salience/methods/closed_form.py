"""The contract of a method that is solved over rows, in closed form or a few passes, without gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from salience.batch import Batch
from salience.methods.contract import Context
from salience.nets import Encoder, Input, input_width


class RowReader(Protocol):
    """Passes over the rows of a data set, as a closed form needs them: flat, on the unit scale."""

    rows: int
    width: int

    def chunks(self) -> Iterator[np.ndarray]:
        """[m width] each, in order; a new pass every time."""

    def everything(self) -> np.ndarray | None:
        """[rows width] at once, None where that would not fit in memory."""

    def sample(self, count: int, seed: int) -> np.ndarray:
        """[min(count, rows) width]: rows drawn at random, each at most once."""


class ClosedForm(nn.Module, ABC):
    """Is solved over rows, in a few passes. What it learns are buffers, allocated by its constructor."""

    requires: ClassVar[tuple[str, ...]] = ()
    at_most: ClassVar[tuple[tuple[str, tuple[str, ...], str], ...]] = ()
    takes: ClassVar[tuple[str, ...]] = ()  # options of training by gradient that it has too, such as "encoder"

    rows_at_once = 256  # of a forward pass that embeds

    input: Input
    encoder: Encoder | None  # of a method that uses a network

    def __init__(self, input: Input):
        super().__init__()
        self.input = input
        self.encoder = None
        self.row_width = input_width(input.spec)
        self.row_dtype = torch.float64 if input.spec.modality.uses_float64(input.spec) else torch.float32

    @classmethod
    @abstractmethod
    def build(cls, context: Context, **options: Any) -> Self:
        """`options` are the constructor's hyper-parameters. Defaults are clamped to the data."""

    @abstractmethod
    def fit_rows(self, reader: RowReader, *, seed: int) -> None: ...

    @abstractmethod
    def embed_rows(self, rows: Tensor) -> Tensor:
        """[n width] on the unit scale -> [n d]."""

    @property
    @abstractmethod
    def width(self) -> int:
        """d, the width of the representation."""

    def flat(self, batch: Batch) -> Tensor:
        """Raw items -> [n width] on the unit scale."""
        spec = self.input.spec
        return spec.modality.flat(batch.x, spec, self.row_dtype, batch.mask)

    def unflatten(self, rows: Tensor) -> Tensor:
        """[n width] -> unit-scale items [n ...]."""
        return self.input.spec.modality.unflatten(rows, self.input.spec)

    def embed(self, batch: Batch) -> Tensor:
        return self.embed_rows(self.flat(batch))
