"""Opens a store by its URI, which chooses what is behind it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from salience.store.store import Store
from salience.store_names import Kind, kind_at, require_store


def open_store(uri: Path | str) -> Store:
    """The store at a URI: a folder NAME.lance.

    Errors: UserError where there is none, it is damaged, of a newer version, or of a kind this version cannot open.
    """
    require_store(uri)
    path = Path(uri)
    found = kind_at(path)
    assert found is not None  # else it was refused
    return class_of(found).open(path)


def class_of(kind: Kind) -> type[Store]:
    """The class of stores of this kind."""
    module, _, name = kind.where.partition(":")
    return getattr(import_module(module), name)
