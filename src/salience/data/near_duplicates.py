"""Which images are nearly the same: those whose edges agree.

An image's signature is the unit vector of the differences between neighbours on a coarse grid, so that brightness and
contrast do not count and a blue sky is no likeness. Two images are near duplicates where they are closer than half the
distance at which an image of this data usually finds its nearest neighbour.

Every pair is compared, in blocks, by an upper bound that costs a tenth of the cosine. With p the projection of a
signature onto the leading directions and r the residual,

    cos(a, b) = p_a . p_b + r_a . r_b <= p_a . p_b + |r_a| |r_b|
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from salience.batch import Batch
from salience.data.dataset import Dataset

DIRECTIONS = 64  # dimensions of the first, cheap comparison
BLOCK = 4096  # rows compared at once
MOST_ROWS = 200_000  # with more rows, only a random part is searched
MOST_PAIRS = 1_000_000  # with more pairs, the search stops
PAIRS_WORTH = 20  # a pair compared alone costs as much as this many in a matrix product
PROBES = 1000  # images whose nearest neighbours set the threshold
LOOSEST, STRICTEST = 0.85, 0.995  # cosines between which the threshold lies
EQUAL = 1 - 1e-6

Pairs = tuple[Tensor, Tensor, Tensor]  # first [m], second [m], cosine [m]


@dataclass(frozen=True)
class NearPairs:
    """Pairs of near-duplicate images that are not equal, most similar first.

    Attributes:
        first, second: [m] int64 rows; with two sources, `first` belongs to the first and `second` to the second one.
        similarity: [m] cosines of the signatures.
        threshold: The smallest cosine of a near-duplicate.
        searched: Number of rows of each source that were searched.
        complete: False if the search stopped at MOST_PAIRS.
    """

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray
    threshold: float
    searched: tuple[int, ...]
    complete: bool = True

    def __len__(self) -> int:
        return len(self.first)


def near_pairs(a: Dataset, b: Dataset | None = None, *, seed: int = 0) -> NearPairs:
    """Find near-duplicates within `a`, or between `a` and `b`. All images have one shape.

    Args:
        a: The first dataset.
        b: The second dataset, if two are compared.
        seed: Random seed of the searched part, if there are more than MOST_ROWS rows, and of the probes.
    """
    rng = np.random.default_rng(seed)
    rows = [_part(dataset, rng) for dataset in (a, b) if dataset is not None]
    parts = [dataset.subset(some) for dataset, some in zip((a, b), rows, strict=False) if dataset is not None]
    left, right = parts[0], parts[-1]
    probes = _signatures(right, right.batch(rng.permutation(len(right))[:PROBES]))
    basis = _basis(_signatures(left, left.batch(rng.permutation(len(left))[:BLOCK])))
    sketch, nearest = _survey(left, basis, probes)
    threshold = float((1 - 0.25 * (1 - nearest).median()).clamp(LOOSEST, STRICTEST))
    other_sketch = sketch if b is None else _survey(right, basis, probes)[0]
    found: list[Pairs] = []
    for i, j in _candidates(sketch, other_sketch, threshold, within=b is None):
        found.append(_verified(left, i, right, j, threshold))
        if sum(len(pair[0]) for pair in found) > MOST_PAIRS:
            break
    i, j, cosine = (torch.cat(column) for column in zip(_no_pairs(), *found, strict=True))
    order = cosine.argsort(descending=True, stable=True)
    first, second = rows[0][i[order].numpy()], rows[-1][j[order].numpy()]
    searched = tuple(len(some) for some in rows)
    return NearPairs(first, second, cosine[order].numpy(), threshold, searched, len(i) <= MOST_PAIRS)


def _signatures(dataset: Dataset, batch: Batch) -> Tensor:
    """Return the signatures of a batch, unit vectors [n d]."""
    return dataset.spec.modality.near_signature(batch.x, dataset.spec)


def _part(dataset: Dataset, rng: np.random.Generator) -> np.ndarray:
    n = len(dataset)
    return np.arange(n) if n <= MOST_ROWS else np.sort(rng.choice(n, MOST_ROWS, replace=False))


def _basis(sample: Tensor) -> Tensor:
    """Return the leading singular directions of a sample, orthonormal.  [n w] -> [w k]"""
    sample = sample[sample.any(1)]
    if not len(sample):  # flat images: some libraries find no eigenvectors of a zero matrix
        return torch.eye(sample.shape[1])[:, :DIRECTIONS]
    # By SVD, because the Gram matrix of few distinct images has a low rank, and some libraries do not converge to its
    # eigenvectors in float32.
    directions = np.linalg.svd(sample.double().numpy(), full_matrices=False)[2][:DIRECTIONS]
    return torch.from_numpy(directions.T.copy()).float()


def _survey(dataset: Dataset, basis: Tensor, probes: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the sketch [n k+1] of every image, p and |r|, and the cosine of each probe to its nearest image."""
    sketch = torch.empty(len(dataset), basis.shape[1] + 1)
    nearest = torch.zeros(len(probes))
    for batch in dataset.chunks(BLOCK):
        signature = _signatures(dataset, batch)
        projected = signature @ basis
        rest = (signature.square().sum(1) - projected.square().sum(1)).clamp(min=0).sqrt()
        sketch[batch.index] = torch.cat([projected, rest[:, None]], dim=1)
        cosine = probes @ signature.T
        nearest = nearest.maximum(cosine.masked_fill(cosine > EQUAL, 0).amax(1))
    return sketch, nearest


def _candidates(a: Tensor, b: Tensor, threshold: float, *, within: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over rows i of `a` and j of `b` whose bound reaches the threshold; with `within`, only i < j."""
    for top in range(0, len(a), BLOCK):
        for start in range(top if within else 0, len(b), BLOCK):
            bound = a[top : top + BLOCK] @ b[start : start + BLOCK].T
            i, j = (bound >= threshold).nonzero(as_tuple=True)
            i, j = i + top, j + start
            kept = i < j if within else slice(None)
            if len(i[kept]):
                yield i[kept], j[kept]


def _verified(left: Dataset, i: Tensor, right: Dataset, j: Tensor, threshold: float) -> Pairs:
    """Select the candidate pairs whose cosine reaches the threshold and that are not equal."""
    found = []
    for rows_i, rows_j, cosine in _cosines(left, i, right, j):
        kept = (cosine >= threshold) & (cosine <= EQUAL)
        found.append((rows_i[kept], rows_j[kept], cosine[kept]))
    first, second, cosines = (torch.cat(column) for column in zip(*found, strict=True))
    return first, second, cosines


def _cosines(left: Dataset, i: Tensor, right: Dataset, j: Tensor) -> Iterator[Pairs]:
    """Iterate over the cosines of pairs of rows, by one matrix product if most pairs of a block are needed."""
    (rows_i, at_i), (rows_j, at_j) = i.unique(return_inverse=True), j.unique(return_inverse=True)
    if len(i) * PAIRS_WORTH > len(rows_i) * len(rows_j):
        a, b = (_signatures(data, data.batch(rows.numpy())) for data, rows in ((left, rows_i), (right, rows_j)))
        yield i, j, (a @ b.T)[at_i, at_j]
        return
    for some_i, some_j in zip(i.split(BLOCK), j.split(BLOCK), strict=True):
        pair = (_signatures(data, data.batch(rows.numpy())) for data, rows in ((left, some_i), (right, some_j)))
        yield some_i, some_j, torch.linalg.vecdot(*pair)


def _no_pairs() -> Pairs:
    return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64), torch.empty(0)
