"""Runs side by side: quality against what it cost."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salience.drawing import drawable
from salience.errors import UserError, naming, noting_failure
from salience.evaluation.style import STYLE, number
from salience.files import write_text
from salience.run import Run
from salience.run_metrics import note_damage
from salience.run_records import LONGEST_TEXT
from salience.units import format_duration, printable
from salience.untrusted import read_json

if TYPE_CHECKING:
    from salience.representation import Representation

QUALITIES = {"linear": "linear probe", "knn": "kNN", "1": "1 label", "10": "10 labels"}
OF_VALUES = {"r2": "R²"}  # beside them where a run was judged by it
Quality = Mapping[str, Any]  # {"value": v, "interval": [low, high]}


@dataclass(frozen=True)
class Entry:
    """One run: what it is, how good (quality -> accuracy), what it cost (0 where not known)."""

    name: str
    method: str
    on: str
    test: str
    qualities: Mapping[str, Quality]
    flops: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        of_values = {key: name for key, name in OF_VALUES.items() if key in self.qualities}
        shown = {name: self.qualities.get(key) for key, name in (QUALITIES | of_values).items()}
        about = {"run": self.name, "method": self.method, "on": self.on}
        return {**about, **shown, "flops": self.flops or None, "seconds": self.seconds or None}


@dataclass(frozen=True)
class Comparison:
    """Runs in the order of their linear probe, and what a reader must know."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...]

    @property
    def shown(self) -> dict[str, str]:
        """The qualities that have a column: key -> name."""
        return QUALITIES | {
            key: name for key, name in OF_VALUES.items() if any(key in e.qualities for e in self.entries)
        }

    def table(self) -> str:
        """Quality with its interval, and cost."""
        head = ["run", "method", "on", *self.shown.values(), "FLOPs", "time"]
        lines = [head, *([*_about(entry), *_qualities(entry, self.shown), *_costs(entry)] for entry in self.entries)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)

    def text(self) -> str:
        return "\n".join([self.table(), *(f"note: {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        return {"runs": [entry.to_dict() for entry in self.entries], "notes": list(self.notes)}

    def plot(self) -> str:
        """Accuracy of the linear probe against FLOPs and against time, as SVG; empty without labels or costs."""
        drawable = [entry for entry in self.entries if "linear" in entry.qualities and (entry.flops or entry.seconds)]
        return _plot(drawable) if drawable else ""

    def write(self, folder: Path | str) -> None:
        """compare.json, compare.html and compare.svg into the folder."""
        folder, svg = Path(folder), ""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "compare.json", json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")
        with noting_failure("compare.svg", "the table is complete"):
            svg = self.plot()
        write_text(folder / "compare.html", _page(self, svg))
        if svg:
            write_text(folder / "compare.svg", svg)


def compare(runs: Iterable[Representation | Path | str], out: Path | str | None = None) -> Comparison:
    """Compare evaluated runs: a table, and a plot of quality against cost.

    Args:
        runs: Folders of runs, or their representations. Each one must have been evaluated.
        out: Folder for compare.html, compare.svg and compare.json.

    Returns:
        The comparison.

    Raises:
        UserError: There is no run, a folder is not a run, or a run has not been evaluated.
    """
    if not isinstance(runs, Iterable) or isinstance(runs, str):
        raise UserError("runs: expected a list of run folders or representations, got one; write compare([a, b])")
    paths = [_folder(run) for run in runs]
    if not paths:
        raise UserError("runs: expected the folders of runs, got none; name the runs to compare")
    entries = sorted((read_entry(path) for path in paths), key=_rank)
    notes = []
    if len({entry.test for entry in entries}) > 1:
        notes.append(
            "the runs were evaluated on different rows, or on the same rows at another resolution; compare with care"
        )
    if free := [entry.name for entry in entries if not (entry.flops or entry.seconds)]:
        notes.append(f"not in the plot, because the cost of an unfinished training is unknown: {', '.join(free)}")
    comparison = Comparison(tuple(entries), tuple(notes))
    if out is not None:
        comparison.write(out)
    return comparison


def _folder(run: Representation | Path | str) -> Path:
    if isinstance(run, str | Path):
        return Path(run)
    if run.run is None:
        raise UserError(f"runs: {run!r} has no run folder; fit it with out=FOLDER to compare it")
    return run.run


def read_entry(path: Path) -> Entry:
    """Raises UserError where the run has no readable report."""
    with naming("runs", "run"):
        run = Run(path)
    file = run.path / "report.json"
    if not file.exists():
        raise UserError(f"runs: {path} has not been evaluated; first: salience evaluate {path} --on SOURCE")
    note_damage(run.metrics)
    try:
        report = read_json(file)
        found, about = report["representation"], report["about"]
        values = {k: found["regression"][k] for k in OF_VALUES if k in found.get("regression", {})}
        few = {k: found["few_label"][k]["accuracy"] for k in QUALITIES if k in found.get("few_label", {})}
        named = few | {family: found[family]["accuracy"] for family in ("linear", "knn") if family in found}
        qualities = {name: _read_quality(quality) for name, quality in (named | values).items()}
        cost = report.get("cost") or {}
        return Entry(
            run.path.name,
            printable(_text(about["method"])),
            printable(_text(about["on"])),
            _text(about["test"]["fingerprint"]),
            qualities,
            _finite(cost.get("flops") or 0),
            _finite(cost.get("seconds") or 0),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise UserError(f"runs: {file} is damaged; write it anew: salience evaluate {path} --on SOURCE") from None


def _read_quality(quality: Mapping[str, Any]) -> Quality:
    """Raises what `read_entry` catches where it is no value with an interval."""
    low, high = quality["interval"]
    return {"value": _finite(quality["value"]), "interval": [_finite(low), _finite(high)]}


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("a number is needed")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise TypeError("a text is needed")
    return value


def _rank(entry: Entry) -> float:
    first = entry.qualities.get("linear") or entry.qualities.get("r2")
    return -first["value"] if first else 0.0


def _about(entry: Entry) -> list[str]:
    return [entry.name, entry.method, entry.on]


def _qualities(entry: Entry, shown: Iterable[str]) -> list[str]:
    return [_cell(entry.qualities.get(key)) for key in shown]


def _cell(quality: Quality | None) -> str:
    if quality is None:
        return "-"
    low, high = quality["interval"]
    return f"{number(quality['value'])} [{number(low)}, {number(high)}]"


def _costs(entry: Entry) -> list[str]:
    flops = f"{entry.flops:.2g}" if entry.flops else "-"
    return [flops, format_duration(entry.seconds) if entry.seconds else "-"]


def _plot(entries: Sequence[Entry]) -> str:
    from salience.evaluation import figures

    figure, axes = figures.new_figure(9, 4, 2)
    for ax, cost, label in zip(axes, ("flops", "seconds"), ("FLOPs of the training", "seconds"), strict=True):
        for at, entry in enumerate(entries):
            spent: float = getattr(entry, cost)
            if spent:
                _point(
                    ax,
                    spent,
                    entry.qualities["linear"],
                    figures.class_colours(10)[at % 10],
                    drawable(entry.name, figures.LONGEST_CLASS),
                )
        ax.set_xscale("log")
        ax.grid(color=figures.INK, alpha=0.12)
        figures.label_axes(ax, label, "linear probe accuracy")
    if axes[1].get_legend_handles_labels()[0]:
        figures.legend(axes[1], loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figures.to_svg(figure, "quality against cost")


def _point(ax: Any, spent: float, quality: Quality, colour: Any, name: str) -> None:
    value, (low, high) = quality["value"], quality["interval"]
    ax.errorbar(spent, value, [[value - low], [high - value]], fmt="o", color=colour, capsize=3, label=name)


def _page(comparison: Comparison, svg: str) -> str:
    head = ["run", "method", "on", *comparison.shown.values(), "FLOPs", "time"]
    rows = [[*_about(entry), *_qualities(entry, comparison.shown), *_costs(entry)] for entry in comparison.entries]
    title = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in comparison.notes)
    table = f'<div class="scroll"><table><thead><tr>{title}</tr></thead><tbody>{body}</tbody></table></div>'
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Runs compared</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>Quality against cost</h1>{notes}{table}"
        f"<figure>{svg}</figure></body></html>\n"
    )
