"""The report as one HTML file that needs nothing else: figures inside, no script, light and dark."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from salience.errors import Note, noting_failure
from salience.evaluation import figures
from salience.evaluation.earlier_reports import keep_earlier
from salience.evaluation.measure import INTERVALS
from salience.evaluation.report import FAMILIES, Report, words
from salience.evaluation.style import STYLE, number
from salience.files import atomic, write_text
from salience.health.diagnosis import Diagnosis
from salience.measures.intervals import Metric
from salience.units import counted, format_duration, format_size

CALIBRATED = (
    "mean difference between confidence and accuracy, 0 is best; with two labels or more per class they are "
    "calibrated on the labels of each draw, by cross-validation"
)
NO_BEST = ("geometry", "codes")  # families where more is not simply better


def write_report(report: Report, folder: Path) -> Report:
    """Write report.json, report.html and figures/, each whole or not at all, the figures last.

    An earlier report about other data is kept under a number, which a Note says; its figures are in its page.
    Returns: the report, with a note for each figure that could not be drawn.
    """
    kept = keep_earlier(folder, report.about)
    (folder / "figures").mkdir(exist_ok=True)
    for name in CAPTIONS:
        (folder / "figures" / name).unlink(missing_ok=True)
    _write(report, {}, folder)  # before anything is drawn: a figure that fails must not take the work with it
    if kept is not None:
        warnings.warn(kept, Note, stacklevel=3)
    drawn, failed = draw(report)
    report = replace(report, notes=(*report.notes, *failed))
    for name, figure in drawn.items():
        with atomic(folder / "figures" / name) as temporary:
            temporary.write_bytes(figure)
    _write(report, drawn, folder)
    return report


def _write(report: Report, drawn: Mapping[str, bytes], folder: Path) -> None:
    write_text(folder / "report.html", page(report, drawn))
    write_text(folder / "report.json", json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n")


def draw(report: Report) -> tuple[dict[str, bytes], list[str]]:
    """Every figure the evidence allows, file name -> content; and a note for each that could not be drawn."""
    drawn: dict[str, bytes] = {}
    failed: list[str] = []
    for name, make in drawable(report).items():
        with noting_failure(f"figures/{name}", "the table is complete", failed.append):
            figure = make()
            drawn[name] = figure.encode() if isinstance(figure, str) else figure
    return drawn, failed


def drawable(report: Report) -> dict[str, Callable[[], str | bytes]]:
    """file name -> what draws it, as far as the evidence allows"""
    shown = report.evidence
    found: dict[str, Callable[[], str | bytes]] = {}
    if report.representation.get("few_label"):
        found["few_label.svg"] = partial(figures.few_label_curve, report.columns, report.called)
    if len(shown.projection):
        of = shown.projection, shown.projected_labels, report.classes, shown.projected_values
        found["projection.svg"] = partial(figures.projection, *of)
    if shown.confusion is not None:
        found["confusion.svg"] = partial(figures.confusion_matrix, shown.confusion, report.classes)
    if shown.predicted is not None:
        found["predicted.svg"] = partial(figures.predicted_against_true, shown.predicted)
    if shown.gallery is not None:
        found["neighbours.png"] = partial(figures.gallery_png, shown.gallery)
    if len(set(shown.training) - {"step", "epoch"}):
        found["training.svg"] = partial(figures.training_curves, shown.training)
    return found


def page(report: Report, drawn: Mapping[str, bytes]) -> str:
    """The whole file.  drawn: as `draw` gives it"""
    about = report.about
    title = escape(f"{about['method']} on {about['on']}")
    rows = f"{counted(about['train_rows'], 'labelled row')} to train on, " if about["train_rows"] else ""
    verdict = f'<p class="verdict">{escape(report.verdict())}</p>' if report.verdict() else ""
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    parts = [
        f"<h1>What {title} has learnt</h1>",
        f'<p class="soft">{rows}{counted(about["test_rows"], "row")} for the evaluation{of_classes(report)}.</p>',
        verdict,
        f"<ul>{notes}</ul>" if notes else "",
        summary(report),
        *(section(name, drawn) for name in CAPTIONS if name in drawn),
        health(report.health),
        cost(report.cost),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )


def of_classes(report: Report) -> str:
    return ", numbers to predict" if "regression" in report.representation else f", {len(report.classes)} classes"


CAPTIONS = {
    "few_label.svg": (
        "How few labels suffice",
        "Logistic regression on 1, 2, 5, … labelled rows per class, mean over 20 draws. "
        "The band is the 95 % interval over draws; all representations use the same draws.",
    ),
    "projection.svg": (
        "The first two principal components",
        "Test rows. Groups that overlap here may be separate in other dimensions.",
    ),
    "confusion.svg": ("What is mistaken for what", "Test rows, by the linear probe. A darker cell is a larger share."),
    "predicted.svg": (
        "Predicted against true values",
        "Test rows, by ridge regression on the representation. Points on the line are predicted exactly.",
    ),
    "neighbours.png": (
        "Nearest neighbours",
        "First in each row a test image, then the training images most similar to it by cosine. "
        "Frame: green for the same class, red for another, blue without classes. Without labels, neighbours are "
        "test images.",
    ),
    "training.svg": ("The training", "As metrics.csv has it."),
}


def health(diagnosis: Diagnosis | None) -> str:
    """What the training's signs say."""
    if diagnosis is None:
        return ""
    items = "".join(
        f"<li>{escape(found.what)}: {escape(found.why)}. <em>{escape(found.change)}</em></li>"
        for found in diagnosis.findings
    )
    told = "Based on the loss, the geometry, gradients and neighbours, compared with the start of the training."
    return f'<h2>Diagnosis of the training</h2>\n<p>{diagnosis.headline}. <span class="soft">{told}</span></p>' + (
        f"<ul>{items}</ul>" if items else ""
    )


