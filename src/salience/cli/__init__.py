"""The command line: one verb, one public function.

Nothing here imports torch, NumPy or a method: what a verb needs is imported when it runs, so that help is instant.
"""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from salience.cli.signals import ended_cleanly, number_of, told
from salience.errors import Note, UserError

USER_ERROR = 2
SIGNALLED = 128  # and the signal's number on top: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 2 for what the user can mend, 128 + a signal's number.

    argv: the words after `salience`; None takes them from the process
    Any other exception is a mistake of ours and keeps its traceback.
    """
    try:
        with ended_cleanly(), plain_notes():
            return _run(list(sys.argv[1:] if argv is None else argv))
    except BrokenPipeError:  # the reader of our output is gone (`salience methods | head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UserError as problem:
        return _report(str(problem))
    except OSError as problem:
        return _report(_system_message(problem))
    except KeyboardInterrupt as interrupt:
        with suppress(OSError):  # of a terminal that has hung up
            print(told(interrupt), file=sys.stderr)
        return SIGNALLED + number_of(interrupt)


@contextmanager
def plain_notes() -> Iterator[None]:
    """Notes are shown as one line each, without the place in the code they come from."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, Note):
            with suppress(OSError):  # of a terminal that has hung up, in the midst of a training
                print(f"note: {message}", file=sys.stderr)
        else:
            shown(message, category, *where, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown


def _run(argv: list[str]) -> int:
    from cyclopts import CycloptsError

    from salience.cli.code import files_named
    from salience.cli.early import refuse_early
    from salience.cli.verbs import make_app

    app = None
    try:
        app = make_app(argv)
        command, bound, _ = app.parse_args(argv, exit_on_error=False, print_error=False)
        with files_named(bound.kwargs.get("code")):
            refuse_early(argv[0] if argv else "", bound.arguments)
            code = command(*bound.args, **bound.kwargs)
    except CycloptsError as problem:
        from salience.cli.messages import plain

        raise UserError(plain(problem, argv)) from None
    except UserError as problem:
        from salience.cli.messages import names_typed, typed

        raise UserError(typed(str(problem), names_typed(app, argv) if app else {})) from problem
    sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _report(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return USER_ERROR


def _system_message(problem: OSError) -> str:
    """What the operating system refused, and for a full disk the remedy."""
    message = problem.strerror or str(problem) or type(problem).__name__
    if problem.filename is not None:
        message = f"{problem.filename}: {message}"
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        message += "; free some space, or choose another place with --out or the variable SALIENCE_CACHE"
    return message
