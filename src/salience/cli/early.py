"""What is refused at once: a run, a source or a place that cannot be, before seconds go into importing torch."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salience.errors import UserError, naming
from salience.files import require_free
from salience.source_names import require_source
from salience.store_names import SUFFIX, is_store_name, require_store
from salience.units import printable

RUNS = ("run", "runs", "init", "resume", "features")
SOURCES = ("source", "on", "test", "other")
STORES = ("store",)
WRITE_A_FILE = ("views", "embed", "predict")
WRITE_A_RUN = ("fit", "demo")
WRITE_A_FOLDER = (
    *("search", "cluster", "duplicates"),
    *("reconstruct", "denoise", "sample", "interpolate", "arithmetic", "anomalies", "super-resolve"),
)
HEADER = {"item", "label"}
SEPARATORS = ",;\t|"
LAUNCHED = "LOCAL_RANK"  # set by torchrun, whose later processes find the run folder that the first has made


def refuse_early(verb: str, given: Mapping[str, Any]) -> None:
    """Raises UserError for what the verb would refuse later in the same words.

    given: the command's arguments; one of the same name means the same in every verb
    """
    for argument, value in given.items():
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None:
                _refuse(verb, argument, one)


def is_store(path: Path) -> bool:
    """A store that exists is added to."""
    return path.suffix == SUFFIX


def _refuse(verb: str, argument: str, value: Any) -> None:
    if argument in STORES or (verb == "anomalies" and argument == "run" and is_store_name(value)):
        require_store(value)
    elif argument in RUNS:
        from salience.run import Run

        with naming(argument, "run"):
            Run(value)
    elif argument in SOURCES:
        with naming(argument, "source"):
            require_source(value)
    elif argument == "labels":
        _require_header(verb, Path(value))
    elif argument == "out" and verb in WRITE_A_FILE and not is_store(value):
        require_free(value)
    elif argument == "out" and verb in WRITE_A_FOLDER:
        require_free(value, "folder")
    elif argument == "out" and verb in WRITE_A_RUN and LAUNCHED not in os.environ:
        from salience.run import refuse_existing

        refuse_existing(Path(value))


def _require_header(verb: str, path: Path) -> None:
    """A file of labels begins with a line item,label. Of other verbs than `predict`, labels may be a column's name."""
    if verb != "predict" and not (path.suffix.lower() == ".csv" and path.is_file()):
        return
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"labels: {path} {what}; give a CSV file with the columns item,label")
    number, first = _first_line(path)
    cells = [{cell.strip().lower() for cell in next(csv.reader([first], delimiter=one))} for one in SEPARATORS]
    if first and not any(names >= HEADER for names in cells):
        raise UserError(
            f"labels: {path} line {number}: expected the columns item and label, got '{printable(first)}'; "
            "write 'item,label' above the items"
        )


def _first_line(path: Path) -> tuple[int, str]:
    """(its number, text) of the first line with something in it; no text where that is for the reader to judge."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, 1):
                if line.strip(" \t\r\n,;|") and not line.startswith(("#", "sep=")):
                    return number, line.strip("\r\n")[:1000]
    except (OSError, UnicodeDecodeError):
        pass
    return 0, ""
