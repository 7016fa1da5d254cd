"""The protocol: which rows, which baselines, which measures. The test rows are touched once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from salience.data import Dataset
from salience.data.sources.query import VALIDATION
from salience.data.target import Target
from salience.errors import Note, UserError, naming, noting_failure
from salience.evaluation import baselines, gallery
from salience.evaluation.codes import measure_codes
from salience.evaluation.few_label import note_draws
from salience.evaluation.measure import (
    STAGES,
    Measured,
    Say,
    Task,
    ValueTask,
    as_features,
    gain,
    geometry,
    measure,
    measure_values,
)
from salience.evaluation.own_metrics import find_metrics, measure_own
from salience.evaluation.report import Evidence, Report
from salience.evaluation.row_choice import Rows, choose_rows, labels_of, seen_in_training, shared_rows, values_of
from salience.evaluation.row_limits import MOST_PROJECTED, note_limits
from salience.evaluation.split import sample
from salience.evaluation.thread_limit import threads_for
from salience.health.diagnosis import Diagnosis, diagnose_run
from salience.measures.embedding_geometry import alignment
from salience.measures.intervals import Metric
from salience.measures.raw_features import raw_features
from salience.progress import progress_bar
from salience.reading import AS_FOUND, Reading
from salience.representation import Representation, load, open_for, source_or_own
from salience.run import Run
from salience.source_names import TRAIN, without_split
from salience.units import counted

T = TypeVar("T")
BASELINES = ("raw", "pca", "untrained")
COMPLETE = "the figures in the table are complete"

Features = tuple[np.ndarray | None, np.ndarray]  # [n d] of the training rows, [m d] of the test rows


def evaluate(
    run: Representation | Path | str,
    on: Any = None,
    test: Any = None,
    *,
    labels: str | None = None,
    target: Target | None = None,
    metrics: Mapping[str, Callable[..., float]] | Iterable[str] | None = None,
    reading: Reading = AS_FOUND,
    progress: bool = True,
    write: bool = True,
) -> Report:
    """Evaluate a run against baselines: raw input, PCA and an untrained encoder.

    Args:
        run: A Representation or the folder of a run.
        on: Any source of `open_data`, or a Dataset. Default: the source that the run was trained on. Without `test`,
            its own test split is the test data if there is one; otherwise a fifth of it is held out (stratified, seed
            0).
        test: Held-out data. Classes are matched by name.
        labels: Column of labels, in a table. Default: the column that the run was given.
        target: How labels are predicted: "classification", or "regression" for numbers (R² of ridge regression).
            Default: measurements, and many different whole numbers, are a quantity; the report says which is used.
        metrics: Further metrics of the test rows: names of installed ones, or a dict of names and functions (features
            [n d], labels [n]) -> number.
        reading: How the source is read (see `Reading`). Options that are None are as in the training of the run.
        write: Write report.json, report.html and figures/ to the folder of the run, if there is one. An earlier report
            on other data is kept as report-N.

    Returns:
        The report.

    Raises:
        UserError: There is only one class, the labels are not a `target`, the groups cannot be split, or the data do
            not fit the run.
    """
    own = find_metrics(metrics)
    rep = load(run) if isinstance(run, str | Path) else run
    with naming("on", "source"):
        on = source_or_own(rep, on)
        data = open_for(rep, on, labels, reading)
    with naming("test", "source"):
        held = own_test_split(rep, on, data, labels, reading) if test is None else open_for(rep, test, labels, reading)
    rows = choose_rows(data, held, target)
    judged, source = (data, on) if held is None else (held, on if test is None else test)
    seen = seen_in_training(rep.trained_on, judged, source, rep.config.model.use_labels)
    notes = [*dict.fromkeys(data.notes + judged.notes), *rows.notes]
    if held is not None and test is None:
        notes.append(f"evaluated on the {held.split} split of {data.name}; use --test for other rows")
    notes += seen or shared_rows(rep.trained_on, rows, rep.open_trained)
    watched = health_of(rep), cost_of(rep)
    with progress_bar((1 + len(BASELINES)) * STAGES, "evaluate", progress, unit="steps", scale=False) as bar:

        def say(what: str) -> None:
            bar.set_description(what)
            bar.update(1)

        found = measure_all(rep, rows, say, own)
    notes += note_baselines(rep, found)
    if rows.train is not None and rows.target == "classification":
        notes += note_draws(labels_of(rows.train))
    notes += [*note_limits(rows, codes="codes" in found["representation"][0].measures), *note_unfinished(rep)]
    report = make_report(rep, rows, found, notes, watched)
    if write and rep.run is not None:
        from salience.evaluation.page import write_report

        report = write_report(report, Path(rep.run))
    return report


def own_test_split(
    rep: Representation, source: Any, data: Dataset, labels: str | None, reading: Reading
) -> Dataset | None:
    """The test split, else the validation split, that a source brings beside its training split; None without labels.

    data: the source, opened
    """
    if data.split != TRAIN or isinstance(source, Dataset):
        return None
    split = next((one for one in ("test", *VALIDATION) if one in data.splits), None)
    if split is None:
        return None
    named = without_split(str(source))[0] if isinstance(source, str | Path) else source
    held = open_for(rep, named, labels, reading, split=split)
    return held if (labels_of(held) >= 0).any() or data.labels is None else None


def note_unfinished(rep: Representation) -> list[str]:
    """A note where it is a checkpoint that is measured."""
    run = None if rep.run is None else Run(rep.run)
    if run is None or run.finished or not run.checkpoint.exists():
        return []
    return [f"the run is unfinished: evaluated is its checkpoint at step {run.step:,} of {run.config.plan.steps:,}"]


def note_baselines(rep: Representation, found: Collection[str]) -> list[str]:
    """Why a baseline is left out.  found: what was measured"""
    why = {
        "pca": "the run is PCA, so PCA is not a baseline",
        "untrained": f"{rep.method_name} has a closed form, so there is no untrained encoder as a baseline",
    }
    return [reason for name, reason in why.items() if name not in found]


def measure_all(
    rep: Representation, rows: Rows, say: Say, own: Mapping[str, Callable[..., float]]
) -> dict[str, tuple[Measured, Features]]:
    """The representation, then each baseline that applies; features are computed once for each."""
    task = make_task(rows)
    raw = features_of(raw_features, rows)
    found = {}
    for name, embed in embedders(rep, rows, raw).items():
        say(f"{name}: features")
        train, test = raw if name == "raw" else features_of(embed, rows)
        require_finite(train, name)
        require_finite(test, name)
        measured = measure_one((train, test), task, say, centred=name == "raw")
        measured.measures["geometry"] |= view_alignment(rep, embed, rows.test)
        if name == "representation" and (of_codes := measure_codes(rep, rows.test)):
            measured.measures["codes"] = of_codes
        if own:
            measured.measures["own"] = measure_own(own, test, judged_labels(rows))
        found[name] = measured, (train, test)
    return found


def judged_labels(rows: Rows) -> np.ndarray | None:
    """[m] of the test rows: class numbers, or values where these are predicted; None without labels."""
    if rows.train is None:
        return None
    return values_of(rows.test) if rows.target == "regression" else labels_of(rows.test)


def measure_one(features: Features, task: Task | ValueTask | None, say: Say, *, centred: bool) -> Measured:
    train, test = features
    with threads_for(test.size if train is None else train.size):
        if task is None or train is None:
            return Measured({"geometry": geometry(test)})
        if isinstance(task, ValueTask):
            return measure_values(train, test, task, say)
        return measure(train, test, task, say, centred=centred)


def make_task(rows: Rows) -> Task | ValueTask | None:
    """None without labels. Classes are those the training rows have, numbered without gaps."""
    if rows.train is None:
        return None
    if rows.target == "regression":
        return ValueTask(values_of(rows.train), values_of(rows.test), rows.train.groups)
    present, train = np.unique(labels_of(rows.train), return_inverse=True)
    return Task.of(train, np.searchsorted(present, labels_of(rows.test)), len(present), rows.train.groups)


def embedders(rep: Representation, rows: Rows, raw: Features) -> dict[str, baselines.Embed]:
    """Everything that is measured, as functions of data."""
    found: dict[str, baselines.Embed] = {"representation": rep.embed, "raw": raw_features}
    if rep.method_name != "pca":
        project = baselines.principal_components(raw[1] if raw[0] is None else raw[0], rep.dim)
        found["pca"] = lambda data: project(raw_features(data))
    untrained = rep.untrained(rows.train or rows.test)
    return found if untrained is None else found | {"untrained": untrained.embed}


def features_of(embed: baselines.Embed, rows: Rows) -> Features:
    return None if rows.train is None else embed(rows.train), embed(rows.test)


def require_finite(x: np.ndarray | None, name: str) -> None:
    broken = 0 if x is None else int((~np.isfinite(x).all(1)).sum())
    if broken:
        raise UserError(
            f"run: the {name} gives NaN or infinity for {counted(broken, 'row')}; its training has diverged, fit again"
        )


def view_alignment(rep: Representation, embed: baselines.Embed, data: Dataset) -> dict[str, Metric]:
    """Of two views of the same test rows, drawn by the run's policy, or the data's own."""
    views = baselines.two_views(
        data.subset(sample(np.arange(len(data)), baselines.MOST_VIEWED)), rep.code.part("views", rep.config.model.views)
    )
    if views is None:
        return {}
    first, second = (as_features(embed(view)) for view in views)
    return {"alignment": alignment(first, second)}


def make_report(
    rep: Representation,
    rows: Rows,
    found: Mapping[str, tuple[Measured, Features]],
    notes: list[str],
    watched: tuple[Diagnosis | None, Mapping[str, Any]],
) -> Report:
    """watched: the health of the training and what it cost"""
    ours, features = found["representation"]
    task, notes = make_task(rows), list(notes)
    shown = evidence(rep, rows, ours, features, notes.append)
    others = {name: found[name][0] if name in found else None for name in BASELINES}
    return Report(
        ours.measures,
        {name: other.measures if other else None for name, other in others.items()},
        {name: gain(ours, other, task) if other and task else None for name, other in others.items()},
        watched[1],
        describe(rep, rows, features),
        tuple(notes),
        () if rows.target == "regression" else rows.test.classes,
        shown,
        watched[0],
    )


def health_of(rep: Representation) -> Diagnosis | None:
    """None where no training was watched, or its record is damaged, which is warned of."""
    return told_or(None, lambda: diagnose_run(Run(rep.run)) if rep.run else None)


def cost_of(rep: Representation) -> dict[str, Any]:
    """Empty where no training was measured, or its record is damaged, which is warned of."""
    nothing: dict[str, Any] = {}
    return told_or(nothing, lambda: Run(rep.run).cost if rep.run else nothing)


def told_or(otherwise: T, read: Callable[[], T]) -> T:
    """What a file of the run tells. Where it is damaged a note says so: it must not cost what was measured."""
    try:
        return read()
    except UserError as problem:
        warnings.warn(f"{problem}; the report goes without", Note, stacklevel=2)
        return otherwise


def describe(rep: Representation, rows: Rows, features: Features) -> dict[str, Any]:
    """What was measured, on what."""
    regression = rows.target == "regression"
    return {
        "method": rep.method_name,
        "dim": int(features[1].shape[1]),
        "on": rows.test.name if rows.train is None else rows.train.name,
        "train_rows": 0 if rows.train is None else len(rows.train),
        "test_rows": len(rows.test),
        "train": None if rows.train is None else _identity(rows.train),
        "test": _identity(rows.test),
        "classes": [] if rows.train is None or regression else list(rows.test.classes),
        **({"target": rows.target} if regression else {}),
        "trained_on": dict(rep.trained_on),
    }


def _identity(data: Dataset) -> dict[str, str]:
    return {"name": data.name, "split": data.split, "fingerprint": data.fingerprint}


def evidence(
    rep: Representation, rows: Rows, ours: Measured, features: Features, tell: Callable[[str], object]
) -> Evidence:
    """What the figures show. What cannot be made is left out and told: it must not take the measures with it."""
    train, test = features
    values = rows.target == "regression"

    def projection() -> dict[str, Any]:
        chosen = sample(np.arange(len(test)), MOST_PROJECTED)
        shown = {"projection": gallery.project(test[chosen]), "projected_labels": labels_of(rows.test)[chosen]}
        return shown | ({"projected_values": values_of(rows.test)[chosen]} if values else {})

    def predictions() -> dict[str, Any]:
        if ours.predicted is None:
            return {}
        if values:
            return {"predicted": np.stack([values_of(rows.test), ours.predicted], 1)}
        return {"confusion": confusion(rows, ours.predicted)}

    def neighbours() -> dict[str, Any]:
        return {"gallery": gallery.neighbour_gallery(rows.train, rows.test, train, test, classes=not values)}

    found: dict[str, Any] = {"projection": np.zeros((0, 2)), "projected_labels": np.zeros(0, int)}
    for what, make in (
        ("the projection of the test rows", projection),
        ("the predictions of the probe", predictions),
        ("the nearest neighbours", neighbours),
        ("the course of the training", lambda: {"training": gallery.training_curves(rep.run)}),
    ):
        with noting_failure(what, COMPLETE, tell):
            found |= make()
    return Evidence(**found)


def confusion(rows: Rows, predicted: np.ndarray) -> np.ndarray:
    """[classes classes] test rows: the truth against what the linear probe says."""
    assert rows.train is not None
    counts = np.zeros((len(rows.test.classes),) * 2, int)
    np.add.at(counts, (labels_of(rows.test), np.unique(labels_of(rows.train))[predicted]), 1)
    return counts
