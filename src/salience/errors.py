"""What a user can cause: one plain line that names the argument, what came, and the remedy.

A message begins with the Python name of the argument, "batch_size: ..."; the command line shows it as typed there.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


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
