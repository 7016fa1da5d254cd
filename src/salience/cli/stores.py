"""The verbs that work on a store of embeddings. What they find is written back to it as columns."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from salience.cli.derived import folder_for, show
from salience.cli.options import Clusters, Hits, Json, Out, Seed, Threshold
from salience.cli.output import output_kept_for, print_json, print_text, table
from salience.units import printable

if TYPE_CHECKING:
    from salience.verbs.result import Result

StorePath = Annotated[Path, Parameter(help="A store, NAME.lance, written by `embed`.")]
LINES = 20  # of a table, on a terminal


def search(
    store: StorePath,
    query: str,
    /,
    *,
    k: Annotated[Hits, Parameter(name=["-k", "--k"])] = 10,
    where: str | None = None,
    run: Path | None = None,
    out: Annotated[
        Path | None,
        Parameter(help="New folder for the results. Default: runs/search-N; with --json no folder is written."),
    ] = None,
    json: Json = False,
) -> int:
    """Find the items nearest to an image, to another item, or to a vector.

    Parameters
    ----------
    query
        A file with one item, the id of an item, a vector such as "[0.1, -2]", or a .npy file with a vector.
    where
        Condition on the items, such as "label = 'shirt' AND x > 0".
    run
        The run that embedded the store, if it has moved. It embeds a file.
    """
    from salience.verbs.search import as_list
    from salience.verbs.search import search as verb

    with output_kept_for(json):
        found = verb(store, query, k, where, run, out if json else folder_for(out, "search"))
    return print_json(as_list(found)) if json else _show(found, k)


def cluster(
    store: StorePath,
    /,
    *,
    method: Literal["kmeans", "gmm", "hdbscan"] = "kmeans",
    k: Annotated[Clusters | None, Parameter(name=["-k", "--k"])] = None,
    out: Out = None,
    seed: Seed = 0,
    json: Json = False,
) -> int:
    """Cluster the items of a store, and write the clusters to its column `cluster`.

    Parameters
    ----------
    method
        k-means, a Gaussian mixture, or HDBSCAN, which leaves some items without a cluster.
    """
    from salience.verbs.cluster import cluster as verb

    with output_kept_for(json):
        found = verb(store, method, k, folder_for(out, "cluster"), seed=seed)
    return show(found, json) if json else _show(found, found.about["clusters"])


def duplicates(store: StorePath, /, *, threshold: Threshold | None = None, out: Out = None, json: Json = False) -> int:
    """Find near-duplicates in a store, and write the item that each one repeats to the column duplicate_of."""
    from salience.verbs.duplicates import duplicates as verb

    with output_kept_for(json):
        found = verb(store, threshold, folder_for(out, "duplicates"))
    return show(found, json) if json else _show(found)


def _show(found: Result, lines: int = LINES) -> int:
    """The figures and what they mean, then the first lines of the table."""
    said = [found.text()]
    if found.table is not None and len(found.table):
        said += ["", table([*map(str, found.table)], map(_cells, found.table.head(lines).itertuples(index=False)))]
        said += [f"and {len(found.table) - lines:,} more"] * (len(found.table) > lines)
    return print_text("\n".join(said))


def _cells(row: Iterable[object]) -> list[str]:
    return ["-" if _missing(v) else f"{v:.4f}" if isinstance(v, float) else printable(str(v)) for v in row]


def _missing(value: object) -> bool:
    return value is None or str(value) in ("nan", "<NA>")
