"""Sources that installed packages offer by entry points: NAME, or NAME://PLACE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from salience.data.sources.arrays import open_memory, read_array
from salience.data.sources.query import Query, require_train_split
from salience.errors import UserError
from salience.fields.source import Source
from salience.origins import of_package


def open_installed(name: str, query: Query, otherwise: Callable[[Any, Query], Source]) -> Source | None:
    """Return the source of a package; None if no package offers one by this name.

    The package's function gets the place after :// and the split, and returns what `open_data` takes, or an array and
    its labels.

    Args:
        name: NAME or NAME://PLACE.
        query: The options of the user.
        otherwise: Opens what the function returns.

    Raises:
        UserError: The function fails.
    """
    short, _, place = name.partition("://")
    origin = of_package(short, "source")
    if origin is None:
        return None
    try:
        content = origin.load()(place, query.split)
    except UserError:
        raise
    except Exception as problem:  # of the package's function
        reason = " ".join(str(problem).split())[:200]
        said = f"{origin.place} of the package {origin.package} fails ({type(problem).__name__}: {reason})"
        raise UserError(f"source: {name} cannot be opened: {said}") from problem
    if isinstance(content, tuple) and len(content) == 2:
        x, y = content[0], content[1] if query.labels is None else None
        require_train_split(replace(query, split=None), name)
        return Source(
            name, query.split or "train", lambda: read_array(x, query, None if query.labels is not None else y)
        )
    made = open_memory(content, query) if isinstance(content, list) else otherwise(content, replace(query, split=None))
    return replace(made, name=name, split=query.split or made.split)
