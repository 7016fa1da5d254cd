"""The demonstration: learn from handwritten digits without labels, then show how few labels suffice."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from salience.data import open_data
from salience.evaluation import evaluate
from salience.evaluation.split import held_out
from salience.run import next_free
from salience.training import fit

# Found by trying a few temperatures and learning rates on these digits: with ten kinds of things, most of a batch's
# negatives are of one's own kind or near it, and a high temperature pushes them away less.
RESOLUTION, EPOCHS, LEARNING_RATE, TEMPERATURE = 16, 60, 0.005, 1.0


def demo(out: Path | str | None = None, *, progress: bool = True) -> str:
    """Fits on four fifths of the digits, judges by the rest; returns the table and where the report is.

    out: the run's folder; by default runs/demo-N
    """
    run = Path(out) if out is not None else next_free(Path("runs"), "demo")
    digits = open_data("digits", resolution=RESOLUTION, progress=progress)
    assert digits.labels is not None
    unseen = held_out(digits.labels)
    train, test = (digits.subset(np.flatnonzero(rows)) for rows in (~unseen, unseen))
    learnt = fit(
        "simclr", train, out=run, epochs=EPOCHS, learning_rate=LEARNING_RATE, progress=progress, temperature=TEMPERATURE
    )
    report = evaluate(learnt, train, test, progress=progress)
    return f"{report.text()}\n\nreport: {run / 'report.html'}"
