"""k-means: k centres, each the mean of the rows nearest to it.

Lloyd 1957/1982, https://doi.org/10.1109/TIT.1982.1056489; seeds by k-means++ (Arthur & Vassilvitskii 2007):

    minimise  sum_i |x_i - c_a(i)|^2   over centres c and assignments a

A row is represented by its distances to the k centres. Solved by scikit-learn: Lloyd's algorithm in memory,
mini-batches over several passes where the rows exceed memory.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

import torch
from annotated_types import Ge
from sklearn import cluster
from torch import Tensor

from salience.batch import Batch
from salience.errors import UserError
from salience.methods.base import ClosedForm, Context, RowReader
from salience.nets import ImageInput, TableInput

PASSES = 10  # over rows that exceed memory


class KMeans(ClosedForm):
    """k-means clustering.

    k: number of centres
    restarts: runs from different seeds, of which the tightest is kept
    """

    modalities = ("image", "table")
    centres: Tensor

    def __init__(
        self, input: ImageInput | TableInput, *, k: Annotated[int, Ge(1)] = 20, restarts: Annotated[int, Ge(1)] = 1
    ):
        super().__init__(input)
        self.k = k
        self.restarts = restarts
        self.register_buffer("centres", torch.zeros(k, self.row_width, dtype=self.row_dtype))

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        if options.get("k", 1) > context.rows:
            raise UserError(f"k: {options['k']} centres for {context.rows} rows; at most {context.rows}")
        return cls(context.make_input(), **{"k": min(20, context.rows), **options})

    def fit_rows(self, reader: RowReader, *, seed: int) -> None:
        rows = reader.everything()
        if rows is not None:
            solved = cluster.KMeans(self.k, n_init=self.restarts, random_state=seed).fit(rows)
        else:
            solved = cluster.MiniBatchKMeans(self.k, n_init=self.restarts, random_state=seed)
            for chunk in (chunk for _ in range(PASSES) for chunk in reader.chunks()):
                solved.partial_fit(chunk)
        self.centres.copy_(torch.from_numpy(solved.cluster_centers_))

    @property
    def width(self) -> int:
        return self.k

    def embed_rows(self, rows: Tensor) -> Tensor:
        """Distances [n k] to the centres."""
        # the faster way by a matrix product loses half the digits next to a centre
        return torch.cdist(rows, self.centres, compute_mode="donot_use_mm_for_euclid_dist")

    def assign(self, batch: Batch) -> Tensor:
        """The nearest centre of each item, [n] int64."""
        return self.embed(batch).argmin(dim=1)
