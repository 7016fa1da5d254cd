"""One sitting of a training: no other process takes part in it, and it ends when it is interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from salience.errors import Stopped
from salience.run import Run
from salience.training.processes import is_helper


class Interrupted(Stopped):
    """Training was stopped by the user or a signal; what was done is in the run's checkpoint."""


@contextmanager
def training_alone(run: Run) -> Iterator[None]:
    """While it lasts, this process and its helpers train the run and no others do.

    Errors: UserError where another process trains it.
    """
    if is_helper():  # the first process holds the lock for all
        yield
        return
    with run.hold():
        yield
