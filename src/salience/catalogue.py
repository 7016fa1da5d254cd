"""What methods there are, read from their source files without running them.

A method is one file, `methods/<family>/<name>.py`. Its module docstring is the formula, its constructor the
hyper-parameters, its class docstring their meaning. All of it is read with `ast`, so that help, checks of
options and lists of methods need neither torch nor the method itself.
"""

from __future__ import annotations

import ast
import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from salience import modalities
from salience.errors import UserError
from salience.units import is_flag, parse_duration

METHODS = Path(__file__).parent / "methods"
KINDS = ("Method", "ClosedForm", "Adversarial", "Staged")
CAPABILITIES = {
    "decode": "decodes",
    "sample": "samples",
    "predict": "predicts",
    "assign": "assigns",
    "log_likelihood": "rates",
    "enlarge": "enlarges",
}
BOUNDS = {"Gt": "gt", "Ge": "ge", "Lt": "lt", "Le": "le"}
SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
PLAIN_TYPES = ("int", "float", "bool", "str")
AUTO = "auto"  # stands for the default `Auto`: found from the data, printed and stored


class CatalogueError(ValueError):
    """A method file that breaks the rules for method files: its author's mistake, not the user's."""


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


@dataclass(frozen=True)
class Entry:
    """One method, as its file describes it.

    name, family: of its file and its folder
    needs: what a kind of data must offer;  kind: "Method", "ClosedForm", "Adversarial" or "Staged"
    idea: one sentence;  formula: the whole module docstring;  paper: its address
    """

    name: str
    class_name: str
    family: str
    kind: str
    needs: tuple[str, ...]
    capabilities: tuple[str, ...]
    idea: str
    paper: str
    formula: str
    options: tuple[Option, ...]

    @property
    def modality(self) -> tuple[str, ...]:
        """Names of the kinds of data that offer what the method needs."""
        return tuple(sorted(kind.name for kind in modalities.known() if kind.offers.issuperset(self.needs)))

    def refuse_unfit(self, source: str, modality: modalities.Modality) -> None:
        """Raises UserError where the method cannot learn from this kind of data."""
        if not modality.offers.issuperset(self.needs):
            takes = " and ".join(self.modality)
            raise UserError(f"source: {self.name} learns from {takes} data, {source} is {modality.name}")

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The given hyper-parameters with their types made right. Raises UserError for what cannot be."""
        known = {option.name: option for option in self.options}
        checked = {}
        for name, value in given.items():
            if name not in known:
                has = ", ".join(known) or "none"
                raise UserError(f"{name}: {self.name} has no such option{nearest(name, known)}; its options are: {has}")
            try:
                checked[name] = known[name].check(value)
            except ValueError as problem:
                raise UserError(f"{name}: {problem}") from None
        return checked

    def to_dict(self, *, whole: bool = False) -> dict[str, Any]:
        """What `methods --json` lists; with whole=True also formula and hyper-parameters."""
        listed = {
            "name": self.name,
            "family": self.family,
            "modality": list(self.modality),
            "capabilities": list(self.capabilities),
            "paper": self.paper,
        }
        if not whole:
            return listed
        options = [option.to_dict() for option in self.options]
        return listed | {"kind": self.kind, "idea": self.idea, "formula": self.formula, "hyper_parameters": options}


def names(folder: Path = METHODS) -> tuple[str, ...]:
    """Every method's name, in alphabetical order. Opens no file."""
    return tuple(sorted(path.stem for path in _files(folder)))


def entries(folder: Path = METHODS) -> tuple[Entry, ...]:
    """Every method, in alphabetical order."""
    return tuple(read(path) for path in sorted(_files(folder), key=lambda path: path.stem))


def find(name: str, folder: Path = METHODS) -> Entry:
    """The method of that name. Raises UserError that suggests the nearest one."""
    if not isinstance(name, str):
        raise UserError(f"method: {name!r} is no name; give one of `salience methods`, such as 'simclr'")
    for path in _files(folder):
        if path.stem == name:
            return read(path)
    known = names(folder)
    raise UserError(f"method: there is no method '{name}'{nearest(name, known)}; known are: {', '.join(known)}")


