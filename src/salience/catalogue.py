"""What methods there are, read from their source files without running them.

A method is one file, `methods/<family>/<name>.py`. Its module docstring is the formula, its constructor the
hyper-parameters, its class docstring their meaning. All of it is read with `ast`, so that help, checks of
options and lists of methods need neither torch nor the method itself.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from salience import modalities
from salience.errors import UserError
from salience.option import AUTO as AUTO
from salience.option import CatalogueError as CatalogueError
from salience.option import Option as Option
from salience.option import declared, meanings_in
from salience.option import nearest as nearest
from salience.source_values import parsed, value_of
from salience.warning_signs import Declared

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


@dataclass(frozen=True)
class Entry:
    """One method, as its file describes it.

    name, family: of its file and its folder
    requires: what a kind of data must offer;  kind: "Method", "ClosedForm", "Adversarial" or "Staged"
    idea: one sentence;  formula: the whole module docstring;  paper: its address
    health: its signs that a training is not well
    """

    name: str
    class_name: str
    family: str
    kind: str
    requires: tuple[str, ...]
    capabilities: tuple[str, ...]
    idea: str
    paper: str
    formula: str
    options: tuple[Option, ...]
    health: Declared

    @property
    def modality(self) -> tuple[str, ...]:
        """Names of the kinds of data that offer what the method needs."""
        return tuple(sorted(kind.name for kind in modalities.known() if self._fits(kind)))

    def _fits(self, kind: modalities.Modality) -> bool:
        """Whether a kind of data offers what the method needs.

        A method that is trained by gradient needs an encoder of the items, unless it takes joined sources apart.
        """
        own = {"encoder"} if self.kind != "ClosedForm" and "parts" not in self.requires else set()
        return kind.supports.issuperset({*self.requires, *own})

    def refuse_unfit(self, source: str, modality: modalities.Modality) -> None:
        """Raises UserError where the method cannot learn from this kind of data."""
        if not self._fits(modality):
            if modality.name in self.modality:  # other items of the same kind of data fit
                raise UserError(
                    f"source: {self.name} requires items of one shape, but the {modality.plural} of {source} have "
                    "different ones; give items of one shape, or choose a method that does not decode"
                )
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


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/*.py") if not path.stem.startswith("_")]


# --- reading one file --------------------------------------------------------------------------------------------


@cache
def read(path: Path) -> Entry:
    """What the method file at `path` says. Raises CatalogueError where it breaks the rules."""
    tree = parsed(path)
    formula = ast.get_docstring(tree) or ""
    urls = re.findall(r"https?://[^\s,;)\]>]+", formula)
    if not formula or not urls:
        raise CatalogueError(f"{path}: the module docstring must give the idea and the paper's address")
    node, kind = _method_class(tree, path)
    meanings = meanings_in(ast.get_docstring(node) or "")
    return Entry(
        name=path.stem,
        class_name=node.name,
        family=path.parent.name,
        kind=kind,
        requires=_class_value(node, "requires", (), path),
        capabilities=tuple(CAPABILITIES[name] for name in CAPABILITIES if name in _functions(node)),
        idea=_idea(formula),
        paper=urls[0].rstrip("."),
        formula=formula,
        options=tuple(_options(node, meanings, path)),
        health=Declared(**{one.name: _class_value(node, one.name, one.default, path) for one in fields(Declared)}),
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


def _class_value(node: ast.ClassDef, name: str, default: Any, path: Path) -> Any:
    """What the class assigns to that name; the default where it assigns nothing."""
    for item in node.body:
        if isinstance(item, ast.Assign | ast.AnnAssign) and item.value and _assigned_name(item) == name:
            try:
                return value_of(item.value, path)
            except (ValueError, TypeError) as problem:
                raise CatalogueError(f"{path}: {node.name}.{name} cannot be read from the source: {problem}") from None
    return default


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
        if default is None:
            raise CatalogueError(f"{where}: a hyper-parameter needs a type and a default")
        yield declared(argument, default, meanings.get(argument.arg, ""), where)
