"""The state of the server: a store and the objects that work on it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from salience.errors import UserError
from salience.explorer import groups
from salience.explorer.answers import (
    Clusters,
    Found,
    Hit,
    Item,
    Outliers,
    Prediction,
    SearchBody,
    StoreAnswer,
)
from salience.explorer.answers import ColumnName as Column
from salience.explorer.classifier import COLUMNS, Classifier
from salience.explorer.items import COORDINATES, Items, to_json
from salience.explorer.jobs import Jobs
from salience.explorer.labelling import Labels
from salience.explorer.learning import Learner
from salience.explorer.media import Media
from salience.explorer.model import Model
from salience.explorer.points import MISSING, Columns, Live
from salience.explorer.refusals import Unknown
from salience.explorer.runs import FOLDER, Runs
from salience.label_files import MOST_DIGITS
from salience.store import Hits, Store
from salience.units import printable
from salience.verbs.search import read_vector

CONDITION = re.compile(r"[=<>]|\s(in|like|is|between|and|or|not)\s", re.IGNORECASE)


class Explorer:
    """A store with the objects that answer requests.

    run: folder of the run, if it has moved since the store was written;  runs: folder of runs to show
    `close` saves the predictions and stops the background jobs.
    """

    def __init__(self, store: Store, *, run: Path | None = None, runs: Path | None = None):
        self.store = store
        self.items = Items(store)
        self.labels = Labels(store.marks, self.items)
        self.classifier = Classifier(store, self.labels, Learner(store, self.items))
        live = {
            "marked": Live("category", lambda: self.labels.version, self.labels.encoded),
            "predicted": Live("category", self._learnt_version, lambda: self.classifier.learnt.encoded_predictions()),
            "confidence": Live("number", self._learnt_version, lambda: self.classifier.learnt.encoded_confidence()),
        }
        self.columns = Columns(store, live)
        self.jobs = Jobs(store, self._written)
        self.model = Model(store, run)
        self.media = Media(store, self.model, self.items)
        self.runs = Runs(runs or (FOLDER if FOLDER.is_dir() else None), self.model.folder)
        self.mark = secrets.token_hex(4)  # identifies this process, because versions start at 0 in every process
        self._clusters: tuple[int, Clusters] | None = None
        self._outliers: tuple[tuple[int, int], Outliers] | None = None

    def close(self) -> None:
        self.jobs.close()
        self.classifier.close()

    def refresh(self) -> None:
        """Read columns that another process has written. Items that it has added appear after a restart."""
        if self.store.refresh_columns():
            self.columns.changed(list(self.store.columns))

    def about(self) -> StoreAnswer:
        self.refresh()
        about = self.store.about
        listed = [Column(name=name, kind=kind) for name, kind in self.columns.listed().items()]
        return StoreAnswer(
            name=self.store.name,
            rows=self.items.n,
            dim=self.store.dim,
            modality=str(about.get("modality", "")),
            method=about.get("method"),
            run=about.get("run"),
            columns=listed,
            maps=self.columns.maps(),
            can=self.model.can,
            thumbnails=self.items.n > 0 and self.store.thumbnails([0])[0] is not None,
        )

    def item(self, row: int) -> Item:
        row = int(self.items.require([row])[0])
        id, learnt = self.items.ids_of(np.array([row]))[0], self.classifier.learnt
        code = int(learnt.predicted[row])
        live = {
            "marked": self.labels.now().labels.get(id),
            "predicted": None if code == MISSING else learnt.classes[code],
            "confidence": to_json(learnt.confidence[row]),
        }
        own = [name for name in self.store.columns if name not in {"id", *COORDINATES, *live}]
        image = self.store.thumbnails([row])[0] is not None
        media = self.media.kind
        return Item(row=row, id=id, image=image, media=media, columns={**self.items.columns_of(row, own), **live})

    def neighbours(self, row: int, k: int, where: str | None = None) -> list[Hit]:
        """Return the nearest neighbours of an item, without the item itself."""
        row = int(self.items.require([row])[0])
        found = self.store.search(self.store.vectors([row])[0], k + 1, where=where).without(row)
        return self.items.hits(Hits(found.rows[:k], found.distances[:k]))

    def search(self, body: SearchBody) -> Found:
        if body.text is not None:
            body = self.interpret(body)
        given = [name for name in ("row", "id", "vector") if getattr(body, name) is not None]
        if len(given) > 1:
            raise UserError(f"{', '.join(given)}: expected one of them, got {len(given)}; search by one")
        matching = None if body.where is None else self.where(body.where)
        row: int | None = None
        if body.vector is not None:
            hits = self.nearest(np.array(body.vector, np.float32), body.k, body.where)
        elif given:
            row = (body.row or 0) if body.id is None else int(self.items.rows_of([body.id])[0])
            hits = self.neighbours(row, body.k, body.where)
        else:
            rows = np.arange(self.items.n) if matching is None else matching
            hits = self.items.plain_hits(rows[: body.k])
        return Found(hits=hits, matching=None if matching is None else len(matching), row=row)

    def interpret(self, body: SearchBody) -> SearchBody:
        """Interpret a search text: first as an id, then as numbers in brackets, a row, a condition, words."""
        if body.row is not None or body.id is not None or body.vector is not None:
            raise UserError("text: cannot be combined with row, id or vector; search by one of them")
        text = (body.text or "").strip()
        near: dict[str, object] = {"text": None}
        if self.store.find(text) is not None:
            return body.model_copy(update=near | {"id": text})
        if text.startswith("["):
            return body.model_copy(update=near | {"vector": read_vector(text).tolist()})
        if text.isdecimal() and len(text) <= MOST_DIGITS:
            return body.model_copy(update=near | {"row": int(text)})
        if not self._is_condition(text):
            if (vector := self.model.embed_words(text)) is not None:
                return body.model_copy(update=near | {"vector": vector.tolist()})
            raise Unknown(f"id: there is no item '{printable(text[:80])}'")
        both = text if body.where is None else f"({text}) AND ({body.where})"
        return body.model_copy(update=near | {"where": both})

    def _is_condition(self, text: str) -> bool:
        """Return whether a search text is a condition; in a store of texts, words such as "and" are not enough."""
        if not CONDITION.search(text):
            return False
        if not self.model.takes_words:
            return True
        try:
            self.where(text)
        except UserError:
            return False
        return True

    def nearest(self, vector: np.ndarray, k: int, where: str | None) -> list[Hit]:
        if where is not None:
            self._keep_for(where)
        return self.items.hits(self.store.search(vector, k, where=where))

    def where(self, expression: str) -> np.ndarray:
        """Return the rows [m] that satisfy a condition on columns, including live columns."""
        self._keep_for(expression)
        return self.store.where(expression)

    def _keep_for(self, expression: str) -> None:
        if any(name in expression.lower() for name in COLUMNS):
            self.classifier.save_predictions()

    def predictions(self, x: np.ndarray) -> list[Prediction]:
        """Predict classes of embeddings [m d] with the live classifier."""
        import torch

        learnt = self.classifier.wait_for_newest()
        assert learnt.head is not None
        found = []
        for one in learnt.head.probabilities(torch.tensor(np.asarray(x, np.float32))).numpy():
            best = int(one.argmax())
            probabilities = dict(zip(learnt.classes, map(float, one), strict=True))
            found.append(
                Prediction(label=learnt.classes[best], confidence=float(one[best]), probabilities=probabilities)
            )
        return found

    def prediction_table(self) -> dict[str, Any]:
        """Return id, predicted and confidence of all items, from the current labels."""
        learnt = self.classifier.wait_for_newest()
        names = np.array(learnt.classes, object)
        ids = self.items.ids_of(np.arange(self.items.n))
        return {"item": ids, "predicted": names[learnt.predicted], "confidence": learnt.confidence}

    def clusters(self) -> Clusters:
        version = self.columns.version("cluster")
        if self._clusters is None or self._clusters[0] != version:
            self._clusters = version, groups.clusters_of(self.store)
        return self._clusters[1]

    def outliers(self) -> Outliers:
        version = self.columns.version("anomaly"), self.columns.version("duplicate_of")
        if self._outliers is None or self._outliers[0] != version:
            self._outliers = version, groups.outliers_of(self.store, self.items)
        return self._outliers[1]

    def _learnt_version(self) -> int:
        return self.classifier.learnt.version

    def _written(self, names: Iterable[str]) -> None:
        self.columns.changed(names)
