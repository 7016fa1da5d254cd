"""What a user can cause: one plain line that names the argument, what came, and the remedy.

A message begins with the Python name of the argument, "batch_size: ..."; the command line shows it as typed there.
"""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}  # of a program that a signal ended


class UserError(ValueError):
    """A mistake the user can mend. The command line prints it as one line and exits with code 2."""


class Note(UserWarning):
    """Something the user should know and need not mend. The command line prints it as one line."""


class Stopped(KeyboardInterrupt):
    """The work was ended by Ctrl-C or by another signal.  number: of the signal"""

    def __init__(self, message: str = "", *, number: int = signal.SIGINT):
        super().__init__(*([message] if message else []))
        self.number = number


class MissingPackage(UserError, ImportError):  # noqa: N818 - says what is wrong
    """An optional package is needed for what was asked. The message says how to install it."""


@contextmanager
def naming(argument: str, of: str) -> Iterator[None]:
    """What is refused within as `of` is refused as `argument`, the name it has for the user of the function around."""
    try:
        yield
    except UserError as problem:
        message = str(problem)
        if message.startswith(f"{of}: "):
            problem.args = (argument + message.removeprefix(of),)
        raise


@contextmanager
def noting_failure(what: str, kept: str, tell: Callable[[str], object] | None = None) -> Iterator[None]:
    """Turn any failure within into a note: results are complete, and only a picture of them is being made.

    what: subject of the note, "the picture of sample";  kept: what the reader still has, "the results are complete"
    tell: what is done with the note; by default a `Note` warning
    """
    try:
        yield
    except Exception as problem:  # whatever a drawing library raises
        reason = "".join(sign if sign.isprintable() else " " for sign in str(problem))
        said = f"{what} could not be drawn ({type(problem).__name__}: {' '.join(reason.split())[:160]}); {kept}"
        warnings.warn(said, Note, stacklevel=3) if tell is None else tell(said)
