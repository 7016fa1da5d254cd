"""The run that made the store, loaded at its first use: embeds new items, reconstructs, samples, interpolates."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from salience.config import Config
from salience.errors import UserError, naming
from salience.explorer import pictures
from salience.explorer.refusals import NotYet
from salience.modalities import find
from salience.own_code import entry_of
from salience.run import Run
from salience.store import Store
from salience.store.embedding import places_of_run, representation_of
from salience.units import counted
from salience.verbs.inputs import within
from salience.verbs.paths import lerp

if TYPE_CHECKING:
    from salience.representation import Representation

CAN = {"decodes": "decode", "samples": "sample"}


class Model:
    """run: folder of the run, if it has moved since the store was written"""

    def __init__(self, store: Store, run: Path | None):
        self.store = store
        self.given = run
        self._rep: Representation | None = None
        self._refused = False
        self._lock = threading.RLock()  # one forward pass at a time, so that requests do not compete for the processor

    @property
    def folder(self) -> Path | None:
        """Return the folder of the run; None if it cannot be found."""
        return next((place for place in places_of_run(self.store, self.given) if place.is_dir()), None)

    @property
    def can(self) -> list[str]:
        """Return the capabilities "embed", "decode", "sample"; none without the run that made the store."""
        folder = self.folder
        if folder is None or self._refused:
            return []
        try:
            if not find(
                str(self.store.about.get("modality"))
            ).shows_pictures:  # the page can only show decoded pictures
                return ["embed"]
            return ["embed", *able(Run(folder).config)]
        except UserError:  # the method of another version, or a damaged folder
            return []

    def load(self) -> Representation:
        """Load the run. Raises NotYet if it cannot be found, or if it did not make this store."""
        with self._lock:
            if self._rep is None:
                try:
                    self._rep = representation_of(self.store, self.given)
                except UserError as problem:
                    self._refused = True
                    raise NotYet(str(problem)) from None
                self._refused = False
            return self._rep

    def embed_image(self, data: bytes) -> np.ndarray:
        """Embed an image file.  -> [1 d]"""
        with self._lock:
            rep = self.load()
            return np.asarray(rep.embed(pictures.open_image(data, rep)), np.float32)

    def embed_rows(self, rows: Sequence[Sequence[Any]]) -> np.ndarray:
        """Embed rows of a table, whose values are in the order of its columns.  -> [m d]"""
        with self._lock:
            rep = self.load()
            names = rep.spec.modality.columns(rep.spec)
            if not names:
                raise UserError(
                    f"rows: {rep.method_name} was trained on {rep.spec.modality.name} data; send one item of it"
                )
            if not rows or any(len(row) != len(names) for row in rows):
                raise UserError(f"rows: expected one row or more of {counted(len(names), 'value')}: {', '.join(names)}")
            frame = pd.DataFrame([list(row) for row in rows], columns=names)
            with naming("rows", "source"):
                return np.asarray(rep.embed(rep.open(frame, progress=False)), np.float32)

    @property
    def takes_words(self) -> bool:
        """Return whether items can be searched for by words, as texts can."""
        name = self.store.about.get("modality")
        return name is not None and find(str(name)).query("") is not None

    def embed_words(self, words: str) -> np.ndarray | None:
        """Compute the embedding of words, [d]; None if the items are no texts."""
        if not self.takes_words or not words:
            return None
        source = find(str(self.store.about.get("modality"))).query(words)
        rep = self.load()
        with self._lock, naming("text", "source"):
            return np.asarray(rep.embed(rep.open(source, progress=False))[0], np.float32)

    def reconstruct(self, rows: np.ndarray) -> list[list[str]]:
        """Return the thumbnail and the reconstruction of each item, as PNG in base64."""
        rep = self._images_of("decode", "reconstruct")
        originals = self.store.thumbnails(rows)
        if None in originals:
            raise NotYet("rows: not all of these items have a thumbnail in the store; choose items with one")
        with self._lock:
            made = within(torch.from_numpy(rep.decode(torch.tensor(self.store.vectors(rows)))), rep.spec)
        pairs = zip(originals, pictures.as_png(made), strict=True)
        return [[pictures.in_base64(original), made] for original, made in pairs if original is not None]

    def sample(self, n: int, seed: int) -> list[str]:
        rep = self._images_of("sample", "sample")
        with self._lock:
            return pictures.as_png(within(torch.from_numpy(rep.sample(n, seed)), rep.spec))

    def interpolate(self, first: int, last: int, steps: int) -> list[str]:
        """Decode the linear interpolation between the codes of two items, including both ends."""
        rep = self._images_of("decode", "interpolate")
        ends = torch.tensor(self.store.vectors([first, last]))
        path = lerp(ends[:1], ends[1:], torch.linspace(0, 1, steps))[0]
        with self._lock:
            return pictures.as_png(within(torch.from_numpy(rep.decode(path)), rep.spec))

    def _images_of(self, function: str, verb: str) -> Representation:
        rep = self.load()
        try:
            rep.require(function, verb)
        except UserError as problem:
            raise NotYet(str(problem)) from None
        if not rep.spec.modality.shows_pictures:
            raise NotYet(f"run: {rep.method_name} was trained on {rep.spec.modality.name} data, which has no pictures")
        return rep


def able(config: Config) -> list[str]:
    """Return which of "decode", "sample" the method of a run supports with the run's options.

    config: the run's.  Raises: UserError if this version does not have the method.
    """
    withheld = config.model.withheld
    capabilities = entry_of(config).capabilities
    return [name for capability, name in CAN.items() if capability in capabilities and name not in withheld]
