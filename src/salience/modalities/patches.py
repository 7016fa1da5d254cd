"""How items are cut into tokens and joined again: what masked modelling needs to know of a kind of data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class Patches(ABC):
    """Tokens of the items of one spec.

    width: values of one token
    """

    def __init__(self, width: int) -> None:
        self.width = width

    @abstractmethod
    def cut(self, x: Any) -> Tensor:
        """Items on the unit scale -> tokens [n t width]."""

    @abstractmethod
    def join(self, tokens: Tensor) -> Any:
        """The way back.  [n t width] -> items on the unit scale"""

    @abstractmethod
    def positions(self, x: Any) -> Tensor:
        """Where each token of a batch is: coordinates [t p], or [n t p] where items differ. Neighbours are 1 apart."""

    def embedding(self, dim: int) -> nn.Module:
        """[n t width] -> [n t dim]: by default a linear map, as in a vision transformer."""
        return nn.Linear(self.width, dim)

    def error(self, prediction: Tensor, tokens: Tensor) -> Tensor:
        """How far a prediction is from each token: by default the mean squared error.  [n t width] twice -> [n t]"""
        return (prediction - tokens).square().mean(dim=-1)
