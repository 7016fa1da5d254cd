"""What is refused at once: a run, a source or a place that cannot be, before seconds go into importing torch."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salience.cli.early_run import refuse_unfit
from salience.errors import UserError, naming
from salience.files import require_free
from salience.source_names import require_source
from salience.store_names import names_store, require_store
from salience.units import printable
from salience.verbs import table
from salience.verbs.export_place import require_place
from salience.verbs.table import Verb

RUNS = ("run", "runs", "init", "resume", "features")
SOURCES = ("source", "on", "test", "other")
STORES = ("store",)
READ_ONLY = ("doctor", "compare")  # read what a run has recorded, and make no network
HEADER = {"item", "label"}
SEPARATORS = ",;\t|"
LAUNCHED = "LOCAL_RANK"  # set by torchrun, whose later processes find the run folder that the first has made


def refuse_early(name: str, given: Mapping[str, Any]) -> None:
    """Raises UserError for what the verb of that name would refuse later in the same words.

    given: the command's arguments; one of the same name means the same in every verb
    """
    verb = table.find(name)
    if verb is None:
        return
    for argument, value in given.items():
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None:
                _refuse(verb, argument, one)
    run = given.get("run")
    if verb.writes == "file or store" and given.get("out") is not None:  # None: help was asked for
        require_place(given["out"], given.get("shard"))
    if run is None or _is_of_store(verb, run) or "run" not in " ".join(verb.reads):
        return
    if verb.own_source and given.get(verb.own_source) is None:
        _refuse_own_source(verb, run)
    refuse_unfit(verb, given)


def _is_of_store(verb: Verb, value: Any) -> bool:
    return value is not None and "run or store" in verb.reads and names_store(value)


def _refuse(verb: Verb, argument: str, value: Any) -> None:
    if argument in STORES or (argument == "run" and _is_of_store(verb, value)):
        require_store(value)
    elif argument == "target" and names_store(value):
        with naming("target", "store"):
            require_store(value)
    elif argument in RUNS:
        from salience.run import Run

        with naming(argument, "run"):
            run = Run(value)
            if run.config.model.code and verb.name not in READ_ONLY:
                _require_code(run.config)
    elif argument in SOURCES:
        with naming(argument, "source"):
            require_source(value)
    elif argument == "labels":
        _require_header(verb, Path(value))
    elif argument == "out":
        _refuse_place(verb, value)


def _require_code(config: Any) -> None:
    """Raises UserError where the run needs a file that is not named, or a package that is not installed."""
    import warnings

    from salience.own_code import code_of

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # loading says it
        code_of(config)


def _refuse_own_source(verb: Verb, run: Any) -> None:
    """Where no source was given, what the run was trained on must still be there."""
    from salience.run import Run

    with naming(verb.own_source, "source"):
        own = Run(run).config.data.require_source()
        for source in own.values() if isinstance(own, dict) else [own]:
            require_source(source)


def _refuse_place(verb: Verb, out: Any) -> None:
    """Raises UserError where what the verb writes would replace something."""
    if verb.writes == "folder":
        require_free(out, "folder")
    elif verb.writes == "file":
        require_free(out)
    elif verb.writes == "run" and LAUNCHED not in os.environ:
        from salience.run import refuse_existing

        refuse_existing(Path(out))


def _require_header(verb: Verb, path: Path) -> None:
    """A file of labels begins with a line item,label. Of a verb that reads no file, labels may be a column's name."""
    if "file" not in verb.reads and not (path.suffix.lower() == ".csv" and path.is_file()):
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
