"""The registry of kinds of data: built-in ones, and ones added by `register`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from salience.errors import UserError

if TYPE_CHECKING:
    from salience.modalities.modality import Modality

_BUILT_IN = {name: f"salience.modalities.{name}" for name in ("image", "series", "table", "text", "audio", "joined")}
_added: dict[str, Modality[Any]] = {}


def register(modality: Modality[Any]) -> None:
    """Add a kind of data by its name, also to `open_data`. It replaces another one with the same name."""
    _added[modality.name] = modality


def known() -> tuple[Modality[Any], ...]:
    """Return all kinds of data; added ones come before built-in ones."""
    return (*_added.values(), *(find(name) for name in _BUILT_IN if name not in _added))


def find(name: str) -> Modality[Any]:
    """Return the kind of data with this name. Raises UserError if there is none."""
    if name in _added:
        return _added[name]
    if name not in _BUILT_IN:
        names = ", ".join([*_BUILT_IN, *_added])
        raise UserError(f"modality: expected one of {names}; got {str(name)[:80]!r}")
    return importlib.import_module(_BUILT_IN[name]).MODALITY
