"""One value that the user can choose, as a signature in the source declares it: its type, bounds, default and help.

A hyper-parameter of a method, an option of `fit`, a parameter of a verb: all of them are read with `ast`, so that help
and checks need not import what they belong to.
"""

from __future__ import annotations

import ast
import difflib
import math
import os
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from salience.errors import UserError
from salience.units import AUTO, counted, is_flag, parse_duration

BOUNDS = {"Gt": "gt", "Ge": "ge", "Lt": "lt", "Le": "le"}
SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
PLAIN_TYPES = ("int", "float", "bool", "str")
UNIONS = {"path": {"Path", "str"}, "name": {"str", "int"}}  # type of an Option -> members of a union


class CatalogueError(ValueError):
    """A declaration that breaks the rules, as in a method file: its author's mistake, not the user's."""


@dataclass(frozen=True)
class Option:
    """One value the user can choose: a hyper-parameter, or an option of `fit`.

    type: "int", "float", "bool" or "str"; of `fit` also "duration" (90s, or a number of seconds), "path", "name" (text
        or an integer) and "any" (text; in Python also what `open_data` takes), which are typed as text
    default: a literal, or AUTO
    choices: the only values allowed, where there are such
    gt, ge, lt, le: bounds of a number
    optional: None is a value too
    """

    name: str
    type: str
    default: Any = None
    meaning: str = ""
    choices: tuple[Any, ...] = ()
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    optional: bool = False

    @property
    def bounds(self) -> str:
        """ "> 0, <= 1", or "" where anything goes."""
        pairs = ((sign, getattr(self, bound)) for bound, sign in SIGNS.items())
        return ", ".join(f"{sign} {_figure(limit)}" for sign, limit in pairs if limit is not None)

    def describe(self) -> str:
        """Its help: the meaning, and the bounds."""
        return self.meaning + (f" ({self.bounds})" if self.bounds else "")

    def read(self, text: str) -> Any:
        """The value written as `text`, checked. Raises ValueError saying what is wrong with it."""
        value: Any = text
        if self.type in ("int", "float") and not self.choices:
            value = _number(text, self.type)
        elif self.choices and text not in self.choices:
            value = next((choice for choice in self.choices if str(choice) == text), text)
        return self.check(value)

    def check(self, value: Any) -> Any:
        """The value, brought to this option's type. Raises ValueError saying what is wrong with it."""
        if (value is None and self.optional) or (self.default == AUTO and value in (None, AUTO)):
            return value
        if self.choices:
            return self._choice(value)
        if self.type in READERS:
            return READERS[self.type](value)
        return self._within(_whole(value) if self.type == "int" else _finite(value))

    def _choice(self, value: Any) -> Any:
        found = [choice for choice in self.choices if choice == value and isinstance(choice, bool) == is_flag(value)]
        if not found:
            known = ", ".join(map(str, self.choices))
            raise ValueError(f"'{value}' is not one of {known}{nearest(str(value), map(str, self.choices))}")
        return found[0]

    def _within(self, value: float) -> float:
        limits = (self.gt, self.ge, self.lt, self.le)
        inside = (
            self.gt is None or value > self.gt,
            self.ge is None or value >= self.ge,
            self.lt is None or value < self.lt,
            self.le is None or value <= self.le,
        )
        for limit, kept, sign in zip(limits, inside, SIGNS.values(), strict=True):
            if not kept:
                raise ValueError(f"{_figure(value)} is out of range; it must be {sign} {_figure(limit)}")
        return value

    def to_dict(self) -> dict[str, Any]:
        bounds = {bound: getattr(self, bound) for bound in SIGNS if getattr(self, bound) is not None}
        choices = {"choices": list(self.choices)} if self.choices else {}
        return (
            {"name": self.name, "type": self.type, "default": self.default, "meaning": self.meaning} | bounds | choices
        )


def nearest(word: str, known: Iterable[str]) -> str:
    """ "; did you mean X?" for the closest known word, or ""."""
    known = list(known)
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    close = close or [name for name in known if word and name.startswith(word.lower())][:1]
    return f"; did you mean {close[0]}?" if close else ""


# --- declarations, read from the source ---------------------------------------------------------------------------


def declared(argument: ast.arg, default: ast.expr, meaning: str, where: str) -> Option:
    """The option that a parameter declares. Raises CatalogueError, naming `where`, for what is no option."""
    if argument.annotation is None:
        raise CatalogueError(f"{where}: a hyper-parameter needs a type and a default")
    typed = _typed(argument.annotation, where)
    return Option(name=argument.arg, default=_default(default, where), meaning=meaning, **typed)


def _default(node: ast.expr, where: str) -> Any:
    if isinstance(node, ast.Name) and node.id.lower() == AUTO:
        return AUTO
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise CatalogueError(f"{where}: the default {ast.unparse(node)} is neither a literal nor Auto") from None


