"""Reading of untrusted files within limits, and formatting of their values for messages.

A run folder can come from any person. Its files are read only as data: they are never executed, a FIFO is refused, and
size, depth and repetition (aliases of YAML) are limited to what a run can have.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml

from salience.units import printable

MOST_BYTES = 8 * 2**20  # of a file; the config of a table with 50,000 columns has five million
NODE = 8  # bytes that each value of a YAML file counts, in addition to its characters
MOST_DEPTH = 50  # lists within lists
LONGEST_NUMBER = 320  # characters; a double has no more digits before its point
LONGEST_SHOWN = 80  # characters of a value in a message
NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class Damaged(ValueError):  # noqa: N818 - says what is wrong
    """A file cannot be read. The message is a short reason that fits into brackets."""


def shown(value: Any) -> str:
    """Format a value for a message: on one line, without control characters, shortened."""
    text = printable(value if isinstance(value, str) else _written(value))
    quoted = f"'{text}'" if isinstance(value, str) else text
    return quoted if len(quoted) <= LONGEST_SHOWN else f"{quoted[: LONGEST_SHOWN - 1]}…"


def _written(value: Any) -> str:
    """Return the text of a value; of a collection only its type and size, because it may be large."""
    if isinstance(value, dict | list | tuple | set | frozenset | bytes):
        return f"a {type(value).__name__} of {len(value):,}"
    if isinstance(value, int) and value.bit_length() > 1000:
        return "an integer of more than 300 digits"
    return repr(value)


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a file. Raises Damaged if it is not a plain file, cannot be opened, or is larger than `most` bytes."""
    try:
        handle = os.open(path, os.O_RDONLY | NO_WAITING)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Damaged("it is not a plain file")
            content = file.read(most + 1)
    except OSError as problem:
        raise Damaged(problem.strerror or type(problem).__name__) from None
    if len(content) > most:
        raise Damaged(f"it is larger than {most / 2**20:g} MB")
    return content


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Read a text file in UTF-8. Raises Damaged as `read_bytes` does, or if it is not valid UTF-8."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError:
        raise Damaged("it is not text in UTF-8") from None


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises Damaged if it is not valid."""
    try:
        return json.loads(read_text(path), parse_int=_integer)
    except Damaged:
        raise
    except RecursionError:
        raise Damaged("it is nested too deeply") from None
    except ValueError as problem:
        raise Damaged(f"it is not valid JSON: {_line(problem)}") from None


def read_yaml(path: Path) -> Any:
    """Read a YAML file of plain values, lists and mappings.

    Raises:
        Damaged: The file is not valid YAML, or exceeds a limit: MOST_BYTES, also with all aliases expanded, MOST_DEPTH
            levels, or LONGEST_NUMBER characters of a number.
    """
    text = read_text(path)
    try:
        _measure(text)
        return yaml.load(text, Loader=_Loader)
    except Damaged:
        raise
    except yaml.YAMLError as problem:
        raise Damaged(f"it is not valid YAML: {_line(problem)}") from None
    except RecursionError:
        raise Damaged("it is nested too deeply") from None
    except Exception as problem:  # the library can raise any exception for an invalid value, such as 2024-13-45
        raise Damaged(f"a value in it is not valid: {_line(problem)}") from None


def _measure(text: str) -> None:
    """Raise Damaged if the document is too deep, or too large with all aliases expanded.

    The function only counts the events of the parser; it does not build the document.
    """
    sizes: dict[str, int] = {}  # anchor -> number of characters of its value
    path: list[tuple[str | None, int]] = []  # anchors of the open collections, and the size before each
    size = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise Damaged("an alias in it has no anchor, or refers to a collection that contains it")
            size += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            size += len(event.value) + NODE
            if event.anchor is not None:
                sizes[event.anchor] = len(event.value) + NODE
        elif isinstance(event, yaml.CollectionStartEvent):
            path.append((event.anchor, size))
            sizes.pop(event.anchor or "", None)
            size += NODE
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = path.pop()
            if anchor is not None:
                sizes[anchor] = size - before
        if len(path) > MOST_DEPTH:
            raise Damaged(f"it is nested more than {MOST_DEPTH} levels deep")
        if size > MOST_BYTES:
            raise Damaged(f"it is larger than {MOST_BYTES / 2**20:g} MB with its aliases written out")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader; ten times as fast if PyYAML has its C parser."""


def _whole(loader: Any, node: Any) -> int:
    _short(str(node.value))
    return int(yaml.constructor.SafeConstructor.construct_yaml_int(loader, node))


def _decimal(loader: Any, node: Any) -> float:
    _short(str(node.value))
    return float(yaml.constructor.SafeConstructor.construct_yaml_float(loader, node))


_Loader.add_constructor("tag:yaml.org,2002:int", _whole)
_Loader.add_constructor("tag:yaml.org,2002:float", _decimal)


def _integer(text: str) -> int:
    _short(text)
    return int(text)


def _short(number: str) -> None:
    if len(number) > LONGEST_NUMBER:
        raise Damaged(f"a number in it has {len(number):,} characters")


def _line(problem: Exception) -> str:
    """Format the error of a library on one line, shortened; it may contain a part of the file."""
    mark = getattr(problem, "problem_mark", None)
    where = "" if mark is None else f", line {mark.line + 1}"
    said = " ".join(str(getattr(problem, "problem", None) or problem or type(problem).__name__).split())
    return f"{printable(said)[:LONGEST_SHOWN]}{where}"
