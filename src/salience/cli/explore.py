"""The verb that serves a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from salience.errors import naming


def explore(
    target: Annotated[Path, Parameter(name="STORE|RUN", help="NAME.lance, or a run, whose own source is embedded.")],
    /,
    *,
    host: str | None = None,
    port: int | None = None,
    run: Annotated[Path | None, Parameter(help="The run that made the store, if it is not where it was then.")] = None,
    folder: Annotated[Path | None, Parameter(name="--runs", help="A folder of runs to show; otherwise runs.")] = None,
) -> int:
    """Look at a store in the browser: a map, search, labels, clusters, oddities, runs. Ctrl-C ends it.

    Parameters
    ----------
    host
        An address to serve on, for others too: with the token that is printed. Otherwise this machine alone.
    port
        Otherwise the first one from 8300 on that is free.
    """
    from salience.explorer.serve import serve

    with naming("target", "store"), naming("folder", "runs"):
        serve(target, host=host, port=port, run=run, runs=folder, ends_process=True)
    return 0
