"""Parts that come from elsewhere: from a file that the user names, from an installed package, or from memory.

A package offers parts by entry points, in the groups of `GROUPS`. Nothing here imports a file or a package before
`Origin.load` is called.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from salience.errors import UserError
from salience.untrusted import Damaged

GROUPS = {
    "method": "salience.methods",
    "encoder": "salience.encoders",
    "views": "salience.policies",
    "metric": "salience.metrics",
    "source": "salience.sources",
}
PLACE = re.compile(r"(?P<file>.+\.py)(?::(?P<name>\w+))?")


@dataclass(frozen=True)
class Origin:
    """Where a part of a run comes from.

    Attributes:
        name: Name of the class or function.
        file: Path of the file that defines it, if it comes from a file.
        sha256: Hash of this file.
        package, version: Name and version of the package that offers it by an entry point.
        place: "module:name" in this package;  offered: the name of its entry point.
        value: The part itself, if it was given in Python; not stored.
    """

    name: str
    file: str = ""
    sha256: str = ""
    package: str = ""
    version: str = ""
    place: str = ""
    offered: str = ""
    value: Any = field(default=None, compare=False, repr=False)

    def load(self) -> Any:
        """Return the part; import the file or the package if that has not been done."""
        if self.value is not None:
            return self.value
        if self.package:
            return _load_place(self.place, self.package)
        module = import_file(Path(self.file))
        if not hasattr(module, self.name):
            raise UserError(f"code: {self.file} defines no {self.name!r}; name a file that does")
        return getattr(module, self.name)

    def to_dict(self) -> dict[str, str]:
        """Return the facts that a run stores."""
        return {name: getattr(self, name) for name in _STORED if getattr(self, name)}

    @classmethod
    def from_dict(cls, plain: Any) -> Origin:
        """Return the origin that a run has stored. Raises Damaged if the values are not texts by known names."""
        if not isinstance(plain, Mapping) or not plain.get("name"):
            raise Damaged("code: expected the name and the place of a part")
        if not all(name in _STORED and isinstance(value, str) for name, value in plain.items()):
            raise Damaged(f"code: expected texts named {', '.join(_STORED)}")
        return cls(**plain)


_STORED = ("name", "file", "sha256", "package", "version", "place", "offered")


def origin_of(value: Any, part: str) -> Origin:
    """Return where a class, function or module that was given in Python comes from."""
    maker = value if hasattr(value, "__qualname__") else type(value)
    module, name = str(maker.__module__), str(maker.__qualname__)
    for offered in installed(part).values():
        if offered.value == f"{module}:{name}":
            return replace(_of_entry_point(offered), value=value)
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not Path(file).is_file() or "<" in name:
        return Origin(name.rpartition(".")[2].strip("<>"), value=value)
    return Origin(name.rpartition(".")[2], str(Path(file).resolve()), hash_of(Path(file)), value=value)


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file. Raises UserError if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as problem:
        raise UserError(f"code: {path} cannot be read ({problem.strerror}); give a Python file") from None


# --- files -------------------------------------------------------------------------------------------------------


def names_file(text: str) -> bool:
    """Return whether a text names a Python file, such as ./method.py or net.py:make."""
    return PLACE.fullmatch(text) is not None


def of_file(text: str, part: str) -> Origin:
    """Return the origin that FILE.py:NAME stands for; without NAME the only function or class of the file.

    Raises:
        UserError: The file does not exist, or defines no such name.
    """
    match = PLACE.fullmatch(text)
    assert match is not None
    path = Path(match["file"]).expanduser()
    if not path.is_file():
        raise UserError(f"{part}: {path} does not exist; give a Python file")
    defined = names_in(path)
    public = [name for name in defined if not name.startswith("_")]
    if match["name"] is None and len(public) != 1:
        raise UserError(f"{part}: {path} defines {', '.join(public) or 'nothing'}; choose one with {path}:NAME")
    name = match["name"] or public[0]
    if name not in defined:
        raise UserError(f"{part}: {path} defines no {name!r}; it defines {', '.join(public) or 'nothing'}")
    return Origin(name, str(path.resolve()), hash_of(path))


def names_in(path: Path) -> list[str]:
    """Return the names that a file defines at its top level, read without running it."""
    tree = parse_file(path)
    found = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    for node in tree.body:
        if isinstance(node, ast.Assign):
            found += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return found


def parse_file(path: Path) -> ast.Module:
    """Return the syntax tree of a file that a user names. Raises UserError if it is not Python."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except OSError as problem:
        raise UserError(f"code: {path} cannot be read ({problem.strerror}); give a Python file") from None
    except (SyntaxError, ValueError) as problem:
        raise UserError(f"code: {path} is not valid Python ({problem}); correct the file") from None


def import_file(path: Path) -> Any:
    """Import a file that the user has named, once for each content."""
    name = f"salience_code_{path.stem}_{hash_of(path)[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as problem:  # of the user's code
        del sys.modules[name]
        reason = " ".join(str(problem).split())[:200]
        raise UserError(f"code: {path} cannot be imported ({type(problem).__name__}: {reason})") from problem
    return module


# --- packages ----------------------------------------------------------------------------------------------------


def installed(part: str) -> dict[str, EntryPoint]:
    """Return what installed packages offer as this part, by name. Imports none of them."""
    return _installed(GROUPS[part], tuple(sys.path))


@cache
def _installed(group: str, path: tuple[str, ...]) -> dict[str, EntryPoint]:
    del path  # another search path may have other packages
    return {one.name: one for one in entry_points(group=group)}


def of_package(name: str, part: str) -> Origin | None:
    """Return the origin of an installed part; None if no package offers one by this name."""
    offered = installed(part).get(name)
    return None if offered is None else _of_entry_point(offered)


def _of_entry_point(offered: EntryPoint) -> Origin:
    package, version = (offered.dist.name, offered.dist.version) if offered.dist else ("", "")
    return Origin(offered.attr or offered.name, package=package or offered.module, version=version, place=offered.value,
                  offered=offered.name)  # fmt: skip


def _load_place(place: str, package: str) -> Any:
    module, _, name = place.partition(":")
    try:
        value = importlib.import_module(module)
        for one in name.split("."):
            value = getattr(value, one)
    except Exception as problem:  # of the package's code
        reason = " ".join(str(problem).split())[:200]
        raise UserError(
            f"code: {place} of the package {package} cannot be imported ({type(problem).__name__}: {reason}); "
            f"install it again"
        ) from problem
    return value


def file_of_module(module: str) -> Path:
    """Return the source file of an installed module without importing it or its packages.

    Raises:
        UserError: There is no such file.
    """
    found, places = None, None
    for depth in range(1, module.count(".") + 2):
        found = PathFinder.find_spec(".".join(module.split(".")[:depth]), places)
        if found is None:
            break
        places = found.submodule_search_locations
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        raise UserError(f"code: the source file of {module} was not found; install its package again")
    return Path(found.origin)
