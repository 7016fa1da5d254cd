"""Files and folders appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from salience.errors import UserError


@contextmanager
def atomic(path: Path | str, *, make_folder: bool = False) -> Iterator[Path]:
    """Gives a temporary path beside `path`; it takes `path`'s place on a clean exit, else it is removed.

    make_folder: makes the folders above, for a path that the user has named. Without it a missing folder is an error:
        one that was removed, or has passed to another process, must not come back with half of its files.
    Errors: FileNotFoundError where the folder is not there.
    """
    path = Path(path)
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str, *, make_folder: bool = False) -> None:
    """In UTF-8; what of a file's name is none is written as an escape, such as \\udce9."""
    with atomic(path, make_folder=make_folder) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def require_free(path: Path | str, what: str = "file") -> None:
    """Raises UserError where there is a file or a folder already: nothing of the user's is overwritten."""
    if Path(path).exists():
        raise UserError(f"out: {path} exists; name another {what}, or remove it")


def require_free_folder(path: Path) -> None:
    """Raises UserError where there is a file or a folder already."""
    require_free(path, "folder")


@contextmanager
def new_folder(
    path: Path | str, *, check: Callable[[Path], None] = require_free_folder, prefix: str | None = None
) -> Iterator[Path]:
    """Gives a temporary folder beside `path`; it takes `path`'s place on a clean exit, else it is removed.

    check: called with `path` before and after, refuses a folder that exists; where it does not, one that another
        process has made meanwhile stays, and the new one is removed
    prefix: of the temporary folder's name; by default it is one that `remove_leftovers` finds
    Errors: UserError where `path` exists, by `check`.
    """
    path = Path(path)
    check(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beginning, ending = (f".{path.name}.", ".part") if prefix is None else (prefix, "")
    temporary = Path(tempfile.mkdtemp(ending, beginning, path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        check(path)
        try:
            temporary.rename(path)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            check(path)  # made by another process in the last moment
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path, pattern: str = ".*.part") -> None:
    """Deletes what a killed process left half-written in `folder`, or half-removed."""
    for leftover in folder.glob(pattern):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
