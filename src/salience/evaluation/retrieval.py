"""Retrieval: every test row asks for the other test rows of its class, ranked by cosine similarity.

Musgrave et al., A Metric Learning Reality Check, https://arxiv.org/abs/2003.08505: with R other rows of the query's
class, R-precision is the share of its class among the first R, and MAP@R = 1/R sum_i precision(i) * relevant(i).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from salience.measures.intervals import Metric, mean
from salience.measures.knn import neighbours


def retrieval_values(x: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """Per query that has company in its class.  x: [n d], labels: [n] -> metric -> [queries]"""
    rows_of_class = torch.bincount(labels)
    others = rows_of_class[labels] - 1
    deepest = int(others.max())
    if deepest < 1:
        return {}
    rank = torch.arange(1, deepest + 1)
    parts, first = [], 0
    for _, found in neighbours(x, x, deepest, own=True):
        here = slice(first, first := first + len(found))
        relevant = labels[found] == labels[here, None]
        within = relevant & (rank <= others[here, None])  # ranks beyond R do not count
        precision = relevant.cumsum(1) / rank
        share = others[here].clamp(min=1)
        parts.append(
            torch.stack([relevant[:, 0].float(), within.sum(1) / share, (precision * within).sum(1) / share], dim=1)
        )
    values = torch.cat(parts)[others > 0].double().numpy()
    return dict(zip(("precision_at_1", "r_precision", "map_at_r"), values.T, strict=True))


def retrieval_metrics(x: Tensor, labels: Tensor) -> dict[str, Metric]:
    """Means over queries, with t intervals over test rows.  x: [n d], labels: [n]; empty where no class has two rows"""
    return {name: mean(values, 0.0, 1.0) for name, values in retrieval_values(x, labels).items()}
