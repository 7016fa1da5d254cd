"""Items of a store that are nearly the same, by the angle between their embeddings.

Two items are near duplicates where their distance 1 - cos is within a threshold: by default a quarter of that at which
an item of this data usually finds its nearest neighbour, which is half of it as lengths go, |a - b|^2 = 2 (1 - cos).
Every pair is looked at, block by block.

Groups are stars: an item repeats the nearest item before it that repeats none itself, if that is within the threshold.
So every item that is flagged lies within the threshold of the one it names, which stays. Items that only a chain of
others connects do not repeat each other, and their pairs are called chained.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from salience.errors import UserError
from salience.progress import progress_bar
from salience.store import Store
from salience.units import check_real, counted
from salience.verbs.pictures import Strip, sheet
from salience.verbs.result import Result, finished, placed
from salience.verbs.stores import BLOCK, TILE, about_store, as_store, caption, sample_rows, thumbnails, unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

COLUMN = "duplicate_of"
MOST_ROWS = 200_000  # above it, duplicates are sought in a random part
MOST_PAIRS = 1_000_000  # above it, the search stops
PROBES = 1000  # items whose nearest neighbours set the threshold
LOOSEST = 0.15  # distance that the threshold is not above unless given
EQUAL = 1e-6  # distance within which vectors are the same but for rounding
ACROSS, DRAWN = 8, 24  # pairs in a row of the picture, and in all of it


@dataclass(frozen=True, eq=False)
class Pairs:
    """Of items nearly the same, the nearest first.

    first, second: [m] int64, rows, first < second;  distances: [m] float32;  complete: False where the search stopped
    """

    first: np.ndarray
    second: np.ndarray
    distances: np.ndarray
    complete: bool = True

    def __len__(self) -> int:
        return len(self.first)


def duplicates(
    store: Store | Path | str,
    threshold: float | None = None,
    out: Path | str | None = None,
    *,
    progress: bool = True,
) -> Result:
    """Find near-duplicates in a store, and write the id of the item that each one repeats to `duplicate_of`.

    An item repeats the nearest earlier item within the threshold that repeats none itself.

    Args:
        store: A store or its path.
        threshold: Largest cosine distance of near-duplicates. Default: estimated from nearest neighbours.
        out: New folder for duplicates.json, items.csv and, for images, picture.png. Default: nothing is written.

    Returns:
        Table: item, other, distance, relation; the nearest first. The relation is "repeats" if other is the repeated
        item, "same group" if both repeat the same item, "chained" if they belong to different groups.

    Raises:
        UserError: The threshold is not valid, or `out` exists.
    """
    threshold = None if threshold is None else check_real("threshold", threshold)
    if threshold is not None and not 0 <= threshold < 1:
        raise UserError(f"threshold: {threshold} is not valid; expected a distance in [0, 1), such as 0.01")
    with placed(out) as place:
        store = as_store(store)
        rows = sample_rows(store, MOST_ROWS)
        x = unit(store.vectors(rows))
        limit = usual_threshold(x) if threshold is None else max(threshold, EQUAL)
        found = near_pairs(x, limit, progress)
        del x
        found = Pairs(rows[found.first], rows[found.second], found.distances, found.complete)
        firsts = repeated_by(found, len(store))
        marked = np.flatnonzero(firsts != np.arange(len(store)))
        write(store, firsts, marked)
        chained = chained_items(found, firsts)
        counts = {"pairs": len(found), "duplicates": len(marked), "chained": len(chained)}
        result = Result(
            "duplicates",
            about_store(store, threshold=limit, **counts, column=COLUMN),
            said=tuple(explain(store, found, firsts, limit, len(rows), threshold is None)),
            table=table_of(store, found, firsts),
        )
        place.write(result, lambda: picture_of(store, found))
    return finished(result, out)


def usual_threshold(x: Tensor) -> float:
    """A quarter of the median distance of an item to its nearest neighbour that is not its equal.  x: [n d] unit"""
    import torch

    probes = x[torch.from_numpy(np.random.default_rng(0).permutation(len(x))[:PROBES])]
    nearest = torch.full((len(probes),), torch.inf)
    for block in x.split(BLOCK):
        distance = 1 - probes @ block.T
        nearest = nearest.minimum(distance.masked_fill(distance <= EQUAL, torch.inf).amin(1))
    finite = nearest[nearest.isfinite()]
    return float(np.clip(np.median(finite.numpy()) / 4, EQUAL, LOOSEST)) if len(finite) else EQUAL


def near_pairs(x: Tensor, limit: float, progress: bool = False) -> Pairs:
    """All pairs of rows within a distance.  x: [n d], of length 1"""
    import torch

    found, count = [], 0
    for i, j, distance in _close(x, limit, progress):
        found.append((i, j, distance))
        count += len(i)
        if count > MOST_PAIRS:
            break
    nothing = torch.empty(0, dtype=torch.int64)
    i, j, distance = (torch.cat(part) for part in zip((nothing, nothing, torch.empty(0)), *found, strict=True))
    order = torch.from_numpy(np.lexsort((j.numpy(), i.numpy(), distance.numpy())))
    return Pairs(i[order].numpy(), j[order].numpy(), distance[order].numpy(), count <= MOST_PAIRS)


def _close(x: Tensor, limit: float, progress: bool) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Block by block of the product x x^T above its diagonal."""
    import torch

    buffer = x.new_empty(min(len(x), BLOCK) ** 2)  # one buffer: fresh pages cost more than the product
    with progress_bar(len(x) * (len(x) + 1) // 2, "comparing", progress, "pairs") as bar:
        for top in range(0, len(x), BLOCK):
            for start in range(top, len(x), BLOCK):
                a, b = x[top : top + BLOCK], x[start : start + BLOCK]
                cosine = torch.mm(a, b.T, out=buffer[: len(a) * len(b)].view(len(a), len(b)))
                i, j = (cosine >= 1 - limit).nonzero(as_tuple=True)
                kept = i + top < j + start
                i, j = i[kept], j[kept]
                yield i + top, j + start, (1 - cosine[i, j]).clamp(min=0)
                bar.update(len(a) * len(b))


def repeated_by(found: Pairs, n: int) -> np.ndarray:
    """[n] int64: the row that each item repeats, its own where it repeats none.

    By rows in order: the nearest of the rows before it that are within the threshold and repeat none themselves, of
    equally near ones the first.
    """
    repeated = np.arange(n)
    order = np.lexsort((found.first, found.distances, found.second))
    for first, second in zip(found.first[order].tolist(), found.second[order].tolist(), strict=True):
        if repeated[second] == second and repeated[first] == first:
            repeated[second] = first
    return repeated


def relations(found: Pairs, repeated: np.ndarray) -> np.ndarray:
    """[m] of each pair: "repeats", "same group" or "chained".  repeated: [n]"""
    one, other = repeated[found.first], repeated[found.second]
    return np.select([other == found.first, one == other], ["repeats", "same group"], "chained")


def chained_items(found: Pairs, repeated: np.ndarray) -> np.ndarray:
    """Rows that repeat none, though they are within the threshold of an item of another group."""
    chained = relations(found, repeated) == "chained"
    rows = np.unique(np.concatenate([found.first[chained], found.second[chained]]))
    return rows[repeated[rows] == rows]


def write(store: Store, firsts: np.ndarray, marked: np.ndarray) -> None:
    values = np.full(len(store), None, object)
    if len(marked):
        values[marked] = store.column("id", firsts[marked])
    store.write_columns({COLUMN: values.tolist()})


def closest_pairs(store: Store, n: int = 24) -> list[tuple[int, int, float]]:
    """(row, row of the item it repeats, distance), the nearest first, as the column has them.

    Errors: UserError where there is no such column.
    """
    if COLUMN not in store.columns:
        raise UserError(
            f"store: {store.name} has no near-duplicates column yet; create it with: salience duplicates {store.uri}"
        )
    named = store.column(COLUMN)
    rows = np.flatnonzero(named != None)  # noqa: E711 - elementwise
    if not len(rows):
        return []
    wanted = set(named[rows])
    row_of = {id: row for row, id in enumerate(store.column("id")) if id in wanted}
    kept = [(row, row_of[named[row]]) for row in rows if named[row] in row_of]
    seconds, firsts = np.array(kept, np.int64).reshape(-1, 2).T
    import torch

    distances = [
        1 - torch.linalg.vecdot(unit(store.vectors(seconds[part])), unit(store.vectors(firsts[part])))
        for part in np.array_split(np.arange(len(kept)), -(-len(kept) // BLOCK))
    ]
    distance = torch.cat(distances).clamp(min=0).numpy()
    return [(int(seconds[at]), int(firsts[at]), float(distance[at])) for at in np.argsort(distance, kind="stable")[:n]]


def explain(
    store: Store, found: Pairs, repeated: np.ndarray, limit: float, searched: int, usual: bool
) -> Iterator[str]:
    marked = np.flatnonzero(repeated != np.arange(len(repeated)))
    groups, chained = len(np.unique(repeated[marked])), len(chained_items(found, repeated))
    pairs, of = counted(len(found), "pair"), counted(groups, "group")
    verb = "repeats" if len(marked) == 1 else "repeat"
    yield f"{pairs} within {limit:.4g}, {of}: {counted(len(marked), 'item')} {verb} an item within that distance"
    if chained:
        verb = "is" if chained == 1 else "are"
        yield (
            f"chained: {counted(chained, 'item')} {verb} near an item that repeats another, and not near that other; "
            "not counted as duplicates"
        )
    if usual:
        yield "threshold: a quarter of the distance at which an item usually finds its nearest neighbour"
    if searched < len(store):
        yield f"searched: {searched:,} of {len(store):,} items, drawn at random"
    if not found.complete:
        yield f"the search stopped after {MOST_PAIRS:,} pairs; give a smaller threshold"


def table_of(store: Store, found: Pairs, repeated: np.ndarray) -> pd.DataFrame:
    items, others = store.column("id", found.first), store.column("id", found.second)
    distances = found.distances.astype(np.float64).round(6)
    columns = {"item": items, "other": others, "distance": distances, "relation": relations(found, repeated)}
    return pd.DataFrame(columns)


def picture_of(store: Store, found: Pairs) -> Figure | None:
    """The nearest pairs, one above the other."""
    drawn: list[Strip] = []
    for start in range(0, min(DRAWN, len(found)), ACROSS):
        part = slice(start, min(start + ACROSS, DRAWN))
        above, below = thumbnails(store, found.first[part]), thumbnails(store, found.second[part])
        if above is None or below is None:
            return None
        labels = store.column("label", found.second[part]) if "label" in store.columns else [None] * len(below)
        captions = [caption(label, distance) for label, distance in zip(labels, found.distances[part], strict=True)]
        drawn += [Strip("item", above, apart=True), Strip("other", below, captions)]
    return sheet(drawn, f"{store.name}: items nearly the same", tile=TILE) if drawn else None