def nearest(word: str, known: Iterable[str]) -> str:
    """ "; did you mean X?" for the closest known word, or ""."""
    known = list(known)
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    close = close or [name for name in known if word and name.startswith(word.lower())][:1]
    return f"; did you mean {close[0]}?" if close else ""


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/*.py") if not path.stem.startswith("_")]


# --- reading one file --------------------------------------------------------------------------------------------


@cache
def read(path: Path) -> Entry:
    """What the method file at `path` says. Raises CatalogueError where it breaks the rules."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    formula = ast.get_docstring(tree) or ""
    urls = re.findall(r"https?://[^\s,;)\]>]+", formula)
    if not formula or not urls:
        raise CatalogueError(f"{path}: the module docstring must give the idea and the paper's address")
    node, kind = _method_class(tree, path)
    meanings = _meanings(ast.get_docstring(node) or "")
    return Entry(
        name=path.stem,
        class_name=node.name,
        family=path.parent.name,
        kind=kind,
        needs=_needs(node),
        capabilities=tuple(CAPABILITIES[name] for name in CAPABILITIES if name in _functions(node)),
        idea=_idea(formula),
        paper=urls[0].rstrip("."),
        formula=formula,
        options=tuple(_options(node, meanings, path)),
    )


def _method_class(tree: ast.Module, path: Path) -> tuple[ast.ClassDef, str]:
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            kinds = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
            found += [(node, kind) for kind in kinds if kind in KINDS]
    if len(found) != 1:
        raise CatalogueError(f"{path}: {len(found)} classes over one of {', '.join(KINDS)}; a method file holds one")
    return found[0]


def _idea(formula: str) -> str:
    """The first sentence, without the method's name before the colon."""
    first = " ".join(formula.split("\n\n")[0].split())
    return first.partition(": ")[2] or first


def _needs(node: ast.ClassDef) -> tuple[str, ...]:
    for item in node.body:
        if isinstance(item, ast.Assign | ast.AnnAssign) and item.value and _assigned_name(item) == "needs":
            return tuple(ast.literal_eval(item.value))
    return ()


def _assigned_name(item: ast.Assign | ast.AnnAssign) -> str:
    return ast.unparse(item.targets[0] if isinstance(item, ast.Assign) else item.target)


def _functions(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    return {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}


def _options(node: ast.ClassDef, meanings: Mapping[str, str], path: Path) -> Iterable[Option]:
    constructor = _functions(node).get("__init__")
    if constructor is None:
        return
    for argument, default in zip(constructor.args.kwonlyargs, constructor.args.kw_defaults, strict=True):
        where = f"{path}: {node.name}({argument.arg})"
        if argument.annotation is None or default is None:
            raise CatalogueError(f"{where}: a hyper-parameter needs a type and a default")
        yield Option(
            name=argument.arg,
            default=_default(default, where),
            meaning=meanings.get(argument.arg, ""),
            **_typed(argument.annotation, where),
        )


def _default(node: ast.expr, where: str) -> Any:
    if isinstance(node, ast.Name) and node.id.lower() == AUTO:
        return AUTO
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise CatalogueError(f"{where}: the default {ast.unparse(node)} is neither a literal nor Auto") from None


def _typed(node: ast.expr, where: str) -> dict[str, Any]:
    """The type's part of an Option: a builtin, a Literal, Annotated with bounds, or one of them `| None`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        sides = [side for side in (node.left, node.right) if ast.unparse(side) not in ("None", "Auto")]
        if len(sides) == 1:
            return _typed(sides[0], where) | {"optional": True}
    if isinstance(node, ast.Name) and node.id in PLAIN_TYPES:
        return {"type": node.id}
    if isinstance(node, ast.Subscript):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if ast.unparse(node.value) == "Literal":
            choices = tuple(ast.literal_eval(item) for item in inner)
            return {"type": type(choices[0]).__name__, "choices": choices}
        if ast.unparse(node.value) == "Annotated":
            return _typed(inner[0], where) | dict(_bound(item, where) for item in inner[1:])
    raise CatalogueError(f"{where}: {ast.unparse(node)} is no builtin, Literal or Annotated[..., Gt/Ge/Lt/Le]")


def _bound(node: ast.expr, where: str) -> tuple[str, float]:
    if isinstance(node, ast.Call) and ast.unparse(node.func) in BOUNDS and len(node.args) == 1:
        return BOUNDS[ast.unparse(node.func)], ast.literal_eval(node.args[0])
    raise CatalogueError(f"{where}: {ast.unparse(node)} is none of {', '.join(BOUNDS)}")


def _meanings(docstring: str) -> dict[str, str]:
    """`name: meaning` lines, each with the deeper indented lines that continue it."""
    meanings: dict[str, str] = {}
    current: list[str] = []
    for line in docstring.splitlines():
        start = re.match(r"(\w+(?:, \w+)*): +(\S.*)", line)
        if start:
            current = start[1].split(", ")
            meanings |= dict.fromkeys(current, start[2].strip())
        elif line.startswith(" ") and line.strip():
            meanings |= {name: f"{meanings[name]} {line.strip()}" for name in current}
        else:
            current = []
    return meanings


# --- numbers ---------------------------------------------------------------------------------------------------


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
