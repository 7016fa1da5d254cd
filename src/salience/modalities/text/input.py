"""Input layers of texts: TF-IDF vectors for dense layers, tokens for others."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from salience.modalities.text.tf_idf import tf_idf
from salience.nets.inputs import Input


def ids_of(x: Any) -> Tensor:
    """Return the tokens [n t] of texts or of views of them."""
    return x["ids"] if isinstance(x, dict) else x


class Bag(Input):
    """TF-IDF vectors.  tokens [n t], or vectors [n width] -> [n width]"""

    makes_vectors: ClassVar[bool] = True

    def unit(self, x: Any) -> Tensor:
        return tf_idf(x, self.spec)  # type: ignore[arg-type]

    def forward(self, x: Any) -> Tensor:
        ids = ids_of(x)
        return ids if torch.is_floating_point(ids) else tf_idf(ids, self.spec)  # type: ignore[arg-type]


class TokenInput(Input):
    """Tokens as they are."""
