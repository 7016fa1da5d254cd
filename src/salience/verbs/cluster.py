"""Groups of alike items in a store, found without a label: k-means, a mixture of Gaussians, or HDBSCAN.

On embeddings brought to length 1, so that Euclidean distance orders items as the angle does: |a - b|^2 = 2 - 2 a.b.
Mixture and HDBSCAN work in the leading principal components. Where there are more items than a method is fitted to, it
is fitted to some drawn at random, and the others go where they fit: to the nearest centre, the likeliest Gaussian, the
cluster of the nearest fitted item.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from salience.drawing import drawable
from salience.errors import UserError
from salience.evaluation.clustering import clustering_metrics
from salience.evaluation.thread_limit import threads_for
from salience.progress import progress_bar
from salience.store import Store
from salience.units import are, check_seed, check_whole, counted
from salience.verbs.pictures import sheet
from salience.verbs.result import Result, finished, placed
from salience.verbs.stores import (
    TILE,
    about_store,
    as_store,
    labels_of,
    sample_rows,
    strips,
    thumbnails,
    unit,
    unit_blocks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN = "cluster"
FITTED = {"kmeans": 50_000, "gmm": 50_000, "hdbscan": 20_000}  # items at most
TRIED = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30)  # clusters, where it is not said how many
TRIAL = 3000  # items they are tried on
REDUCED = 16  # principal components
SMALLEST = 5  # items of a cluster of HDBSCAN, or a 200th of all
SHOWN = 8  # items that stand for a cluster
DRAWN = 20  # clusters in the picture
PLOTTED = 20_000  # points, where there are no pictures
MOST_CLASSES = 1000  # labels that clusters are compared with
UNITS = {"accuracy": "accuracy", "nmi": "NMI", "ari": "ARI"}

Assign = Callable[[np.ndarray], np.ndarray]  # unit vectors [m d] -> clusters [m], -1 where in none


@dataclass(frozen=True)
class Grouping:
    """assign: what goes where;  k: clusters there can be;  chosen: how k was found"""

    assign: Assign
    k: int
    chosen: str


def cluster(
    store: Store | Path | str,
    method: str = "kmeans",
    k: int | None = None,
    out: Path | str | None = None,
    *,
    seed: int = 0,
    progress: bool = True,
) -> Result:
    """Cluster the items of a store, and write the clusters to its column `cluster`; 0 is the largest.

    Args:
        store: A store or its path.
        method: "kmeans", "gmm" (Gaussian mixture) or "hdbscan", which leaves some items without a cluster.
        k: Number of clusters. Default: the number with the best silhouette (kmeans) or the lowest BIC (gmm). HDBSCAN
            chooses it.
        seed: Random seed.
        out: New folder for cluster.json, items.csv and picture.png. Default: nothing is written.

    Returns:
        Table: cluster, size, and with labels the most common one and its share. Figures: accuracy under the best
        one-to-one matching, NMI and ARI with the labels, and those of shuffled clusters.

    Raises:
        UserError: The method is unknown, or there are fewer items than clusters.
    """
    if method not in FITTED:
        raise UserError(f"method: '{method}' is not one of {', '.join(FITTED)}")
    k, seed = _number_asked_for(method, k), check_seed(seed)
    with placed(out) as place:
        store = as_store(store)
        _require(store, k)
        rows = sample_rows(store, FITTED[method], seed)
        with threads_for(len(rows) * store.dim):
            with progress_bar(None, "finding groups", progress, ""):
                grouping = METHODS[method](unit(store.vectors(rows)).numpy(), k, seed)
            blocks = unit_blocks(store, "assigning", progress)
            found = by_size(np.concatenate([grouping.assign(block.numpy()) for _, block in blocks]))
        store.write_columns({COLUMN: numbers(found)})
        groups = summary(store, progress)
        figures, notes = against_labels(store, found)
        result = Result(
            "cluster",
            about_store(store, algorithm=method, clusters=len(groups), fitted=len(rows), column=COLUMN),
            figures,
            UNITS,
            (*_explain(store, found, grouping, len(rows)), *notes),
            _table(groups),
        )
        place.write(result, lambda: picture_of(store, groups, found))
    return finished(result, out)


def _number_asked_for(method: str, k: int | None) -> int | None:
    if k is None:
        return None
    if method == "hdbscan":
        raise UserError("k: hdbscan chooses the number of clusters; leave this option out, or use kmeans or gmm")
    return check_whole("k", k, 2)


def _require(store: Store, k: int | None) -> None:
    if len(store) < 3:
        raise UserError(f"store: {store.name} holds {counted(len(store), 'item')}; three or more can be clustered")
    if k is not None and k >= len(store):
        raise UserError(f"k: {k} clusters of {len(store):,} items; take from 2 to {len(store) - 1:,}")


# --- methods: unit vectors [n d], clusters asked for, seed -> Grouping ----------------------------------------------


def _kmeans(x: np.ndarray, k: int | None, seed: int) -> Grouping:
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    def fitted(points: np.ndarray, clusters: int) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of fewer distinct items than clusters: the sizes show it
            return KMeans(clusters, n_init=3, random_state=seed).fit(points)

    def quality(points: np.ndarray, clusters: int) -> float:
        labels = fitted(points, clusters).labels_
        return float(silhouette_score(points, labels)) if len(np.unique(labels)) > 1 else -1.0

    chosen = "as asked for"
    if k is None:
        k, score, tried = _best(_reduction(x)(x), quality, seed)
        chosen = f"the best silhouette, {score:.2f}, {tried}"
    return Grouping(fitted(x, k).predict, k, chosen)


def _gmm(x: np.ndarray, k: int | None, seed: int) -> Grouping:
    from sklearn.mixture import GaussianMixture

    def fitted(points: np.ndarray, clusters: int) -> Any:
        enough = len(points) >= 10 * points.shape[1] * clusters
        kind = "full" if enough else "diag"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a fit that was not finished after 200 steps
            mixture = GaussianMixture(clusters, covariance_type=kind, reg_covar=1e-4, max_iter=200, random_state=seed)
            return mixture.fit(points)

    reduce, chosen = _reduction(x), "as asked for"
    points = reduce(x)
    if k is None:
        k, score, tried = _best(points, lambda some, clusters: -fitted(some, clusters).bic(some), seed)
        chosen = f"the lowest BIC, {-score:,.0f}, {tried}"
    mixture = fitted(points, k)
    return Grouping(lambda block: mixture.predict(reduce(block)), k, chosen)


def _hdbscan(x: np.ndarray, k: int | None, seed: int) -> Grouping:
    import torch
    from sklearn.cluster import HDBSCAN

    reduce = _reduction(x)
    points = reduce(x)
    smallest = max(SMALLEST, len(x) // 200)
    labels = HDBSCAN(min_cluster_size=min(smallest, len(x)), min_samples=min(SMALLEST, len(x)), copy=True).fit_predict(
        points
    )
    base = torch.from_numpy(points)

    def assign(block: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(reduce(block)).split(1024)
        nearest = [torch.cdist(part, base).argmin(1) for part in parts]
        return labels[torch.cat(nearest).numpy()] if nearest else np.empty(0, np.int64)

    return Grouping(assign, int(labels.max()) + 1, f"dense regions of {smallest} items or more")


METHODS: dict[str, Callable[[np.ndarray, int | None, int], Grouping]] = {
    "kmeans": _kmeans,
    "gmm": _gmm,
    "hdbscan": _hdbscan,
}


def _reduction(x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Onto the leading principal components, in such a unit that their mean variance is 1.  [m d] -> [m r] float32"""
    from sklearn.decomposition import PCA

    components = min(REDUCED, x.shape[1], len(x) - 1)
    plane = PCA(components, svd_solver="full" if x.shape[1] > 2 * len(x) else "covariance_eigh").fit(x)
    scale = float(np.sqrt(max(float(np.mean(plane.explained_variance_)), 1e-12)))
    return lambda block: (plane.transform(block) / scale).astype(np.float32)


