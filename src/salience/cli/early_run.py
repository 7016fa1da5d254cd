"""What a run's configuration tells without its weights: its method cannot do it, or the source does not fit it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salience import catalogue
from salience.config import Config
from salience.errors import Note, naming
from salience.reading import AS_FOUND
from salience.run import Run
from salience.source_names import without_split
from salience.verbs.table import Verb

SOURCES = ("source", "on", "test")
SMALL = 1 << 24  # bytes of a file that is opened before torch is loaded; a larger one is opened once, with a bar


def refuse_unfit(verb: Verb, given: Mapping[str, Any]) -> None:
    """Raise UserError if the run cannot do what the verb does, or a small file does not fit it.

    Args:
        verb: The verb of the command.
        given: The arguments of the command, with a run.
    """
    config = Run(given["run"]).config
    if verb.needs and verb.needs[0] not in config.model.withheld:
        catalogue.refuse_unable(config.model.method, *verb.needs)
    if given.get("as_is"):  # such images may be of any size
        return
    sources = {name: given[name] for name in SOURCES if given.get(name) is not None}
    if verb.own_source:
        sources.setdefault(verb.own_source, config.data.source)
    for argument, source in sources.items():
        if isinstance(source, str) and _is_small_file(source):
            with naming(argument, "source"):
                _open(verb, config, source, given)


def _is_small_file(source: str) -> bool:
    path = Path(without_split(source)[0]).expanduser()
    return path.is_file() and path.stat().st_size <= SMALL


def _open(verb: Verb, config: Config, source: str, given: Mapping[str, Any]) -> None:
    """Open a file as the verb will do: it is prepared in the cache then, or refused."""
    from salience.run_data import open_fitting, open_labelled, spec_of
    from salience.verbs.images_only import require_images

    spec, reading = spec_of(config), given.get("read", AS_FOUND)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Note)  # the verb will show them
        if verb.labelled:
            data = open_labelled(config, spec, source, given.get("labels"), reading, progress=False)
        else:
            data = open_fitting(config, spec, source, reading=reading, progress=False)
    if verb.images:
        require_images(data, verb.images)
