"""Which items of a store are outliers? Ranked by how far they are, by the angle, from the others nearest to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from salience.errors import UserError
from salience.evaluation.detection import auroc
from salience.store import Store
from salience.units import counted, printable
from salience.verbs.pictures import sheet
from salience.verbs.result import Result, finished, placed
from salience.verbs.stores import (
    TILE,
    about_store,
    as_store,
    caption,
    labels_of,
    strips,
    thumbnails,
    unit,
    unit_blocks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN = "anomaly"
MOST_OTHERS = 50_000  # items that others are compared with
COMPARED = 1024  # items at once
DRAWN, NAMED = 10, 5  # items at each end, in the picture; the strangest, in words


def rank_outliers(
    store: Store | Path | str, out: Path | str | None, held_out: str | None, k: int, progress: bool
) -> Result:
    """See `anomalies`, of a store. Writes the column `anomaly`."""
    with placed(out) as place:
        store = as_store(store)
        asked = None if held_out is None else of_class(store, held_out)
        others = reference(store, None if asked is None else asked.ordinary, k)
        values = distances(store, others, k, progress)
        store.write_columns({COLUMN: values.astype(np.float32)})
        order = np.argsort(-values, kind="stable")
        means = f"the mean cosine distance to the {'nearest other' if k == 1 else f'nearest {k} others'}"
        result = Result(
            "anomalies",
            about_store(store, score="neighbours", means=means, held_out=held_out, column=COLUMN),
            {} if asked is None else {"auroc": auroc(values[asked.labelled], asked.outlier[asked.labelled])},
            {"auroc": "AUROC"},
            tuple(explain(store, values, order, means, len(others), asked)),
            table_of(store, values, order),
        )
        place.write(result, lambda: picture_of(store, values, order))
    return finished(result, out)


@dataclass(frozen=True)
class HeldOut:
    """A class whose items count as outliers.

    labelled, outlier: [n] bool, the items with a label, and those of the class
    """

    name: str
    labelled: np.ndarray
    outlier: np.ndarray

    @property
    def ordinary(self) -> np.ndarray:
        """[n] bool. An item without a label may be of the class."""
        return self.labelled & ~self.outlier


def of_class(store: Store, held_out: str) -> HeldOut:
    """The items of the class, and the others."""
    labels, names = labels_of(store)
    if held_out not in names:
        known = ", ".join(printable(name) for name in names[:20]) or "none"
        raise UserError(f"held_out: {store.name} has no label '{printable(held_out)}'; its labels are: {known}")
    labelled, found = labels >= 0, labels == names.index(held_out)
    if found[labelled].all():
        raise UserError(f"held_out: {store.name} has items of '{held_out}' only; items of other classes are required")
    return HeldOut(held_out, labelled, found)


def reference(store: Store, is_ordinary: np.ndarray | None, k: int) -> np.ndarray:
    """The rows others are compared with, ascending: ordinary items, drawn at random where there are many.  [m]"""
    rows = np.arange(len(store)) if is_ordinary is None else np.flatnonzero(is_ordinary)
    if min(len(rows), MOST_OTHERS) <= k:
        raise UserError(f"k: {k} neighbours among {min(len(rows), MOST_OTHERS)} ordinary items; take fewer")
    if len(rows) <= MOST_OTHERS:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, MOST_OTHERS, replace=False))


def distances(store: Store, others: np.ndarray, k: int, progress: bool) -> np.ndarray:
    """[n] float64: the mean cosine distance to the k nearest of the others, an item's own left out."""
    import torch

    base = unit(store.vectors(others))
    own = np.full(len(store), -1)
    own[others] = np.arange(len(others))
    buffer = base.new_empty(COMPARED, len(base))
    parts = []
    for first, block in unit_blocks(store, "comparing", progress, COMPARED):
        cosine = torch.mm(block, base.T, out=buffer[: len(block)])
        here = own[first : first + len(block)]
        inside = np.flatnonzero(here >= 0)
        cosine[inside, here[inside]] = -torch.inf
        parts.append(1 - cosine.topk(k, dim=1).values.double().mean(1))
    return torch.cat(parts).clamp(min=0).numpy()


def explain(
    store: Store, values: np.ndarray, order: np.ndarray, means: str, others: int, asked: HeldOut | None
) -> Iterator[str]:
    yield f"score: {means}"
    if others < len(store) and asked is None:
        yield f"compared with {others:,} of {len(store):,} items, drawn at random"
    elif asked is not None:
        yield f"compared with {counted(others, 'item')}, none of '{printable(asked.name)}'"
        if not asked.labelled.all():
            yield unlabelled(int((~asked.labelled).sum()))
        yield f"note: whether the run was trained on items of '{printable(asked.name)}' is not known; it should not be"
    names = zip(store.column("id", order[:NAMED]), values[order[:NAMED]], strict=True)
    yield f"strangest: {', '.join(f'{printable(name)} ({value:.3g})' for name, value in names)}"


def unlabelled(count: int, *, compared: bool = False) -> str:
    """compared: ordinary items were given apart, and none of them is left out for want of a label"""
    left_out = "not judged" if compared else "neither judged nor compared with"
    return f"note: {counted(count, 'item')} without a label: ranked, {left_out}"


def table_of(store: Store, values: np.ndarray, order: np.ndarray) -> pd.DataFrame:
    columns: dict[str, Any] = {"rank": np.arange(1, len(order) + 1), "item": store.column("id")[order]}
    columns["score"] = values[order]
    if "label" in store.columns:
        columns["label"] = store.column("label")[order]
    return pd.DataFrame(columns)


def picture_of(store: Store, values: np.ndarray, order: np.ndarray) -> Figure | None:
    drawn = []
    for name, rows in (("most anomalous", order[: 2 * DRAWN]), ("least anomalous", order[::-1][:DRAWN])):
        x = thumbnails(store, rows)
        if x is None:
            return None
        labels = store.column("label", rows) if "label" in store.columns else [None] * len(rows)
        drawn += strips(name, x, [caption(label, value) for label, value in zip(labels, values[rows], strict=True)])
    return sheet(drawn, f"{store.name}: most and least anomalous items", tile=TILE)
