"""Training as one row of steps, so that its position is one integer.

Lightning sees a single pass of `total` batches. Where it begins is read from the trainer's own step counter when the
pass is opened, never from a loader's state, so a resumed run takes up exactly the batches that are left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import lightning as L

from salience.batch import Batch
from salience.data import Loader


class Steps:
    """All `total` batches of a training, from the trainer's step on.

    labels: whether batches carry them; learning is unlabelled unless the user says otherwise
    """

    def __init__(self, loader: Loader, total: int, trainer: L.Trainer, *, labels: bool):
        self.loader = loader
        self.total = total
        self.trainer = trainer
        self.labels = labels

    def __len__(self) -> int:
        """The full length wherever we stand: a shortened loader would silently shorten the training."""
        return self.total

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.trainer.global_step, self.total):
            batch = self.loader.batch_at(step)
            yield batch if self.labels else replace(batch, y={})

    def state_dict(self) -> dict[str, int]:
        """Nothing: the position is the trainer's step. Lightning asks, to know that this loader resumes."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None: ...
