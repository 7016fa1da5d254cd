"""Is this run healthy? If not: what is the matter, how that shows, and what to change."""

from __future__ import annotations

from pathlib import Path

from salience.errors import UserError
from salience.health.diagnosis import Diagnosis, diagnose_run
from salience.run import Run
from salience.run_metrics import note_damage


def doctor(run: Path | str) -> Diagnosis:
    """The diagnosis of a run that is finished, stopped or diverged, from the signs its training left.

    Errors: UserError where it is no run, its record is damaged, or nothing was watched: a closed form, or a training
    not yet begun.
    """
    folder = Run(run)
    found = diagnose_run(folder)
    if found is None:
        method = folder.config.model.method
        raise UserError(f"run: {folder.path} has no health.json; {method} was not trained by gradient, or not yet")
    note_damage(folder.metrics)
    return found
