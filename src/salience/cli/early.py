"""What is refused at once: a run, a source or a place that cannot be, before seconds go into importing torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salience.errors import naming
from salience.files import require_free
from salience.source_names import require_there
from salience.store_names import SUFFIX, names_store, require_store

RUNS = ("run", "runs", "init", "resume", "features")
SOURCES = ("source", "on", "test", "other")
STORES = ("store",)
WRITE_A_FILE = ("views", "embed", "predict")
WRITE_A_RUN = ("fit", "demo")
WRITE_A_FOLDER = (
    *("search", "cluster", "duplicates"),
    *("reconstruct", "denoise", "sample", "interpolate", "arithmetic", "anomalies", "super-resolve"),
)
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
    if argument in STORES or (verb == "anomalies" and argument == "run" and names_store(value)):
        require_store(value)
    elif argument in RUNS:
        from salience.run import Run

        with naming(argument, "run"):
            Run(value)
    elif argument in SOURCES:
        with naming(argument, "source"):
            require_there(value)
    elif argument == "out" and verb in WRITE_A_FILE and not is_store(value):
        require_free(value)
    elif argument == "out" and verb in WRITE_A_FOLDER:
        require_free(value, "folder")
    elif argument == "out" and verb in WRITE_A_RUN and LAUNCHED not in os.environ:
        from salience.run import refuse_existing

        refuse_existing(Path(value))