def _typed(node: ast.expr, where: str) -> dict[str, Any]:
    """The type's part of an Option: a builtin, a Literal, Annotated with bounds, or one of them `| None`."""
    sides = [side for side in _sides(node) if ast.unparse(side) not in ("None", "Auto")]
    if len(sides) == 1 and sides[0] is not node:
        return _typed(sides[0], where) | {"optional": True}
    for type_, members in UNIONS.items():
        if len(sides) > 1 and members <= {ast.unparse(side) for side in sides}:
            return {"type": type_, "optional": len(sides) < len(_sides(node))}
    if isinstance(node, ast.Name) and node.id in (*PLAIN_TYPES, "Any"):
        return {"type": node.id.lower()}
    if isinstance(node, ast.Subscript):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if ast.unparse(node.value) == "Literal":
            choices = tuple(ast.literal_eval(item) for item in inner)
            return {"type": type(choices[0]).__name__, "choices": choices}
        if ast.unparse(node.value) == "Annotated":
            return _typed(inner[0], where) | dict(_bound(item, where) for item in inner[1:])
    raise CatalogueError(f"{where}: {ast.unparse(node)} is no builtin, Literal or Annotated[..., Gt/Ge/Lt/Le]")


def _sides(node: ast.expr) -> list[ast.expr]:
    """The members of a union; the type alone where it is none."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_sides(node.left), *_sides(node.right)]
    return [node]


def _bound(node: ast.expr, where: str) -> tuple[str, float]:
    if isinstance(node, ast.Call) and ast.unparse(node.func) in BOUNDS and len(node.args) == 1:
        return BOUNDS[ast.unparse(node.func)], ast.literal_eval(node.args[0])
    raise CatalogueError(f"{where}: {ast.unparse(node)} is none of {', '.join(BOUNDS)}")


def meanings_in(docstring: str) -> dict[str, str]:
    """Return the meaning of each argument: `name: meaning` lines, or those of the section `Args:` if there is one."""
    _, found, section = docstring.partition("Args:\n")
    lines = textwrap.dedent(re.split(r"\n(?=\S)", section, maxsplit=1)[0] if found else docstring).splitlines()
    meanings: dict[str, str] = {}
    current: list[str] = []
    for line in lines:
        start = re.match(r"(\w+(?:, \w+)*): +(\S.*)", line)
        if start:
            current = start[1].split(", ")
            meanings |= dict.fromkeys(current, start[2].strip())
        elif line.startswith(" ") and line.strip():
            meanings |= {name: f"{meanings[name]} {line.strip()}" for name in current}
        else:
            current = []
    return meanings


# --- values ----------------------------------------------------------------------------------------------------


def _number(text: str, type_: str) -> float:
    try:
        return int(text) if type_ == "int" else float(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a {'whole ' if type_ == 'int' else ''}number") from None


def _figure(value: float | None) -> str:
    """In a message: a whole number in full, as a rounded one would be no bound."""
    return f"{value:d}" if isinstance(value, int) else f"{value:g}"


def _flag(value: Any) -> bool:
    if not is_flag(value):
        raise ValueError(f"{value!r} is not true or false")
    return bool(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    return str(value)


def _name(value: Any) -> str:
    return str(_whole(value)) if isinstance(value, Integral) else _text(value)


def _path(value: Any) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else _text(value)


def _duration(value: Any) -> Any:
    try:
        parse_duration(value, "")
    except UserError as problem:
        raise ValueError(str(problem).removeprefix(": ")) from None
    return value


def _as_it_is(value: Any) -> Any:
    return value


READERS = {"bool": _flag, "str": _text, "name": _name, "path": _path, "duration": _duration, "any": _as_it_is}


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"'{value}' is not a whole number")
    return int(value)


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"'{value}' is not a number")
    if not math.isfinite(value):
        raise ValueError(f"'{value}' is not a finite number")
    return float(value)


def refuse_large(
    limits: Iterable[tuple[str, tuple[str, ...], str]], given: Mapping[str, Any], *, rows: int, width: int
) -> None:
    """Raise UserError where an option of a method is more than the data allow.

    Args:
        limits: As a method declares them, `at_most`: name, what limits it, a template of what a value means.
        given: The options that were given.
        rows: Number of items.
        width: Number of values of an item.
    """
    sizes = {"rows": rows, "width": width}
    for name, by, meaning in limits:
        most = min(sizes[one] for one in by)
        if given.get(name, 1) > most:
            counts = {"rows": counted(rows, "row"), "values": counted(width, "value"), "width": width}
            raise UserError(f"{name}: {meaning.format(given[name], **counts)}; at most {most}")
