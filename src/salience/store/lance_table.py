"""Opens a table of the Lance format, and says in our words what Lance objects to."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salience.errors import MissingPackage, UserError
from salience.store.condition import EXAMPLE
from salience.units import printable

if TYPE_CHECKING:
    import lance

FORMAT = 1
ABOUT = b"salience"  # the key of what a store is about, in the table's metadata
ESSENTIAL = {"method", "run", "weights", "modality", "sources"}
OF_A_CONDITION = "Invalid user input"  # where Lance objects to a filter, and not to the files
CACHE = 16 * 2**20  # bytes of the index kept in memory, however many items there are; the rest is the system's to keep


def opened(path: Path) -> lance.LanceDataset:
    lance = lance_package()
    with plainly(path):
        return lance.dataset(str(path), index_cache_size_bytes=CACHE, metadata_cache_size_bytes=CACHE)


def about_of(table: lance.LanceDataset, path: Path) -> dict[str, Any]:
    text = (table.schema.metadata or {}).get(ABOUT)
    if text is None or {"id", "vector"} - set(table.schema.names):
        raise UserError(f"store: {path} was not written by salience; write one with: salience embed RUN SOURCE --out")
    try:
        about = json.loads(text)
        if not isinstance(about["format"], int) or ESSENTIAL - set(about):
            raise ValueError("its metadata are incomplete")
    except (ValueError, TypeError, KeyError) as problem:
        raise damaged(path, problem) from None
    if about["format"] > FORMAT:
        raise UserError(
            f"store: {path} has format {about['format']}, this version reads up to {FORMAT}; upgrade salience"
        )
    return about


def lance_package() -> Any:
    try:
        import lance
    except ImportError:
        raise MissingPackage(
            "store: stores need the package pylance; install it with: pip install 'salience[store]'"
        ) from None
    return lance


@contextmanager
def plainly(path: Path, where: str | None = None) -> Iterator[None]:
    """What Lance objects to, as one line: the condition, or files that are damaged or gone."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError) as problem:
        if where is not None and OF_A_CONDITION in str(problem):
            # without the engine's words: they quote the query that was made of the condition
            raise UserError(f"where: '{printable(where)}' cannot be evaluated on these columns; {EXAMPLE}") from None
        raise damaged(path, problem) from None


@contextmanager
def saying_what_is_full(path: Path) -> Iterator[None]:
    """A full disk, which Lance tells in a message alone."""
    try:
        yield
    except OSError as problem:
        if problem.errno is None and "No space left" in str(problem):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None
        raise


def damaged(path: Path, problem: BaseException) -> UserError:
    return UserError(f"store: {path} is damaged ({first_line(problem)}); restore it or embed again")


def first_line(problem: BaseException) -> str:
    """Of a message of Lance, without the place in its source, and without its names for rows."""
    text = str(problem).splitlines()[0].partition(", /")[0].removeprefix("Invalid user input: ")
    return re.sub(r", _row\w+", "", text)[:300]
