"""`--code FILE`, for every verb that takes a run: the Python files that the run may use."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

MEANING = "A Python file that the run's method, encoder or views come from; may be repeated."
Code = Annotated[list[Path] | None, Parameter(name="--code", help=MEANING, negative="", consume_multiple=False)]


def with_code(verb: Callable[..., int]) -> Callable[..., int]:
    """The verb with one more option. `files_named` obeys it before the verb is called."""

    @functools.wraps(verb)
    def called(*args: Any, code: list[Path] | None = None, **given: Any) -> int:
        return verb(*args, **given)

    signature = inspect.signature(verb, eval_str=True)
    extra = inspect.Parameter("code", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Code)
    parameters = list(signature.parameters.values())
    called.__signature__ = signature.replace(parameters=[*parameters, extra])  # type: ignore[attr-defined]
    return called


def files_named(files: list[Path] | None) -> AbstractContextManager[None]:
    """While it lasts, runs may use these files."""
    if not files:
        return nullcontext()
    from salience.own_code import named_files  # here: most commands name none

    return named_files(files)
