"""What a verb found, as values, as text, as files in a new folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from salience.csv_text import write_csv
from salience.data import Dataset
from salience.errors import noting_failure
from salience.files import atomic, new_folder, write_text
from salience.measures.intervals import Metric, plain
from salience.modalities import Spec
from salience.progress import progress_bar
from salience.source_names import with_split
from salience.units import counted, printable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from salience.data.originals import Originals
    from salience.representation import Representation

Figures = Mapping[str, Any]  # name -> Metric, or name -> (name -> Metric): a table of rows and columns


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What a verb found.

    about: what was used: run, data, options;  figures: name -> Metric, or row -> (column -> Metric)
    units: how figures are called;  said: what they mean, and what a reader must know, a sentence each
    table: one row an item;  arrays: name -> items on the unit scale, or codes
    folder: where it was written, None where it was not
    """

    verb: str
    about: Mapping[str, Any]
    figures: Figures = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    table: pd.DataFrame | None = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    folder: Path | None = None

    def __repr__(self) -> str:
        return f"Result({self.verb}, {', '.join(self.figures) or 'no figures'}, folder={self.folder})"

    def __str__(self) -> str:
        return self.text()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; every figure is {"value": v, "interval": [low, high]}; None: no such limit."""
        written = {} if self.folder is None else {"folder": str(self.folder)}
        return {"verb": self.verb, "about": dict(self.about), **plain(self.figures), "said": list(self.said), **written}

    def text(self) -> str:
        """For people."""
        about = self.about
        on = f" on {printable(about['on'])}, {counted(about['items'], 'item')}" if "on" in about else ""
        lines = [f"{self.verb}: {about['method']}{on}", *self._figure_lines(), *self.said]
        if self.folder is not None:
            picture = self.folder / PICTURE
            lines.append(f"picture: {picture}" if picture.exists() else f"written: {self.folder}")
        return "\n".join(lines)

    def _figure_lines(self) -> list[str]:
        nested = {row: figures for row, figures in self.figures.items() if isinstance(figures, Mapping)}
        single = {self.units.get(n, n): metric for n, metric in self.figures.items() if isinstance(metric, Metric)}
        lines = _aligned([[name, cell(metric)] for name, metric in single.items()])
        if nested:
            columns = list(dict.fromkeys(name for figures in nested.values() for name in figures))
            head = ["", *(self.units.get(name, name) for name in columns)]
            rows = [[self.units.get(row, row), *(cell(found.get(c)) for c in columns)] for row, found in nested.items()]
            lines += _aligned([head, *rows])
        return lines


PICTURE = "picture.png"


class Place:
    """Where a verb leaves its files: a folder, or nowhere."""

    def __init__(self, folder: Path | None):
        self.folder = folder

    def array(self, name: str, shape: Sequence[int]) -> np.ndarray:
        """Room for float32 values that need not fit in memory: a file NAME.npy, or memory where there is no folder."""
        if self.folder is None:
            return np.empty(shape, np.float32)
        return np.lib.format.open_memmap(self.folder / f"{name}.npy", "w+", np.float32, tuple(shape))

    def write(self, result: Result, picture: Callable[[], Figure | None]) -> None:
        """Writes VERB.json, items.csv and the arrays, as far as there are such, then the picture.

        picture: draws it. A failure there becomes a Note: it must not take the results with it.
        """
        if self.folder is None:
            return
        text = json.dumps(result.to_dict(), indent=2, allow_nan=False)
        write_text(self.folder / f"{result.verb}.json", text + "\n")
        if result.table is not None:
            write_table(self.folder / "items.csv", result.table)
        for name, values in result.arrays.items():
            if not (self.folder / f"{name}.npy").exists():
                with atomic(self.folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
                    np.save(file, values)
        with noting_failure(f"the picture of {result.verb}", "the results are complete"):
            from salience.verbs.pictures import save

            if (figure := picture()) is not None:
                save(figure, self.folder / PICTURE)


@contextmanager
def placed(out: Path | str | None) -> Iterator[Place]:
    """A place at `out`, a new folder that appears whole or not at all; None: nothing is written."""
    if out is None:
        yield Place(None)
        return
    with new_folder(out) as folder:
        yield Place(folder)


def finished(result: Result, out: Path | str | None) -> Result:
    """The result with where it is; arrays too large for memory stay in their files."""
    return result if out is None else replace(result, folder=Path(out))


def about(rep: Representation, data: Dataset | None = None, **used: Any) -> dict[str, Any]:
    """What was used, for the report."""
    run: dict[str, Any] = {"method": rep.method_name, "run": None if rep.run is None else str(rep.run)}
    if data is not None:
        run |= {"on": with_split(data.name, data.split), "items": len(data), "fingerprint": data.fingerprint}
    return run | used


def write_table(path: Path, table: pd.DataFrame) -> None:
    write_csv(path, table, "%.6g")


def save_items(stem: Path, x: np.ndarray, data: Dataset, progress: bool) -> None:
    """Images as STEM/000000.png, with their names in STEM.csv; rows of a table as STEM.csv.  x: [n ...] unit scale"""
    if not data.spec.modality.shows_pictures:
        return write_table(stem.with_suffix(".csv"), as_frame(x, data.spec, item_names(data)))
    import pandas as pd

    from salience.verbs.pictures import save_image

    stem.mkdir()
    files = [f"{stem.name}/{row:06d}.png" for row in range(len(x))]
    with progress_bar(len(x), "write", progress) as bar:
        for image, file in zip(x, files, strict=True):
            save_image(image, stem.parent / file)
            bar.update(1)
    return write_table(stem.with_suffix(".csv"), pd.DataFrame({"item": item_names(data), "file": files}))


def as_frame(x: np.ndarray, spec: Spec, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Items as rows of a table, in their own units.  x: [n ...] on the unit scale;  names: of the items"""
    import pandas as pd

    frame = spec.modality.frame(x, spec)
    return frame if names is None else pd.concat([pd.DataFrame({"item": list(names)}), frame], axis=1)


def item_names(data: Dataset | Originals, rows: np.ndarray | None = None) -> list[str]:
    """Ids as text that can be written; a file's name need not be UTF-8."""
    names = data.ids if rows is None else [data.ids[int(row)] for row in rows]
    return [name.encode(errors="backslashreplace").decode() for name in names]


def cell(metric: Metric | None) -> str:
    """A figure and its interval; "-" where there is none."""
    if metric is None:
        return "-"
    return f"{shown(metric.value)} [{shown(metric.low)}, {shown(metric.high)}]"


def shown(value: float) -> str:
    """In four figures: 0.01234, 19.53."""
    return f"{value:.4g}"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))] if lines else []
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
