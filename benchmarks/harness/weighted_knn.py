"""The kNN accuracy that both environments of the benchmarks report.

Imports no salience, because the peers' environment uses it too.
"""

from __future__ import annotations

import torch
from torch import Tensor


def weighted_knn(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, labels: Tensor, *, k: int = 20, temperature: float = 0.1
) -> float:
    """Accuracy of the weighted cosine kNN classifier: a neighbour votes with exp(similarity / temperature).

    bank: [m d], bank_labels: [m], queries: [n d], labels: [n]
    """
    bank, queries = (torch.nn.functional.normalize(x.float(), dim=1) for x in (bank, queries))
    classes, right = int(bank_labels.max()) + 1, 0
    for chunk, truth in zip(queries.split(1000), labels.split(1000), strict=True):
        similarity, neighbour = (chunk @ bank.T).topk(min(k, len(bank)), dim=1)  # [c k]
        votes = torch.zeros(len(chunk), classes)
        votes.scatter_add_(1, bank_labels[neighbour], (similarity / temperature).exp())
        right += int((votes.argmax(1) == truth).sum())
    return right / len(queries)
