"""The demonstration: learn from handwritten digits without labels, then show how few labels suffice."""

from __future__ import annotations

from pathlib import Path

from salience.evaluation import evaluate
from salience.run import next_free
from salience.training import fit

METHOD, SOURCE, RESOLUTION, EPOCHS = "simclr", "digits", 16, 100


def demo(out: Path | str | None = None, *, progress: bool = True) -> str:
    """Fits, evaluates beside the baselines, writes report and figures into the run folder; returns the table.

    out: the run's folder; by default runs/demo-N
    """
    run = Path(out) if out is not None else next_free(Path("runs"), "demo")
    learnt = fit(METHOD, SOURCE, out=run, resolution=RESOLUTION, epochs=EPOCHS, temperature=0.2, progress=progress)
    report = evaluate(learnt, SOURCE, progress=progress)
    return f"{report.text()}\n\nreport: {run / 'report.html'}\nplot:   {run / 'figures' / 'few_label.svg'}"
