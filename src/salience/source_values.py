"""Values that stand in our source files, read with `ast`: nothing is imported or run."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

from salience.warning_signs import Ordinary, Sign

ROOT = Path(__file__).resolve().parent.parent
MADE = {"Ordinary": Ordinary, "Sign": Sign}


def value_of(node: ast.expr, path: Path) -> Any:
    """The value of an expression in the file at `path`.

    It may hold literals, tuples, dictionaries, signs and ordinary ranges, and names that are assigned such a value in
    that file or in a module of salience it imports them from.
    Raises ValueError for any other expression.
    """
    match node:
        case ast.Tuple(elts=items):
            return tuple(value_of(item, path) for item in items)
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return {value_of(key, path): value_of(value, path) for key, value in pairs if key is not None}
        case ast.Call(func=ast.Name(id=made), args=positional, keywords=named) if made in MADE:
            options = {str(option.arg): value_of(option.value, path) for option in named}
            return MADE[made](*(value_of(item, path) for item in positional), **options)
        case ast.Name(id=name):
            return named_value(name, path)
    return ast.literal_eval(node)


@cache
def named_value(name: str, path: Path) -> Any:
    for node in parsed(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return value_of(node.value, path)
        if isinstance(node, ast.ImportFrom) and name in (one.name for one in node.names):
            return named_value(name, ROOT / f"{str(node.module).replace('.', '/')}.py")
    raise ValueError(f"{path}: {name} is no value that can be read without running the file")


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of the file at `path`."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
