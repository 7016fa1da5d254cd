"""PCA: project the data onto the directions of largest variance.

Pearson 1901; Hotelling 1933; https://doi.org/10.1080/14786440109462720. For centred rows X [n w] and W [d w]:

    minimise |X - X W'W|^2  with  W W' = 1

The rows of W are the leading eigenvectors of X'X; the remaining error is the sum of the discarded eigenvalues.
scikit-learn computes them: from the covariance if there are more rows than columns, incrementally if the rows exceed
memory.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from salience.methods.closed_form import ClosedForm, RowReader
from salience.methods.contract import Context
from salience.nets import Input
from salience.option import refuse_large


class PCA(ClosedForm):
    """Principal component analysis.

    dim: number of principal components
    """

    at_most = (("dim", ("rows", "width"), "{} directions from {rows} of {values}"),)
    components: Tensor
    mean: Tensor
    variances: Tensor

    def __init__(self, input: Input, *, dim: Annotated[int, Ge(1)] = 64):
        super().__init__(input)
        self.dim = dim
        self.register_buffer("components", torch.zeros(dim, self.row_width, dtype=self.row_dtype))
        self.register_buffer("mean", torch.zeros(self.row_width, dtype=self.row_dtype))
        self.register_buffer("variances", torch.zeros(dim, dtype=self.row_dtype))

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        refuse_large(cls.at_most, options, rows=context.rows, width=context.width)
        return cls(context.make_input(), **{"dim": min(64, context.rows, context.width), **options})

    def fit_rows(self, reader: RowReader, *, seed: int) -> None:
        from sklearn import decomposition  # here: a fitted PCA embeds without it

        rows = reader.everything()
        tall = reader.rows > 2 * reader.width
        if rows is not None:
            solver = "covariance_eigh" if tall else "full"
            solved = decomposition.PCA(self.dim, svd_solver=solver, random_state=seed).fit(rows)
        else:
            solved = decomposition.IncrementalPCA(self.dim)
            for chunk in reader.chunks():
                solved.partial_fit(chunk)
        for name, values in {
            "components": solved.components_,
            "mean": solved.mean_,
            "variances": solved.explained_variance_,
        }.items():
            getattr(self, name).copy_(torch.from_numpy(np.ascontiguousarray(values)))

    @property
    def width(self) -> int:
        return self.dim

    def embed_rows(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) @ self.components.T

    def decode(self, codes: Tensor) -> Tensor:
        """Return the points of the subspace that the codes describe.  [n d] -> [n ...] on the unit scale"""
        return self.unflatten(codes @ self.components + self.mean)
