"""A page in the browser to look at a store of embeddings, search it and label it; and the server behind the page."""

from __future__ import annotations

from pathlib import Path


def explore(
    target: Path | str,
    *,
    host: str | None = None,
    port: int | None = None,
    run: Path | str | None = None,
    runs: Path | str | None = None,
) -> None:
    """Serves the page until it is interrupted, and prints its address.

    target: a store, NAME.lance; or a run folder, whose own source is embedded first where that has not been done
    host: the address to serve on. By default this machine alone can connect; with a host, whoever has the token that
        is generated and printed
    port: by default the first free one from 8300 on; 0 for any
    run: where the run is that made the store, if not where it was then
    runs: a folder of runs to show; by default `runs`, if it is there
    Errors: UserError where `target` is neither, the port is taken, or there is no such address; MissingPackage.
    """
    from salience.explorer.serve import serve

    serve(target, host=host, port=port, run=run, runs=runs)


__all__ = ["explore"]
