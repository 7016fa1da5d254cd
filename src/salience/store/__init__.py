"""Where embeddings live: items, vectors and columns in one folder, searched, labelled, and added to."""

from salience.store.opening import open_store
from salience.store.store import Hits, Store
from salience.store_names import require_store

__all__ = ["Hits", "Store", "open_store", "require_store"]
