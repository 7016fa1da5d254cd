"""What a command prints: text, a table, or JSON alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def output_kept_for(as_json: bool) -> Iterator[None]:
    """Whatever is printed meanwhile goes to standard error, if standard output is to hold JSON alone."""
    printed, sys.stdout = sys.stdout, sys.stderr if as_json else sys.stdout
    try:
        yield
    finally:
        sys.stdout = printed


def print_text(text: str) -> int:
    print(text)
    return 0


def print_json(value: Any) -> int:
    return print_text(json.dumps(value, indent=2, allow_nan=False))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