def _best(points: np.ndarray, quality: Callable[[np.ndarray, int], float], seed: int) -> tuple[int, float, str]:
    """The number of clusters of the highest quality on a sample, that quality, and among which."""
    some = points[np.random.default_rng(seed).permutation(len(points))[:TRIAL]]
    tried = [k for k in TRIED if k < len(some)]
    scores = [quality(some, k) for k in tried]
    best = int(np.argmax(scores))
    return tried[best], scores[best], f"of {tried[0]} to {tried[-1]}, on {len(some):,} items"


# --- what was found -------------------------------------------------------------------------------------------------


def by_size(found: np.ndarray) -> np.ndarray:
    """Clusters numbered anew, 0 the largest; -1 stays.  [n] -> [n] int64"""
    sizes = np.bincount(found[found >= 0]) if (found >= 0).any() else np.empty(0, int)
    order = np.argsort(-sizes, kind="stable")
    number = np.empty(len(sizes) + 1, np.int64)
    number[order], number[-1] = np.arange(len(sizes)), -1
    return number[found]


def numbers(found: np.ndarray) -> np.ndarray | list[int | None]:
    """Clusters as a column of whole numbers, missing where an item is in none."""
    if (found < 0).all():
        return np.full(len(found), np.nan)
    return [None if one < 0 else one for one in found.tolist()]


def clusters_of(store: Store) -> np.ndarray:
    """[n] int64 from the column, -1 where an item is in none.  Errors: UserError where there is no such column."""
    if COLUMN not in store.columns:
        raise UserError(f"store: {store.name} has no clusters yet; find them with: salience cluster {store.uri}")
    values = store.column(COLUMN)
    return np.where(np.isnan(values), -1, values).astype(np.int64)


