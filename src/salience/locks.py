"""File locks between processes. A lock is released when its process ends.

The owner removes the file when it releases the lock. If a waiting process has locked a removed file, filelock detects
this and tries again.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from salience.errors import UserError


class Held:
    """A lock that this process owns. `path`: the locked file."""

    def __init__(self, path: Path):
        self.path = path
        self._locked = _identity(path)

    @property
    def intact(self) -> bool:
        """Whether the locked file still exists, so that its folder was neither removed nor replaced."""
        return self._locked is not None and _identity(self.path) == self._locked


@contextmanager
def hold(
    path: Path, refusal: str | None = None, *, waiting: str | None = None, optional: bool = False
) -> Iterator[Held]:
    """Holds the lock at `path`.

    refusal: the message of the UserError that is raised where another process holds it; None: wait for it
    waiting: a message to standard error before it waits
    optional: where the disk knows no locks, it goes on without one
    Errors: FileNotFoundError where the folder of `path` is not there: filelock would make it.
    """
    from filelock import FileLock, Timeout

    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    lock = FileLock(path, timeout=-1 if refusal is None and waiting is None else 0)
    try:
        lock.acquire()
    except Timeout:
        if refusal is not None:
            raise UserError(refusal) from None
        print(waiting, file=sys.stderr)
        lock.acquire(timeout=-1)
    except (OSError, NotImplementedError):
        if not optional:
            raise
    held = Held(path)
    try:
        yield held
    finally:
        if held.intact:
            with suppress(OSError):  # Windows cannot remove an open file
                path.unlink()
        lock.release()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
