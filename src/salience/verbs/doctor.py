"""Is this run healthy? If not: what is the matter, how that shows, and what to change."""

from __future__ import annotations

from pathlib import Path

from salience.errors import UserError
from salience.health.diagnosis import Diagnosis, diagnose_run
from salience.run import Run
from salience.run_metrics import note_damage


def doctor(run: Path | str) -> Diagnosis:
    """Diagnose a finished, interrupted or diverged run from the health record of its training.

    Raises:
        UserError: The folder is not a run, its record is damaged, or there is no record: the method has a closed form,
            or the training has not started.
    """
    folder = Run(run)
    found = diagnose_run(folder)
    if found is None:
        method = folder.config.model.method
        raise UserError(f"run: {folder.path} has no health.json; {method} was not trained by gradient, or not yet")
    note_damage(folder.metrics)
    return found
