"""TF-IDF vectors: which tokens a text contains, the rare ones weighted more. Order is ignored.

With the number of occurrences n of a term in a text, and of its texts m among N training texts,

    (1 + log n) (log((1 + N) / (1 + m)) + 1)    for n > 0, otherwise 0

scaled so that the mean square of a vector's values is 1 (scikit-learn's `sublinear_tf`, whose vectors have length 1).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from salience.modalities.text.spec import TextSpec
from salience.modalities.text.vocabulary import hash_triples, vocabulary_of

SIGNATURE = 512  # width of the signature of a text
_PRIME = 2_147_483_647


def tf_idf(ids: Tensor, spec: TextSpec, dtype: torch.dtype = torch.float32) -> Tensor:
    """Compute TF-IDF vectors.  ids: [n t], 0 is padding -> [n width]"""
    vocabulary = vocabulary_of(spec.vocabulary, spec.longest)
    ids, width = ids.long(), vocabulary.width
    if vocabulary.hashed:
        columns, real = _n_grams(ids)
    else:
        columns, real = torch.from_numpy(vocabulary.column).to(ids.device)[ids], ids > 0
    counts = torch.zeros(len(ids), width + 1, device=ids.device)
    counts.scatter_add_(1, columns, real.float())
    weights = torch.from_numpy(vocabulary.idf).to(ids.device)
    x = torch.where(counts > 0, 1 + counts.clamp(min=1).log(), 0.0)[:, :width] * weights
    return (x * (math.sqrt(width) / x.norm(dim=1, keepdim=True).clamp(min=1e-12))).to(dtype)


def _n_grams(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return the columns of the n-grams of characters, and which are real; a shorter text has one.  [n t] twice"""
    ids = torch.nn.functional.pad(ids, (0, 2))
    columns = hash_triples(ids[:, :-2], ids[:, 1:-1], ids[:, 2:])
    real = ids[:, 2:] > 0
    real[:, 0] = ids[:, 0] > 0
    return columns, real


def width(spec: TextSpec) -> int:
    """Return the width of TF-IDF vectors."""
    return vocabulary_of(spec.vocabulary, spec.longest).width


def signature(ids: Tensor) -> Tensor:
    """Compute unit vectors of hashed shingles of two tokens, close for nearly equal texts.  [n t] -> [n 512]"""
    ids = torch.nn.functional.pad(ids.long(), (1, 0))
    pair = ids[:, :-1] * 1_000_003 + ids[:, 1:]
    word = (pair * 7_368_787 + 12_345) % _PRIME
    sign = torch.where((word // SIGNATURE) % 2 == 0, 1.0, -1.0)
    counts = torch.zeros(len(ids), SIGNATURE, device=ids.device)
    counts.scatter_add_(1, word % SIGNATURE, sign * (ids[:, 1:] > 0))
    return counts / counts.norm(dim=1, keepdim=True).clamp(min=1e-12)


def names(spec: TextSpec) -> list[str]:
    """Return the names of the columns."""
    return vocabulary_of(spec.vocabulary, spec.longest).names()


def frame(x: Any, spec: TextSpec) -> Any:
    """Convert TF-IDF vectors to a table with a column for each term; equal names get a number."""
    import pandas as pd

    listed, seen = [], dict[str, int]()
    for name in names(spec):
        seen[name] = seen.get(name, 0) + 1
        listed.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return pd.DataFrame(np.asarray(x).reshape(len(x), -1), columns=listed)
