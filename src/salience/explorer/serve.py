"""Start the server for a store or a run, and stop it at Ctrl-C or another signal that is not ignored."""

from __future__ import annotations

import errno
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from salience.errors import WORDS, MissingPackage, UserError
from salience.run import Run
from salience.store import open_store
from salience.store_names import require_store

FIRST_PORT, PORTS = 8300, 100
GRACE = 1  # seconds that running requests get after Ctrl-C or SIGTERM
LATEST = 1.6  # seconds after which the process ends, even if requests or jobs still run
LOOPBACK = "127.0.0.1"
SIGNALS = [getattr(signal, name) for name in WORDS if hasattr(signal, name)]
EMBEDDINGS = "embeddings.lance"


def serve(
    target: Path | str,
    *,
    host: str | None = None,
    port: int | None = None,
    run: Path | str | None = None,
    runs: Path | str | None = None,
    ends_process: bool = False,
) -> None:
    """Serve the page; see salience.explore.

    ends_process: whether a signal may end this process, because nothing else runs in it
    """
    require_packages()
    uri = get_or_embed_store(target)
    if runs is not None and not Path(runs).is_dir():
        raise UserError(f"runs: {runs} is not a folder; give the folder that contains your runs")
    with open_listener(host, port) as listener:
        import uvicorn

        from salience.explorer.app import make_app
        from salience.explorer.state import Explorer

        token = None if host is None else secrets.token_urlsafe()
        explorer = Explorer(
            open_store(uri), run=None if run is None else Path(run), runs=None if runs is None else Path(runs)
        )
        app = make_app(explorer, token=token, host=host)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, ws="none", timeout_graceful_shutdown=GRACE
        )

        ignored = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
        came: list[int] = []

        class Server(uvicorn.Server):
            def handle_exit(self, sig: int, frame: FrameType | None) -> None:
                if sig in ignored:  # for example in a background job of a script; uvicorn would not ignore it
                    return
                came.append(sig)
                if ends_process:
                    exit_later(sig)
                super().handle_exit(sig, frame)

        print_address(uri, listener, host, token)
        server = Server(config)
        try:
            with stop_on_hangup(server.handle_exit, ends_process):
                server.run(sockets=[listener])
        except KeyboardInterrupt as interrupt:
            if ends_process:
                exit_now(came[0] if came else getattr(interrupt, "number", signal.SIGINT))
            raise
        if ends_process and came:
            exit_now(came[0])


@contextmanager
def stop_on_hangup(heed: Callable[[int, FrameType | None], None], ends_process: bool) -> Iterator[None]:
    """Make SIGHUP stop the server as SIGTERM does; uvicorn does not handle it."""
    number = getattr(signal, "SIGHUP", None)
    if not ends_process or number is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, heed)
    try:
        yield
    finally:
        signal.signal(number, before)


def exit_now(number: int) -> None:
    """End the process at once, after this signal. A normal exit would wait for running requests."""
    with suppress(OSError):  # the terminal may be closed
        print(WORDS.get(signal.Signals(number).name, "stopped"), file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(128 + number)


def exit_later(number: int) -> None:
    """End the process LATEST seconds after a signal, because requests and jobs cannot be interrupted.

    Answered changes are already saved, and files are written atomically.
    """
    timer = threading.Timer(LATEST, os._exit, [128 + number])
    timer.daemon = True
    timer.start()
    if hasattr(signal, "setitimer"):  # the system's timer also works while a library blocks all threads
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, LATEST + 0.3)


def require_packages() -> None:
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as problem:
        raise MissingPackage(
            f"explore: the page requires the package {problem.name}; install it with: pip install 'salience[explore]'"
        ) from None


def get_or_embed_store(target: Path | str) -> str:
    """Return the store; for a run, the embeddings of its training source, which are created if necessary.

    Raises: UserError if the target is neither a store nor a run.
    """
    path = Path(target)
    if not (path / "config.yaml").is_file():
        require_store(target)
        return str(target)
    from salience.verbs.export import embed_to

    store = path / EMBEDDINGS
    if not store.exists():
        run = Run(path)
        if run.config.data.source is None:
            raise UserError(f"target: {path} does not record its source; run salience embed {path} SOURCE --out STORE")
        source = run.config.data.require_source()
        print(f"embedding {source} into {store}", file=sys.stderr)
        embed_to(path, source, store)
    return str(store)


def open_listener(host: str | None, port: int | None) -> socket.socket:
    """Open a listening socket; by default at the first free port.

    Raises: UserError if the port is in use, or if `host` is not an address of this machine.
    """
    address = host or LOOPBACK
    if port is not None and not 0 <= port <= 65535:
        raise UserError(f"port: expected 0 (any free port) or 1024 to 65535, got {port}")
    candidates = range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]
    for number in candidates:
        try:
            return bind_socket(address, number)
        except PermissionError:
            raise UserError(f"port: {number} is reserved for the system; use a port from 1024 to 65535") from None
        except OSError as problem:
            if problem.errno == errno.EADDRINUSE:
                continue
            raise UserError(f"host: cannot listen at {address}, port {number} ({problem})") from None
    taken = f"{port} is" if port is not None else f"{FIRST_PORT} to {FIRST_PORT + PORTS - 1} are all"
    raise UserError(f"port: {taken} in use; choose another one with --port")


def bind_socket(address: str, port: int) -> socket.socket:
    family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


def print_address(uri: str, listener: socket.socket, host: str | None, token: str | None) -> None:
    """Print the address of the page."""
    from salience.explorer.security import EVERYWHERE

    port = listener.getsockname()[1]
    name = socket.gethostname() if host in EVERYWHERE else host or LOOPBACK
    name = f"[{name}]" if ":" in name and not name.startswith("[") else name
    place = f"http://{name}:{port}/" + (f"?token={token}" if token is not None else "")
    print(f"{uri}: {place}\npress Ctrl-C to stop", flush=True)
    if token is not None:
        print("anyone with this address can view and label items; programs send the token as Bearer", flush=True)
