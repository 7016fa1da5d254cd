"""The explorer: a web page to view, search and label a store of embeddings, and the server of the page."""

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
    """Serve the page until it is interrupted, and print its address.

    target: a store, NAME.lance; or a run folder, whose training source is embedded first if necessary
    host: address to listen on. By default only this machine can connect. With a host, other machines can connect with a
        token, which is generated and printed
    port: port to listen on; default: the first free port from 8300; 0 for any free port
    run: folder of the run that made the store, if the run has moved since
    runs: folder of runs to show; default: `runs`, if it exists
    Raises: UserError if `target` is neither a store nor a run, the port is in use, or the address does not exist;
        MissingPackage.
    """
    from salience.explorer.serve import serve

    serve(target, host=host, port=port, run=run, runs=runs)


__all__ = ["explore"]
