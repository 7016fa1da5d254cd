"""The verb that serves a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from salience.errors import naming


def explore(
    target: Annotated[
        Path, Parameter(name="STORE|RUN", help="A store, NAME.lance; or a run, whose training source is embedded.")
    ],
    /,
    *,
    host: str | None = None,
    port: int | None = None,
    run: Annotated[Path | None, Parameter(help="The run that embedded the store, if it has moved.")] = None,
    folder: Annotated[Path | None, Parameter(name="--runs", help="Folder of runs to show. Default: runs.")] = None,
) -> int:
    """Serve a web page about a store: map, search, labelling, clusters, outliers, runs. Ctrl-C ends it.

    Parameters
    ----------
    host
        Address to serve on, for other machines, which need the printed token. Default: this machine only.
    port
        Port. Default: the first free port from 8300.
    """
    from salience.explorer.serve import serve

    with naming("target", "store"), naming("folder", "runs"):
        serve(target, host=host, port=port, run=run, runs=folder, ends_process=True)
    return 0
