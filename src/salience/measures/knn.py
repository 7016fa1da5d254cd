"""Weighted nearest neighbours: the k most similar training rows vote, each with exp(cosine similarity / temperature).

Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, https://arxiv.org/abs/1805.01978,
section 3.4. No training and almost no choices, which makes it the plainest measure of a representation.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F


def neighbours(
    queries: Tensor, base: Tensor, k: int, *, own: bool = False, block: int = 512
) -> Iterator[tuple[Tensor, Tensor]]:
    """The k most similar rows of `base` by cosine, block after block of the queries.

    queries: [m d], base: [n d]; own: query i is base row i, and no neighbour of itself
    yields similarities [block k], most similar first, and rows of base [block k]
    """
    base = F.normalize(base, dim=1)
    queries = base if own else F.normalize(queries, dim=1)
    buffer = base.new_empty(min(block, len(queries)), len(base))  # one buffer: fresh pages cost more than the product
    for first in range(0, len(queries), block):
        part = queries[first : first + block]
        similarity = torch.mm(part, base.T, out=buffer[: len(part)])
        if own:
            similarity.diagonal(first).fill_(-torch.inf)
        similar, rows = similarity.topk(k, dim=1)
        yield similar, rows


def knn_scores(
    train: Tensor, labels: Tensor, test: Tensor | None, classes: int, *, k: int = 20, temperature: float = 0.1
) -> Tensor:
    """Each class's share of the vote.

    train: [n d], labels: [n], test: [m d]; None: every row of train, asked of all the others
    -> [m classes], rows sum to 1
    """
    own = test is None
    votes = []
    for similarity, rows in neighbours(train if test is None else test, train, min(k, len(train) - own), own=own):
        weight = (similarity / temperature).softmax(1)  # the common factor of the weights changes no vote
        votes.append(weight.new_zeros(len(rows), classes).scatter_add_(1, labels[rows], weight))
    return torch.cat(votes)
