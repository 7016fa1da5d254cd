"""A method that is given as a class, described as the catalogue describes a file."""

from __future__ import annotations

import ast
import inspect
import typing
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, Literal

from salience.catalogue import CAPABILITIES, KINDS, Entry
from salience.errors import UserError
from salience.option import BOUNDS, CatalogueError, Option, declared, meanings_in
from salience.origins import origin_of
from salience.warning_signs import Declared

EXPECTED = "a subclass of salience.methods.Method or ClosedForm"


def entry_of_class(method: Any) -> Entry:
    """Describe a method given as a class: its constructor gives the options, its docstring their meaning.

    Raises:
        UserError: It is no such class, or its constructor breaks the rules.
    """
    given: Any = method
    bases = [base.__name__ for base in getattr(method, "__mro__", ())[1:] if base.__module__.startswith("salience.")]
    kind = next((name for name in bases if name in KINDS), None)
    if not inspect.isclass(method) or kind is None:
        raise UserError(f"method: expected a name, a file or {EXPECTED}; got {method!r}"[:300])
    if inspect.isabstract(method):
        missing = ", ".join(sorted(given.__abstractmethods__))
        raise UserError(f"method: {method.__name__} does not define {missing}; define it")
    formula = inspect.getdoc(method) or ""
    try:
        options = tuple(_options(method, meanings_in(formula)))
    except CatalogueError as problem:
        raise UserError(f"method: {problem}") from None
    defined = {name for base in method.__mro__ for name in vars(base)}
    signs: dict[str, Any] = {one.name: getattr(method, one.name, one.default) for one in fields(Declared)}
    return Entry(
        name=method.__name__,
        class_name=method.__name__,
        family="given in Python",
        kind=kind,
        requires=tuple(given.requires),
        at_most=tuple(given.at_most),
        capabilities=tuple(CAPABILITIES[name] for name in CAPABILITIES if name in defined),
        idea=formula.partition("\n")[0],
        paper="",
        formula=formula,
        options=options,
        health=Declared(**signs),
        takes=tuple(getattr(method, "takes", ())),
        origin=replace(origin_of(method, "method"), name=method.__name__),
    )


def _options(method: type, meanings: dict[str, str]) -> Iterator[Option]:
    function: Any = method.__init__  # type: ignore[misc]  # only its signature is read
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception:  # names that are local to a function
        hints = dict(function.__annotations__)
    for one in inspect.signature(function).parameters.values():
        if one.kind is not one.KEYWORD_ONLY:
            continue
        where = f"{method.__name__}({one.name})"
        if one.name not in hints or one.default is one.empty:
            raise CatalogueError(f"{where}: a hyper-parameter needs a type and a default")
        hint = hints[one.name]
        annotation = ast.parse(hint if isinstance(hint, str) else _text_of(hint), mode="eval").body
        argument = ast.arg(one.name, annotation)
        yield declared(argument, ast.Constant(one.default), meanings.get(one.name, ""), where)


def _text_of(hint: Any) -> str:
    """Write a type as it stands in a source file: Annotated[int, Ge(1)]."""
    if hint is type(None):
        return "None"
    inner = typing.get_args(hint)
    if not inner:
        return getattr(hint, "__name__", str(hint))
    if typing.get_origin(hint) is Literal:
        return f"Literal[{', '.join(map(repr, inner))}]"
    if hasattr(hint, "__metadata__"):
        bounds = [
            f"{type(one).__name__}({getattr(one, BOUNDS[type(one).__name__])!r})"
            for one in hint.__metadata__
            if type(one).__name__ in BOUNDS
        ]
        return f"Annotated[{', '.join([_text_of(inner[0]), *bounds])}]" if bounds else _text_of(inner[0])
    return " | ".join(_text_of(one) for one in inner)
