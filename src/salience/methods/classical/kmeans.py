"""k-means: assign each row to the nearest of k centres; each centre is the mean of its rows.

Lloyd 1957/1982, https://doi.org/10.1109/TIT.1982.1056489; initial centres from k-means++ (Arthur & Vassilvitskii 2007):

    minimise  sum_i |x_i - c_a(i)|^2   over centres c and assignments a

The representation of a row is its vector of distances to the k centres. scikit-learn's Lloyd algorithm finds the
centres. If the rows exceed memory, it runs on a random sample of them, and Lloyd steps over all rows, chunk by chunk,
refine its result.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from salience.batch import Batch
from salience.methods.closed_form import ClosedForm, RowReader
from salience.methods.contract import Context
from salience.nets import Input
from salience.option import refuse_large

PASSES = 10  # maximum number of Lloyd steps over rows that exceed memory
SAMPLE, SAMPLE_EACH = 10_000, 50  # rows that the initial centres are fitted on: minimum in total, and per centre
SAMPLE_BYTES = 2**30
TOLERANCE = 1e-4  # as in scikit-learn: stop if the centres move less, relative to the variance of the rows


class KMeans(ClosedForm):
    """k-means clustering.

    k: number of centres
    restarts: number of runs from different seeds; the run with the lowest error is kept
    """

    at_most = (("k", ("rows",), "{} centres for {rows}"),)
    centres: Tensor

    def __init__(self, input: Input, *, k: Annotated[int, Ge(1)] = 20, restarts: Annotated[int, Ge(1)] = 1):
        super().__init__(input)
        self.k = k
        self.restarts = restarts
        self.register_buffer("centres", torch.zeros(k, self.row_width, dtype=self.row_dtype))

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        refuse_large(cls.at_most, options, rows=context.rows, width=context.width)
        return cls(context.make_input(), **{"k": min(20, context.rows), **options})

    def fit_rows(self, reader: RowReader, *, seed: int) -> None:
        from sklearn import cluster  # here: fitted centres embed without it

        everything = reader.everything()
        rows = reader.sample(self._sample_size(reader.width), seed) if everything is None else everything
        # Elkan's bounds skip distances to far centres; the steps and the result equal Lloyd's
        algorithm = "elkan" if self.k > 1 else "lloyd"  # scikit-learn warns if Elkan has one centre
        solver = cluster.KMeans(self.k, n_init=self.restarts, algorithm=algorithm, random_state=seed)
        centres = solver.fit(rows).cluster_centers_
        if everything is None:
            centres = _settled(centres, reader, TOLERANCE * float(rows.var(axis=0).mean()))
        self.centres.copy_(torch.from_numpy(centres))

    def _sample_size(self, width: int) -> int:
        most = SAMPLE_BYTES // (width * self.centres.element_size())
        return max(self.k, min(max(SAMPLE, SAMPLE_EACH * self.k), most))

    @property
    def width(self) -> int:
        return self.k

    def embed_rows(self, rows: Tensor) -> Tensor:
        """Return the distances [n k] to the centres."""
        # the faster computation by a matrix product loses half the digits near a centre
        return torch.cdist(rows, self.centres, compute_mode="donot_use_mm_for_euclid_dist")

    def assign(self, batch: Batch) -> Tensor:
        """Return the index of the nearest centre of each item, [n] int64."""
        return self.embed(batch).argmin(dim=1)


def _settled(centres: np.ndarray, reader: RowReader, tolerance: float) -> np.ndarray:
    """Repeat Lloyd steps, at most PASSES, until the centres [k width] move by at most `tolerance` (summed squares)."""
    for _ in range(PASSES):
        means = _means(centres, reader)
        moved = float(np.square(means - centres).sum())
        centres = means.astype(centres.dtype)
        if moved <= tolerance:
            break
    return centres


def _means(centres: np.ndarray, reader: RowReader) -> np.ndarray:
    """Return the mean of the rows nearest to each centre, [k width] float64."""
    from scipy import sparse
    from sklearn.metrics import pairwise_distances_argmin

    sums, counts = np.zeros(centres.shape), np.zeros(len(centres))
    for chunk in reader.chunks():
        nearest = pairwise_distances_argmin(chunk, centres)
        ones = np.ones(len(chunk), chunk.dtype)
        members = sparse.csr_array((ones, (nearest, np.arange(len(chunk)))), shape=(len(centres), len(chunk)))
        sums += members @ chunk
        counts += np.bincount(nearest, minlength=len(centres))
    means = sums / np.maximum(counts, 1)[:, None]
    return np.where(counts[:, None] > 0, means, centres)  # a centre without rows keeps its place
