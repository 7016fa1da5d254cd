"""What methods there are, read from their source files without running them.

A method is one file, `methods/<family>/<name>.py`. Its module docstring is the formula, its constructor the
hyper-parameters, its class docstring their meaning. All of it is read with `ast`, so that help, checks of
options and lists of methods need neither torch nor the method itself.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from salience import modalities
from salience.errors import Note, UserError
from salience.option import AUTO as AUTO
from salience.option import CatalogueError as CatalogueError
from salience.option import Option as Option
from salience.option import declared, meanings_in
from salience.option import nearest as nearest
from salience.origins import Origin, file_of_module, hash_of, installed, names_file, of_package, parse_file
from salience.source_values import named_value, parsed, value_of
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
    at_most: the options that the data limit: name, what limits it ("rows", "width"), a template of what a value means
    health: its signs that a training is not well
    takes: options of training by gradient that a closed form has too, such as "encoder"
    origin: where it comes from; None for the methods of Salience
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
    at_most: tuple[tuple[str, tuple[str, ...], str], ...]
    health: Declared
    takes: tuple[str, ...] = ()
    origin: Origin | None = None

    @property
    def typed(self) -> str:
        """What `fit` takes for it: its name, or its file."""
        return self.origin.file if self.origin is not None and self.origin.file else self.name

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

    def refuse_unfit(self, source: str, spec: modalities.Spec) -> None:
        """Raises UserError where the method cannot learn from items of this spec."""
        modality = spec.modality
        if not self._fits(modality):
            if modality.name in self.modality:  # other items of the same kind of data fit
                raise UserError(
                    f"source: {self.name} requires items of one shape, but the {modality.plural} of {source} have "
                    "different ones; give items of one shape, or choose a method that does not decode"
                )
            takes = ", ".join(self.modality)
            raise UserError(f"source: {self.name} learns from {takes} data, {source} is {modality.name}")
        if "vectors" in self.requires:
            modality.refuse_vectors(spec, f"source: {self.name}")

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
    """Every method's name, in alphabetical order: ours, then those of installed packages. Opens no file of ours."""
    own = sorted(path.stem for path in _files(folder))
    return (*own, *_of_packages(own, folder))


def entries(folder: Path = METHODS) -> tuple[Entry, ...]:
    """Every method, in the order of `names`. A method of a package that cannot be read is left out, with a note."""
    own = [read(path) for path in sorted(_files(folder), key=lambda path: path.stem)]
    found = []
    for name in _of_packages([entry.name for entry in own], folder):
        try:
            found.append(_read_installed(name))
        except UserError as problem:
            warnings.warn(f"the method {name} is left out: {problem}", Note, stacklevel=2)
    return (*own, *found)


def _of_packages(own: Iterable[str], folder: Path) -> list[str]:
    """Names of methods that installed packages offer. A name of ours stays ours."""
    return sorted(set(installed("method")) - set(own)) if folder == METHODS else []


def find(name: str, folder: Path = METHODS) -> Entry:
    """The method of that name, or of a Python file. Raises UserError that suggests the nearest one."""
    if not isinstance(name, str):
        raise UserError(f"method: {name!r} is not a name; give one of `salience methods`, such as 'simclr'")
    for path in _files(folder):
        if path.stem == name:
            return read(path)
    if names_file(name):
        return read_file(Path(name).expanduser())
    if name in _of_packages((), folder):
        return _read_installed(name)
    known = names(folder)
    raise UserError(f"method: unknown method '{name}'{nearest(name, known)}; known are: {', '.join(known)}")


def refuse_unable(method: str, function: str, verb: str) -> None:
    """Raise UserError where a method lacks the function that a verb needs, naming the methods that have it."""
    capability = CAPABILITIES[function]
    if capability not in find(method).capabilities:
        able = [entry.name for entry in entries() if capability in entry.capabilities]
        remedy = f"fit one of the methods that can: {', '.join(able)}"
        raise UserError(f"run: {method} cannot {verb}; {remedy if able else 'no method can yet'}")


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/*.py") if not path.stem.startswith("_")]


# --- reading one file --------------------------------------------------------------------------------------------


@cache
def read(path: Path) -> Entry:
    """What the method file at `path` says. Raises CatalogueError where it breaks the rules."""
    tree = parsed(path)
    entry = _entry(tree, path, name=path.stem, family=path.parent.name)
    if not entry.formula or not entry.paper:
        raise CatalogueError(f"{path}: the module docstring must give the idea and the paper's address")
    return entry


def read_file(path: Path, class_name: str = "") -> Entry:
    """What a method file of the user says. It is read, not run. Raises UserError where it holds no method."""
    if not path.is_file():
        raise UserError(f"method: {path} does not exist; give a Python file with a method, or one of: salience methods")
    origin = Origin(class_name, str(path.resolve()), hash_of(path))
    return _read_outside(path, origin, path.stem, "file")


def _read_installed(name: str) -> Entry:
    """What the method of an installed package says; the package is not imported."""
    origin = of_package(name, "method")
    assert origin is not None
    return _read_outside(file_of_module(origin.place.partition(":")[0]), origin, name, origin.package)


def _read_outside(path: Path, origin: Origin, name: str, family: str) -> Entry:
    """A method of someone else's file. Unlike ours it may go without a paper."""
    for kept in (parsed, named_value):  # the file may have changed since it was read
        kept.cache_clear()
    try:
        entry = _entry(parse_file(path), path, name=name, family=family, class_name=origin.name)
    except (CatalogueError, OSError) as problem:
        raise UserError(f"method: {' '.join(str(problem).split())}") from None
    return replace(entry, origin=replace(origin, name=entry.class_name))


def _entry(tree: ast.Module, path: Path, *, name: str, family: str, class_name: str = "") -> Entry:
    formula = ast.get_docstring(tree) or ""
    urls = re.findall(r"https?://[^\s,;)\]>]+", formula)
    node, kind = _method_class(tree, path, class_name)
    meanings = meanings_in(ast.get_docstring(node) or "")
    formula = formula or ast.get_docstring(node) or ""
    return Entry(
        name=name,
        class_name=node.name,
        family=family,
        kind=kind,
        requires=_class_value(node, "requires", (), path),
        capabilities=tuple(CAPABILITIES[name] for name in CAPABILITIES if name in _functions(node)),
        idea=_idea(formula),
        paper=urls[0].rstrip(".") if urls else "",
        formula=formula,
        options=tuple(_options(node, meanings, path)),
        at_most=_class_value(node, "at_most", (), path),
        health=Declared(**{one.name: _class_value(node, one.name, one.default, path) for one in fields(Declared)}),
        takes=_class_value(node, "takes", (), path),
    )


def _method_class(tree: ast.Module, path: Path, class_name: str = "") -> tuple[ast.ClassDef, str]:
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and class_name in ("", node.name):
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
