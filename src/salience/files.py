"""Atomic writing of files and folders: they are written under a temporary name, then renamed."""

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
    """Yield a temporary path next to `path`. A clean exit renames it to `path`, an exception removes it.

    Args:
        path: The file to write.
        make_folder: Whether to create the parent folders, for a path given by the user. Otherwise a missing folder is
            an error, because a removed folder must not reappear with a part of its files.

    Raises:
        FileNotFoundError: The folder does not exist.
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
    """Write a text in UTF-8. Characters of file names that are not valid UTF-8 are escaped, such as \\udce9."""
    with atomic(path, make_folder=make_folder) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def require_free(path: Path | str, what: str = "file") -> None:
    """Raise UserError if a file or folder exists, so that nothing is overwritten."""
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
    """Delete incomplete files and folders that a killed process left in `folder`."""
    for leftover in folder.glob(pattern):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
