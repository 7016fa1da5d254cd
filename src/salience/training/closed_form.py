"""Solves a closed form over a data set: at once where its rows fit in memory, else chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from salience.data import Dataset, permute
from salience.methods import ClosedForm
from salience.units import format_size

MEMORY = 4 * 2**30  # bytes of rows held at once
CHUNK = 8192


class Rows:
    """Flat rows of a data set on the unit scale, as `ClosedForm.fit_rows` reads them."""

    def __init__(self, dataset: Dataset, method: ClosedForm, *, memory: int = MEMORY):
        self.dataset = dataset
        self.method = method
        self.rows = len(dataset)
        first = method.flat(dataset.batch(np.arange(1)))
        self.width, self.dtype = first.shape[1], first.numpy().dtype
        self.fits = self.rows * self.width * self.dtype.itemsize <= memory

    def chunks(self) -> Iterator[np.ndarray]:
        """[m width] each, in order."""
        with torch.no_grad():
            for batch in self.dataset.chunks(max(CHUNK, 2 * self.width)):
                yield self.method.flat(batch).numpy()

    def everything(self) -> np.ndarray | None:
        """[rows width], None where that exceeds the memory allowed."""
        if not self.fits:
            return None
        whole = np.empty((self.rows, self.width), self.dtype)
        done = 0
        for chunk in self.chunks():
            whole[done : done + len(chunk)] = chunk
            done += len(chunk)
        return whole

    def sample(self, count: int, seed: int) -> np.ndarray:
        """[min(count, rows) width]: rows drawn at random, each at most once, in the order they are stored."""
        drawn = np.sort(permute(np.arange(min(count, self.rows)), self.rows, seed, 0))
        with torch.no_grad():
            return self.method.flat(self.dataset.batch(drawn)).numpy()

    def describe(self) -> str:
        size = format_size(self.rows * self.width * self.dtype.itemsize)
        return f"{size} of rows, " + ("at once" if self.fits else "chunk by chunk")