def summary(store: Store, progress: bool = False) -> list[dict[str, Any]]:
    """Of each cluster: {"cluster", "size", "rows": at most 8, nearest to the centre first, "label", "share"}

    label: the most common one, None where none has one;  share: of the items that have a label, those that have it
    """
    found = clusters_of(store)
    count = int(found.max(initial=-1)) + 1
    likeness = _likeness(store, found, count, progress)
    labels, names = labels_of(store)
    order = np.lexsort((-likeness, found))
    ends = np.searchsorted(found[order], np.arange(count + 1))
    return [
        {"cluster": number, "size": int(end - start), "rows": order[start:end][:SHOWN].tolist()}
        | _commonest(labels[order[start:end]], names)
        for number, (start, end) in enumerate(pairwise(ends))
        if end > start
    ]


def _likeness(store: Store, found: np.ndarray, count: int, progress: bool) -> np.ndarray:
    """[n] float32: each item's cosine to the centre of its cluster."""
    import torch

    centres = torch.zeros(count + 1, store.dim)  # the last of items in no cluster
    own = torch.from_numpy(np.where(found < 0, count, found))
    for first, block in unit_blocks(store, "centres", progress):
        centres.index_add_(0, own[first : first + len(block)], block)
    centres = torch.nn.functional.normalize(centres, dim=1)
    parts = [
        torch.linalg.vecdot(block, centres[own[first : first + len(block)]])
        for first, block in unit_blocks(store, "representatives", progress)
    ]
    return torch.cat(parts).numpy() if parts else np.empty(0, np.float32)


def _commonest(labels: np.ndarray, names: list[str]) -> dict[str, Any]:
    counts = np.bincount(labels[labels >= 0], minlength=1)
    if not counts.sum():
        return {"label": None, "share": None}
    return {"label": names[int(counts.argmax())], "share": float(counts.max() / counts.sum())}


def against_labels(store: Store, found: np.ndarray) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Figures of the clusters and of the same shuffled, over items that have a label; and what to know of them."""
    labels, names = labels_of(store)
    if len(names) < 2:
        return {}, ()
    if len(names) > MOST_CLASSES:
        return {}, (f"not compared with the {len(names):,} labels: there are too many for classes",)
    has = labels >= 0
    groups = np.where(found < 0, found.max(initial=0) + 1, found)[has]
    shuffled = np.random.default_rng(0).permutation(groups)
    figures = {name: clustering_metrics(one, labels[has]) for name, one in (("clusters", groups), ("chance", shuffled))}
    note = "accuracy: a cluster counts as at most one of the labels; chance: the same clusters, shuffled"
    return figures, (note, *["items in no cluster count as one more"] * bool((found < 0).any()))


def _explain(store: Store, found: np.ndarray, grouping: Grouping, fitted: int) -> Iterable[str]:
    count, none = len(np.unique(found[found >= 0])), int((found < 0).sum())
    yield f"{counted(count, 'cluster')}: {grouping.chosen}"
    if fitted < len(store):
        yield f"fitted to {fitted:,} of {len(store):,} items drawn at random; the others were assigned to clusters"
    if none:
        yield f"{counted(none, 'item')} ({none / len(store):.0%}) {are(none)} in no cluster"


def _table(groups: list[dict[str, Any]]) -> pd.DataFrame:
    names = ["cluster", "size", *(["label", "share"] if any(one["label"] is not None for one in groups) else [])]
    return pd.DataFrame([{name: one[name] for name in names} for one in groups], columns=names)


def picture_of(store: Store, groups: list[dict[str, Any]], found: np.ndarray) -> Figure | None:
    """The items nearest to the centres; where items have no pictures, the map."""
    largest = sorted(groups, key=lambda one: -one["size"])[:DRAWN]
    drawn = []
    for one in largest:
        x = thumbnails(store, one["rows"])
        if x is None:
            return map_of(store, found)
        label = "" if one["label"] is None else f", {one['label']} {one['share']:.0%}"
        drawn += strips(f"{one['cluster']}: {one['size']:,}{label}", x, (), SHOWN)
    more = f", the largest {DRAWN} of {len(groups)}" if len(groups) > DRAWN else ""
    return sheet(drawn, f"{store.name}: clusters{more}", tile=TILE // 2) if drawn else None


def map_of(store: Store, found: np.ndarray) -> Figure | None:
    """Items where they lie in the plane, coloured by cluster."""
    if {"x", "y"} - set(store.columns):
        return None
    from matplotlib.figure import Figure

    rows = sample_rows(store, PLOTTED)
    x, y, groups = store.column("x", rows), store.column("y", rows), found[rows]
    figure = Figure(figsize=(6.5, 6), layout="constrained")
    axes = figure.subplots()
    axes.scatter(x[groups < 0], y[groups < 0], s=3, c="lightgrey", linewidths=0)
    inside = groups >= 0
    axes.scatter(x[inside], y[inside], s=3, c=groups[inside], cmap="tab20", linewidths=0)
    for number in np.unique(groups[inside])[:DRAWN]:
        here = groups == number
        axes.text(np.median(x[here]), np.median(y[here]), str(number), fontsize=8, ha="center", va="center")
    axes.set_title(drawable(f"{store.name}: clusters on the first two principal components"), fontsize=10)
    axes.set_axis_off()
    return figure
