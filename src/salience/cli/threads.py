"""`--threads N`, for every verb that computes."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

from salience import processors
from salience.cli.options import number
from salience.option import Option
from salience.units import counted

MEANING = "Processor threads. Default: the cores that other programs leave free."
Threads = number(Option("threads", "int", None, MEANING, ge=1))


def with_threads(verb: Callable[..., int]) -> Callable[..., int]:
    """The verb with one more option, obeyed before any library is loaded that starts threads."""

    @functools.wraps(verb)
    def limited(*args: Any, threads: int | None = None, **given: Any) -> int:
        count = _few_free() if threads is None else processors.cap_threads(threads)
        if count is None:
            return verb(*args, **given)
        with processors.limited(count):
            return verb(*args, **given)

    signature = inspect.signature(verb, eval_str=True)
    extra = inspect.Parameter("threads", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Threads | None)
    parameters = list(signature.parameters.values())
    limited.__signature__ = signature.replace(parameters=[*parameters, extra])  # type: ignore[attr-defined]
    return limited


def _few_free() -> int | None:
    """The cores that other programs leave free, told; None where they leave all of them."""
    free = processors.free_cores()
    if free.cores == free.of:
        return None
    said = counted(free.cores, "thread")
    print(f"note: {free}: using {said}; use --threads N to change this", file=sys.stderr)
    return free.cores
