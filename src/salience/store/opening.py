"""Opens a store by its URI, which chooses what is behind it."""

from __future__ import annotations

from pathlib import Path

from salience.store.store import Store
from salience.store_names import require_store


def open_store(uri: Path | str) -> Store:
    """The store at a URI: a folder NAME.lance.

    Errors: UserError where there is none, it is damaged, of a newer version, or of a kind this version cannot open.
    """
    require_store(uri)
    from salience.store.lance_store import LanceStore

    return LanceStore(Path(uri))
