"""What a reader can look at: nearest neighbours as pictures, a projection to the plane, the course of the training."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch

from salience.data import Dataset
from salience.errors import Note
from salience.evaluation.report import Gallery
from salience.evaluation.row_choice import labels_of
from salience.evaluation.split import sample
from salience.measures.knn import neighbours
from salience.run_metrics import read_numbers
from salience.untrusted import Damaged

QUERIES = 8
SHOWN = 8  # neighbours of each query


def project(x: np.ndarray) -> np.ndarray:
    """The two leading principal components.  x: [n d] -> [n 2]"""
    centred = np.asarray(x, np.float64) - x.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    plane = centred @ directions[:2].T
    return np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))


def neighbour_gallery(
    train: Dataset | None, test: Dataset, x: np.ndarray | None, held: np.ndarray, *, classes: bool = True
) -> Gallery | None:
    """Test items of different classes with their nearest training items; without labels, among themselves.

    x: [n d], held: [m d] features of train and test; None for tables, and where there are too few rows
    classes: whether labels are classes, which frames compare
    """
    alone = train is None or x is None
    base, known = (test, held) if train is None or x is None else (train, x)
    k = min(SHOWN, len(base) - 1)
    if not test.spec.modality.shows_pictures or k < 1:
        return None
    queries = spread(test.labels if classes else None, len(test))
    similar = neighbours(torch.from_numpy(held[queries]).float(), torch.from_numpy(known).float(), k + alone)
    found = torch.cat([rows for _, rows in similar]).numpy()
    if alone:  # a query's first neighbour is itself, or its twin
        found = found[:, 1:]
    shown = list(zip(queries, found, strict=True))
    images = np.stack([np.concatenate([pictures(test, [query]), pictures(base, rows)]) for query, rows in shown])
    labels = np.stack([np.append(labels_of(test)[query], labels_of(base)[rows]) for query, rows in shown])
    return Gallery(images, labels if classes else np.full_like(labels, -1))


def spread(labels: np.ndarray | None, n: int) -> np.ndarray:
    """Rows to show, one of each class before a second of any.  -> [<= QUERIES]"""
    order = np.random.default_rng(0).permutation(n)
    if labels is None:
        return order[:QUERIES]
    firsts = [order[np.flatnonzero(labels[order] == label)[0]] for label in np.unique(labels)]
    rest = order[~np.isin(order, firsts)]
    return np.concatenate([sample(np.array(firsts), QUERIES), rest])[:QUERIES]


def pictures(data: Dataset, rows: np.ndarray | list[int]) -> np.ndarray:
    """[n c h w] on [0, 1]"""
    modality = data.spec.modality
    return modality.clip(modality.unit(data.batch(np.asarray(rows)).x, data.spec)).numpy()


def training_curves(run: Path | None) -> dict[str, np.ndarray]:
    """The numeric columns of metrics.csv with two points or more, `step` among them; empty where there is none."""
    if run is None:
        return {}
    try:
        columns = read_numbers(Path(run) / "metrics.csv")
    except Damaged as problem:
        warnings.warn(
            f"{run}: metrics.csv is damaged ({problem}); the report has no training curves", Note, stacklevel=2
        )
        return {}
    return {name: values for name, values in columns.items() if np.isfinite(values).sum() > 1}
