"""Items as files that a browser plays, such as recordings. They are read from the source of the run, not the store."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from salience.data import Dataset
from salience.data.equal_items import content_hashes
from salience.errors import UserError
from salience.explorer.items import Items
from salience.explorer.model import Model
from salience.explorer.refusals import NotYet, Unknown
from salience.modalities import Modality, find
from salience.store import Store


class Media:
    """The files of a store's items. The sources are opened at the first request."""

    def __init__(self, store: Store, model: Model, items: Items):
        self.store, self.model, self.items = store, model, items
        self._places: dict[str, tuple[Dataset, int]] | None = None
        self._contents = np.zeros(0, np.uint64)
        self._lock = threading.Lock()

    @property
    def kind(self) -> str | None:
        """Return the MIME type of the items' files; None if this kind of data has none, or the run cannot be found."""
        try:
            modality = find(str(self.store.about.get("modality")))
        except UserError:  # a kind of data of another version
            return None
        return modality.media_type if self.model.folder is not None else None

    def of(self, row: int) -> tuple[str, bytes]:
        """Return the MIME type and the file of an item.

        Raises:
            Unknown: The item has no file.
            NotYet: The source of the run cannot be opened, or no longer holds the item.
        """
        if self.kind is None:
            raise Unknown(f"row: item {row} has no file to play")
        id = self.items.ids_of(np.array([row]))[0]
        with self._lock:
            if self._places is None:
                self._places = self._opened()
                self._contents = np.array(self.store.identities()[1], np.uint64)
        data, at = self._places.get(id, (None, 0))
        if data is None or content_hashes(data.subset([at]))[0] != self._contents[row]:
            raise NotYet(f"row: the source of the run does not hold item {row}; it has changed, or was another one")
        modality: Modality[Any] = data.spec.modality
        found = modality.media(data, at)
        if found is None:
            raise Unknown(f"row: item {row} has no file to play")
        return found

    def _opened(self) -> dict[str, tuple[Dataset, int]]:
        """Return the items of the run's source, in the splits that are in the store, by id."""
        rep = self.model.load()
        try:
            rep.config.data.require_source()
            splits = sorted({str(one["split"]) for one in self.store.about["sources"]})
            opened = [rep.open(rep.config.data.where, split=split, progress=False) for split in splits]
        except UserError as problem:
            raise NotYet(str(problem)) from None
        return {id: (data, at) for data in reversed(opened) for at, id in enumerate(data.ids)}
