"""The parts of a run that come from elsewhere: found again when the run is loaded.

A run stores where its method, encoder and views come from. Loading imports a file only if the caller names it (`code=`,
`--code FILE`), and a package only if it is installed. Nothing is imported because a run says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from salience import catalogue
from salience.catalogue import Entry
from salience.class_entries import entry_of_class
from salience.config import Config
from salience.errors import Note, UserError
from salience.origins import Origin, hash_of, names_file, names_in, of_file, of_package, origin_of
from salience.untrusted import Damaged

PARTS = ("method", "encoder", "views")
_named: ContextVar[tuple[Path, ...]] = ContextVar("code", default=())


@dataclass(frozen=True)
class Code:
    """The parts that a caller gives, and where they come from.

    Attributes:
        origins: "method", "encoder", "views" -> the origin of a part that is not ours.
    """

    origins: Mapping[str, Origin] = field(default_factory=dict)

    def part(self, name: str, otherwise: Any) -> Any:
        """Return the object of a part that is not ours, or the name of one that is."""
        return self.origins[name].load() if name in self.origins else otherwise

    def entry(self, method: str) -> Entry:
        """Return the description of the method."""
        origin = self.origins.get("method")
        if origin is None:
            return catalogue.find(method)
        if origin.value is not None:
            return replace(entry_of_class(origin.value), name=method, origin=origin)
        if origin.package:
            return replace(catalogue.find(origin.offered), name=method)
        return replace(catalogue.read_file(Path(origin.file), origin.name), name=method, origin=origin)

    def to_dict(self) -> dict[str, Any]:
        """Return what the run stores."""
        return {name: origin.to_dict() for name, origin in self.origins.items()}


def taken(method: Any, given: dict[str, Any]) -> tuple[Entry, Code, dict[str, Any]]:
    """Return the method, the parts that are not ours, and the options of `fit` with parts replaced by their names.

    Args:
        method: Name, file or class of a method.
        given: The options of `fit`; encoder and views may be a name, FILE.py:NAME, a class, a module or a function.

    Raises:
        UserError: A part cannot be used.
    """
    entry = catalogue.find(method) if isinstance(method, str) else entry_of_class(method)
    origins = {} if entry.origin is None else {"method": entry.origin}
    for part in ("encoder", "views"):
        value = given.get(part)
        if value is None:
            continue
        if not isinstance(value, str):
            if not callable(value):
                raise UserError(f"{part}: expected a name, a module or a function, got {value!r}"[:300])
            origins[part] = origin_of(value, part)
        elif names_file(value):
            origins[part] = of_file(value, part)
        elif (found := of_package(value, part)) is not None:
            origins[part] = found
            continue  # the name is the package's
        else:
            continue
        given = {**given, part: origins[part].name}
    return entry, Code(origins), given


@contextmanager
def named_files(files: Any) -> Iterator[None]:
    """While it lasts, runs may use these files, as if each call named them."""
    token = _named.set((*_named.get(), *(Path(one).expanduser() for one in files or ())))
    try:
        for path in _named.get():
            if not path.is_file():
                raise UserError(f"code: {path} does not exist; give the Python file that a run was fitted with")
        yield
    finally:
        _named.reset(token)


def code_of(config: Config, given: Any = None) -> Code:
    """Return the parts of a run that are not ours.

    Args:
        config: Configuration of the run.
        given: What the caller names: files, or objects by part, such as {"encoder": module}.

    Raises:
        UserError: A part was not named, or its package is not installed.
    """
    if isinstance(given, Code):
        return given
    files, objects = _sorted(given)
    try:
        records = {part: Origin.from_dict(config.model.code[part]) for part in PARTS if part in config.model.code}
    except Damaged as problem:
        raise UserError(f"run: its config.yaml is damaged ({problem})") from None
    found = {}
    for part, record in records.items():
        if part in objects:
            found[part] = replace(origin_of(objects[part], part), name=record.name)
        elif record.package:
            found[part] = _of_installed(part, record)
        else:
            found[part] = _of_named_file(part, record, files)
    return Code(found)


def entry_of(config: Config, given: Any = None) -> Entry:
    """Return the description of a run's method."""
    return code_of(config, given).entry(config.model.method)


def described(record: Any) -> Entry | None:
    """Return the description of the method that a run stores, read from its file without importing it.

    None if the file is gone or has changed, or the package is not installed.
    """
    try:
        origin = Origin.from_dict(record)
        if origin.package:
            return catalogue.find(origin.offered)
        fitting = [path for path in (*_named.get(), Path(origin.file)) if path.is_file()]
        same = next((path for path in fitting if hash_of(path) == origin.sha256), None)
        return None if same is None else catalogue.read_file(same, origin.name)
    except (UserError, Damaged):
        return None


def _sorted(given: Any) -> tuple[tuple[Path, ...], dict[str, Any]]:
    """Return the files and the objects that the caller names."""
    if given is None:
        return _named.get(), {}
    if isinstance(given, Mapping):
        odd = sorted(set(given) - set(PARTS))
        if odd:
            raise UserError(f"code: expected objects named {', '.join(PARTS)}; got {odd[0]!r}")
        return _named.get(), dict(given)
    several = given if isinstance(given, list | tuple) else [given]
    if not all(isinstance(one, str | Path) for one in several):
        raise UserError('code: expected files, or objects by part, such as {"encoder": module}')
    with named_files(several):
        return _named.get(), {}


def _of_installed(part: str, record: Origin) -> Origin:
    name, origin = record.offered, of_package(record.offered, part)
    if origin is None or origin.package != record.package:
        raise UserError(
            f"run: its {part} {name} comes from the package {record.package} {record.version}, which is not installed; "
            f"install it with: pip install {record.package}"
        )
    if origin.version != record.version:
        said = f"{record.package} {record.version}; version {origin.version} is installed"
        warnings.warn(f"the {part} {name} of this run comes from {said}", Note, stacklevel=4)
    return origin


def _of_named_file(part: str, record: Origin, files: tuple[Path, ...]) -> Origin:
    fitting = [path for path in files if record.name in names_in(path)]
    if not fitting:
        if not record.file:
            remedy = f"it was given in Python; load the run with: salience.load(run, code={{{part!r}: ...}})"
            raise UserError(f"run: its {part} {record.name} is not part of Salience; {remedy}")
        raise UserError(
            f"run: its {part} {record.name} comes from {record.file}, and a file is imported only if you name it; add "
            f"--code {record.file} (in Python: salience.load(run, code={record.file!r}))"
        )
    same = [path for path in fitting if hash_of(path) == record.sha256]
    alike = [path for path in fitting if path.name == Path(record.file).name]
    chosen = [*same, *alike, *fitting][0]
    if not same and record.file:
        warnings.warn(f"{chosen} has changed since {part} {record.name} was fitted with it", Note, stacklevel=4)
    return Origin(record.name, str(chosen.resolve()), hash_of(chosen))
