"""Adversarial: two players, each with a loss of its own, step in turn with every batch.

A training's position stays the number of batches: the optimiser steps once a turn, and all turns are one step of the
trainer. During a turn the other player's parameters get no gradient, so AdamW leaves them, and their moments, as they
are to the bit. A step's "loss", where there is one for all, is that of the last turn.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.methods.contract import Method
from salience.nets import Encoder


class Adversarial(Method):
    """Two players learn against each other.

    turns: their names, in the order they step
    """

    partial: ClassVar[bool] = True
    turns: ClassVar[tuple[str, ...]] = ("discriminator", "generator")

    def __init__(self, encoder: Encoder):
        super().__init__(encoder)
        self.turn = self.turns[0]

    @abstractmethod
    def player(self, turn: str) -> Iterable[nn.Module]:
        """The modules that step in this turn."""

    @abstractmethod
    def turn_loss(self, turn: str, batch: Batch, at: Progress) -> dict[str, Tensor]:
        """`{"loss": []}` of one player and named terms of it; no term has the name of another turn's."""

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        """Of the player whose turn it is."""
        return self.turn_loss(self.turn, batch, at)

    def yardstick(self, batch: Batch, at: Progress) -> Tensor | None:
        """None: a player's loss falls when the other gets worse."""
        return None

    @contextmanager
    def playing(self, turn: str) -> Iterator[None]:
        """Only this player learns meanwhile."""
        mine = {id(p) for module in self.player(turn) for p in module.parameters()}
        others = [p for p in self.parameters() if p.requires_grad and id(p) not in mine]
        before, self.turn = self.turn, turn
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            self.turn = before
            for parameter in others:
                parameter.requires_grad_(True)
