"""The base class of patches, which split items into tokens and join them again, for masked modelling."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class Patches(ABC):
    """Conversion between the items of one spec and their tokens.

    Attributes:
        width: Number of values of one token.
    """

    def __init__(self, width: int) -> None:
        self.width = width

    @abstractmethod
    def cut(self, x: Any) -> Tensor:
        """Split items on the unit scale into tokens [n t width]."""

    @abstractmethod
    def join(self, tokens: Tensor) -> Any:
        """Join tokens [n t width] into items on the unit scale."""

    @abstractmethod
    def positions(self, x: Any) -> Tensor:
        """Return the coordinates of each token: [t p], or [n t p] if items differ. Neighbours have distance 1."""

    def embedding(self, dim: int) -> nn.Module:
        """Make the embedding of tokens, [n t width] -> [n t dim]. Default: a linear map, as in a vision transformer."""
        return nn.Linear(self.width, dim)

    def error(self, prediction: Tensor, tokens: Tensor) -> Tensor:
        """Return the error of a prediction per token, [n t width] twice -> [n t]. Default: the mean squared error."""
        return (prediction - tokens).square().mean(dim=-1)
