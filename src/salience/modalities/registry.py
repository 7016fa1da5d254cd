"""Kinds of data by name: those of the package, and those that are added."""

from __future__ import annotations

import importlib
from typing import Any

from salience.errors import UserError
from salience.modalities.modality import Modality

_BUILT_IN = {name: f"salience.modalities.{name}" for name in ("image", "table", "joined")}
_added: dict[str, Modality[Any]] = {}


def register(modality: Modality[Any]) -> None:
    """Makes a kind of data known by its name, and to `open_data`. One of the same name takes the place of another."""
    _added[modality.name] = modality


def known() -> tuple[Modality[Any], ...]:
    """All kinds of data, those that were added first."""
    return (*_added.values(), *(find(name) for name in _BUILT_IN if name not in _added))


def find(name: str) -> Modality[Any]:
    """The kind of data of that name. Raises UserError with those that are known."""
    if name in _added:
        return _added[name]
    if name not in _BUILT_IN:
        names = ", ".join([*_BUILT_IN, *_added])
        raise UserError(f"modality: expected one of {names}; got {str(name)[:80]!r}")
    return importlib.import_module(_BUILT_IN[name]).MODALITY