def section(name: str, drawn: Mapping[str, bytes]) -> str:
    title, caption = CAPTIONS[name]
    if name.endswith(".svg"):
        picture = drawn[name].decode()
    else:
        picture = f'<img alt="{title}" src="data:image/png;base64,{base64.b64encode(drawn[name]).decode()}">'
    caption = f"<figcaption>{caption}</figcaption>"
    return f'<h2>{title}</h2>\n<figure><div class="scroll">{picture}</div>{caption}</figure>'


def summary(report: Report) -> str:
    """The table of all figures, family by family, the best of each row marked."""
    called = report.called
    columns = {key: measures for key, measures in report.columns.items() if measures}
    head = "".join(f"<th>{escape(called[key])}</th>" for key in columns)
    body = "".join(
        _family(family, columns) + _calibration(columns) * (family == "few_label")
        for family in FAMILIES
        if report.representation.get(family)
    )
    caption = "Value and 95 % interval. Shaded: the best value of the row, and values within its uncertainty."
    return (
        f'<div class="scroll"><table><caption>{caption}</caption>'
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _family(family: str, columns: Mapping[str, Any]) -> str:
    head = f'<tr class="family"><th colspan="{len(columns) + 1}">{FAMILIES[family]} '
    head += f"<span>{escape(INTERVALS[family])}</span></th></tr>"
    return head + "".join(_row(family, key, columns) for key in columns["representation"][family])


def _calibration(columns: Mapping[str, Any]) -> str:
    """What remains of the calibration error in the few-label curve; less is better, so nothing is marked."""
    curves = [measures.get("few_label", {}) for measures in columns.values()]
    head = f'<tr class="family"><th colspan="{len(columns) + 1}">labels per class: calibration error '
    head += f"<span>{escape(CALIBRATED)}</span></th></tr>"
    rows = {key: [curve.get(key, {}).get("calibration_error") for curve in curves] for key in curves[0]}
    return head + "".join(
        f"<tr><th>{escape(key)}</th>{''.join(_cell(metric, False) for metric in row)}</tr>"
        for key, row in rows.items()
        if any(row)
    )


def _row(family: str, key: str, columns: Mapping[str, Any]) -> str:
    found = [measures.get(family, {}).get(key) for measures in columns.values()]
    metrics = [metric if isinstance(metric, Metric) or metric is None else metric["accuracy"] for metric in found]
    marked = set() if family in NO_BEST else best(metrics)
    cells = "".join(_cell(metric, at in marked) for at, metric in enumerate(metrics))
    return f"<tr><th>{escape(words(key))}</th>{cells}</tr>"


def best(metrics: list[Metric | None]) -> set[int]:
    """Positions of the highest value and of those whose interval reaches it."""
    top = max((metric.value for metric in metrics if metric), default=0.0)
    return {at for at, metric in enumerate(metrics) if metric and metric.high >= top}


def _cell(metric: Metric | None, marked: bool) -> str:
    if metric is None:
        return "<td>–</td>"
    mark = ' class="best"' if marked else ""
    return f"<td{mark}>{number(metric.value)} <small>[{number(metric.low)}, {number(metric.high)}]</small></td>"


def cost(spent: Mapping[str, Any]) -> str:
    """What the training took."""
    readable = {
        "flops": lambda value: f"{value:.3g} floating point operations",
        "seconds": lambda value: format_duration(value),
        "peak_memory_bytes": lambda value: f"{format_size(value)} at most in memory",
    }
    lines = [say(spent[key]) for key, say in readable.items() if spent.get(key)]
    return f"<h2>Cost</h2>\n<p>{escape(', '.join(lines))}.</p>" if lines else ""
