"""The parameters of a verb's function, read from its source without importing it."""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from salience.option import CatalogueError, Option, declared, meanings_in

GIVEN_BY_US = ("reading", "progress")  # every verb has them in the same way


@dataclass(frozen=True)
class Parameter:
    """option: its type, default and help;  required: it has no default"""

    option: Option
    required: bool


@dataclass(frozen=True)
class Signature:
    """summary: the first line of the docstring;  parameters: all but `reading` and `progress`

    reads_source: it takes `reading`, how a source is read
    """

    summary: str
    parameters: tuple[Parameter, ...]
    reads_source: bool


def read_signature(function: str) -> Signature:
    """Of "module:name". Raises CatalogueError where a parameter is of no type that can be typed on a command line."""
    module, _, name = function.partition(":")
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise CatalogueError(f"{function}: there is no such module")
    tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"), filename=found.origin)
    node = next((one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == name), None)
    if node is None:
        raise CatalogueError(f"{function}: the module defines no such function")
    summary, _, details = (ast.get_docstring(node) or "").partition("\n")
    meanings = meanings_in(details)
    parameters = tuple(
        Parameter(_option(argument, default, meanings.get(argument.arg, ""), function), default is None)
        for argument, default in _pairs(node.args)
        if argument.arg not in GIVEN_BY_US
    )
    return Signature(summary, parameters, any(argument.arg == "reading" for argument, _ in _pairs(node.args)))


def _pairs(arguments: ast.arguments) -> list[tuple[ast.arg, ast.expr | None]]:
    """Each parameter with its default, None where it has none."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return [*zip(positional, defaults, strict=True), *named]


def _option(argument: ast.arg, default: ast.expr | None, meaning: str, function: str) -> Option:
    return declared(argument, default or ast.Constant(None), meaning, f"{function}({argument.arg})")
