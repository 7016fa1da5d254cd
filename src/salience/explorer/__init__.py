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

    Args:
        target: A store, NAME.lance; or the folder of a run, whose training source is embedded first if necessary.
        host: Address to listen on. By default only this machine can connect. With a host, other machines can connect
            with a token, which is generated and printed.
        port: Port to listen on. Default: the first free port from 8300. 0 for any free port.
        run: Folder of the run that embedded the store, if it has moved.
        runs: Folder of runs to show. Default: `runs`, if it exists.

    Raises:
        UserError: `target` is neither a store nor a run, the port is in use, or the address does not exist.
        MissingPackage: A package of the page is not installed.
    """
    from salience.explorer.serve import serve

    serve(target, host=host, port=port, run=run, runs=runs)


__all__ = ["explore"]
