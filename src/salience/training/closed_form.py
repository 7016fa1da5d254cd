"""Solves a closed form over a data set: at once where its rows fit in memory, else chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch

from salience.data import Dataset, permute
from salience.methods import ClosedForm
from salience.units import format_size

MEMORY = 4 * 2**30  # bytes of rows held at once
CHUNK = 2**28  # bytes of rows read at a time


class Rows:
    """Flat rows of a data set on the unit scale, as `ClosedForm.fit_rows` reads them.

    memory: bytes that may be held at once;  chunk: bytes read at a time otherwise, though never fewer rows than the
        method finds directions or centres in
    """

    def __init__(self, dataset: Dataset, method: ClosedForm, *, memory: int = MEMORY, chunk: int = CHUNK):
        self.dataset = dataset
        self.method = method
        self.rows = len(dataset)
        first = method.flat(dataset.batch(np.arange(1)))
        self.width, self.dtype = first.shape[1], first.numpy().dtype
        each = self.width * self.dtype.itemsize
        self.fits = self.rows * each <= memory
        self.parts = max(1, self.rows // max(chunk // each, method.width))

    def chunks(self) -> Iterator[np.ndarray]:
        """[m width] each, in order, of nearly equal size: a small rest would be too little for a solver."""
        edges = np.linspace(0, self.rows, self.parts + 1).astype(int)
        with torch.no_grad():
            for start, end in pairwise(edges):
                yield self.method.flat(self.dataset.batch(np.arange(start, end))).numpy()

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
