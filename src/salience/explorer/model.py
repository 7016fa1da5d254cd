"""The run behind a store, loaded when it is first needed: embeds what is new, rebuilds, draws, walks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from salience import catalogue
from salience.config import Config
from salience.errors import UserError, naming
from salience.explorer import pictures
from salience.explorer.refusals import NotYet
from salience.modalities import find
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
    """run: where it is, if not where it was when the store was written"""

    def __init__(self, store: Store, run: Path | None):
        self.store = store
        self.given = run
        self._rep: Representation | None = None
        self._refused = False
        self._lock = threading.RLock()  # one forward pass at a time: the processor is not shared among requests

    @property
    def folder(self) -> Path | None:
        """Where the run is; None where it is not to be found."""
        return next((place for place in places_of_run(self.store, self.given) if place.is_dir()), None)

    @property
    def can(self) -> list[str]:
        """ "embed", "decode", "sample"; nothing where there is no run, or another one."""
        folder = self.folder
        if folder is None or self._refused:
            return []
        try:
            if not find(str(self.store.about.get("modality"))).pictured:  # what is decoded is shown as pictures
                return ["embed"]
            return ["embed", *able(Run(folder).config)]
        except UserError:  # a method of another version, or a damaged folder
            return []

    def loaded(self) -> Representation:
        """Raises NotYet where the run is not there, or did not make this store."""
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
        """[1 d]"""
        with self._lock:
            rep = self.loaded()
            return np.asarray(rep.embed(pictures.opened(data, rep)), np.float32)

    def embed_rows(self, rows: Sequence[Sequence[Any]]) -> np.ndarray:
        """[m d] of rows of a table, in the order of its columns."""
        with self._lock:
            rep = self.loaded()
            names = rep.spec.modality.columns(rep.spec)
            if not names:
                raise UserError(
                    f"rows: {rep.method_name} was trained on {rep.spec.modality.name} data; send one item of it"
                )
            if not rows or any(len(row) != len(names) for row in rows):
                raise UserError(f"rows: give at least one, each of {counted(len(names), 'value')}: {', '.join(names)}")
            frame = pd.DataFrame([list(row) for row in rows], columns=names)
            with naming("rows", "source"):
                return np.asarray(rep.embed(rep.open(frame, progress=False)), np.float32)

    def rebuilt(self, rows: np.ndarray) -> list[list[str]]:
        """Each item's picture, and what its embedding decodes to, as PNG in base64."""
        rep = self._images_of("decode", "reconstruct")
        originals = self.store.thumbnails(rows)
        if None in originals:
            raise NotYet("rows: not all of these items have a picture in the store")
        with self._lock:
            made = within(torch.from_numpy(rep.decode(torch.tensor(self.store.vectors(rows)))), rep.spec)
        pairs = zip(originals, pictures.as_png(made), strict=True)
        return [[pictures.in_base64(original), made] for original, made in pairs if original is not None]

    def sampled(self, n: int, seed: int) -> list[str]:
        rep = self._images_of("sample", "sample")
        with self._lock:
            return pictures.as_png(within(torch.from_numpy(rep.sample(n, seed)), rep.spec))

    def walked(self, first: int, last: int, steps: int) -> list[str]:
        """Straight from one item's code to the other's, both among them."""
        rep = self._images_of("decode", "interpolate")
        ends = torch.tensor(self.store.vectors([first, last]))
        path = lerp(ends[:1], ends[1:], torch.linspace(0, 1, steps))[0]
        with self._lock:
            return pictures.as_png(within(torch.from_numpy(rep.decode(path)), rep.spec))

    def _images_of(self, function: str, verb: str) -> Representation:
        rep = self.loaded()
        try:
            rep.require(function, verb)
        except UserError as problem:
            raise NotYet(str(problem)) from None
        if not rep.spec.modality.pictured:
            raise NotYet(f"run: {rep.method_name} was trained on {rep.spec.modality.name} data, which has no pictures")
        return rep


def able(config: Config) -> list[str]:
    """ "decode", "sample", as far as the run's method can and its options left it.

    config: of the run.  Errors: UserError where this version knows no such method.
    """
    withheld = config.model.withheld
    capabilities = catalogue.find(config.model.method).capabilities
    return [name for capability, name in CAN.items() if capability in capabilities and name not in withheld]
