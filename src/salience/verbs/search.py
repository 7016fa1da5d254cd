"""The items of a store nearest to a picture, to another item, or to a vector, by the angle between embeddings.

distance(a, b) = 1 - a.b / (|a| |b|)        from 0, the same direction, to 2, the opposite one
"""

from __future__ import annotations

import difflib
import json
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from salience.data.sources.arrays import load_npy
from salience.errors import UserError, naming
from salience.modalities import find
from salience.modalities.text.encodings import NotTextError, read_text
from salience.store import Hits, Store
from salience.units import check_whole, counted, printable
from salience.verbs.pictures import sheet
from salience.verbs.result import Result, finished, placed
from salience.verbs.stores import TILE, about_store, as_array, as_store, caption, strips, thumbnails

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from salience.representation import Representation

SHOWN = ("label", "marked", "cluster")  # columns that are told of a hit, where the store has them
SHORTENED = 100  # characters that are shown of a text
MOST_NAMES = 100_000  # items among whose ids the nearest to a mistyped one is sought


@dataclass(frozen=True, eq=False)
class Query:
    """What is searched for.  vector: [d];  row: of the item, where it is one;  picture: [3 h w], where there is one"""

    name: str
    vector: np.ndarray
    row: int | None = None
    picture: np.ndarray | None = None


def search(
    store: Store | Path | str,
    query: Any,
    k: int = 10,
    where: str | None = None,
    run: Representation | Path | str | None = None,
    out: Path | str | None = None,
) -> Result:
    """Find the items nearest to a query, the nearest first.

    Args:
        store: A store or its path.
        query: The id of an item; a file with one item, such as an image; words, in a
            store of texts; a vector [d], as an array, as text "[0.1,
            ...]" or in a .npy file; or an image, of PIL or as an array [h w], [c h w] or [h w c]. If an id and a file
            have the same name, it is the id. An item is not a result of its own search.
        k: Number of items to return.
        where: Condition on columns, such as "label = 'shirt' AND x > 0".
        run: The run that embedded the store, required for files and images. Default: its path at that time.
        out: New folder for search.json, items.csv and, for images, picture.png. Default: nothing is written.

    Returns:
        Table: rank, id, distance, and label, marked, cluster if the store has them.

    Raises:
        UserError: The query, the condition or the run is not valid; the message names the remedy.
    """
    check_whole("k", k, 1)
    with placed(out) as place:
        store = as_store(store)
        asked = understood(store, query, run)
        hits = store.search(asked.vector, k + (asked.row is not None), where=where)
        hits = first(hits if asked.row is None else hits.without(asked.row), k)
        result = Result(
            "search",
            about_store(store, query=asked.name, k=k, where=where),
            said=(explain(store, hits, asked, k, where),),
            table=table_of(store, hits),
        )
        place.write(result, lambda: picture_of(store, asked, hits))
    return finished(result, out)


def first(hits: Hits, k: int) -> Hits:
    return Hits(hits.rows[:k], hits.distances[:k])


def understood(store: Store, query: Any, run: Representation | Path | str | None = None) -> Query:
    """What a query means.  Errors: UserError that begins with "query: " where it means nothing."""
    if isinstance(query, Image.Image):
        return of_picture(store, query, run)
    if isinstance(query, str | Path):
        return of_text(store, query, run)
    values = np.asarray(query)
    if values.dtype.kind not in "biuf":
        raise UserError(f"query: {type(query).__name__} is not a query; give an id, a file, a vector or an image")
    if values.ndim == 0:
        return of_text(store, str(query), run)
    if values.ndim == 1 or (values.ndim == 2 and len(values) == 1):
        return Query(f"a vector of {values.size}", values.reshape(-1))
    return of_source(store, "an image", values[None], run)


def of_text(store: Store, query: str | Path, run: Representation | Path | str | None) -> Query:
    """An item's id, a file, or numbers in brackets."""
    text = str(query)
    row = store.find(text)
    if row is not None:
        pictures = thumbnails(store, [row])
        return Query(text, store.vectors([row])[0], row, None if pictures is None else pictures[0])
    if text.lstrip().startswith("["):
        return Query("a vector", read_vector(text))
    path = Path(text).expanduser()
    kind = kind_of(path)
    if kind == "file":
        if path.suffix.lower() == ".npy":
            return of_npy(store, path, run)
        if path.suffix.lower() == ".txt" and (words := words_of(store, read_file(path))) is not None:
            return of_source(store, text, words, run)
        return of_source(store, text, str(path), run)
    if kind == "folder":
        raise UserError(f"query: '{printable(text)}' is a folder; give a file of one item")
    if (words := words_of(store, text)) is not None:
        return of_source(store, text, words, run)
    raise UserError(f"query: '{printable(text[:80])}' is neither an item nor a file; {near(store, text)}")


def words_of(store: Store, text: str) -> Any:
    """A source of one item for words, where the store is of texts; None of other kinds of data."""
    name = store.about.get("modality")
    return find(str(name)).query(text) if name is not None and text.strip() else None


def kind_of(path: Path) -> str:
    """ "file", "folder", or "" for what is neither."""
    try:
        return "file" if path.is_file() else "folder" if path.is_dir() else ""
    except (OSError, ValueError):  # too long for a name
        return ""


def read_file(path: Path) -> str:
    """The text in a file. Raises UserError where it is none."""
    try:
        return read_text(path)[0]
    except NotTextError as reason:
        raise UserError(f"query: {path} {reason}; give a file of text") from None


def read_vector(text: str) -> np.ndarray:
    try:
        return np.array(json.loads(text), np.float64).reshape(-1)
    except (ValueError, TypeError):
        raise UserError(
            f"query: '{printable(text[:60])}' is not a vector; write numbers such as [0.1, -2, 3e-4]"
        ) from None


def near(store: Store, text: str) -> str:
    """What may have been meant."""
    names = list(store.column("id")) if len(store) <= MOST_NAMES else []
    close = difflib.get_close_matches(text, names, n=3)
    if close:
        return f"did you mean {' or '.join(map(printable, close))}?"
    example = store.column("id", [0])[0] if len(store) else "ID"
    return f"give the id of an item, such as {printable(example)}, a file, or a vector like [0.1, -2, ...]"


def of_npy(store: Store, path: Path, run: Representation | Path | str | None) -> Query:
    """One vector [d] or [1 d], or one image."""
    values = load_npy(path, "query")
    if values.ndim == 1 or (values.ndim == 2 and len(values) == 1):
        return Query(str(path), values.reshape(-1))
    return of_source(store, str(path), values[None] if len(values) > 1 else values, run)


def of_picture(store: Store, image: Image.Image, run: Representation | Path | str | None) -> Query:
    """By way of a file, so that it is read as those in the store were."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "query.png"
        image.save(path)
        return of_source(store, "an image", str(path), run)


def of_source(store: Store, name: str, source: Any, run: Representation | Path | str | None) -> Query:
    """One item that the store's run embeds. What is prepared of it is not kept."""
    rep = run_of(store, run)
    with tempfile.TemporaryDirectory() as cache, naming("query", "source"):
        data = rep.open(source, cache=cache, progress=False)
        if len(data) != 1:
            reason = f" ({data.bad[0].reason})" if data.bad else ""
            raise UserError(f"query: {printable(name)} holds {counted(len(data), 'item')}{reason}; give a file of one")
        vector = rep.embed(data)[0]
        unit = rep.unit(data.batch(np.array([0])))[0] if data.spec.modality.shows_pictures else None
    return Query(name, vector, None, unit if unit is None else as_colour(unit))


def as_colour(unit: Tensor) -> np.ndarray:
    """[c h w] -> [3 h w]"""
    return (unit if len(unit) == 3 else unit.mean(0, keepdim=True).expand(3, -1, -1)).numpy()


def run_of(store: Store, run: Representation | Path | str | None) -> Representation:
    """The representation that made the store. Raises UserError where it is another one."""
    from salience.store.embedding import representation_of, weights_hash  # here: searching by an item needs no torch

    if run is None or isinstance(run, str | Path):
        return representation_of(store, run)
    if weights_hash(run) != store.about["weights"]:
        raise UserError(f"run: {run!r} is not the run that {store.name} was embedded with; give that one")
    return run


def table_of(store: Store, hits: Hits) -> pd.DataFrame:
    columns: dict[str, Any] = {"rank": np.arange(1, len(hits) + 1), "id": store.column("id", hits.rows)}
    columns["distance"] = hits.distances.astype(np.float64).round(6)
    for name in SHOWN:
        if name in store.columns:
            values = store.column(name, hits.rows)
            if not pd.isna(values).all():
                columns[name] = pd.array(values, "Int64") if name == "cluster" else values
    for name in words_in(store):
        columns[name] = [textwrap.shorten(str(text), SHORTENED) for text in store.column(name, hits.rows)]
    return pd.DataFrame(columns)


def words_in(store: Store) -> list[str]:
    """Names of the columns that hold the texts themselves, of a store of texts."""
    if words_of(store, "-") is None:
        return []
    modality = find(str(store.about["modality"]))
    return [name for name in modality.text_columns if name in store.columns]


def as_list(result: Result) -> list[dict[str, Any]]:
    """The hits for programs: {"id", "distance", ...}, nearest first; null where a value is missing."""
    assert result.table is not None
    records = result.table.astype(object).where(result.table.notna(), None).to_dict("records")
    return [{str(key): value for key, value in record.items()} for record in records]


def explain(store: Store, hits: Hits, asked: Query, k: int, where: str | None) -> str:
    if len(hits):
        fewer = f"; no more than {len(hits)} satisfy the condition" if where is not None and len(hits) < k else ""
        return f"nearest to {printable(asked.name)}, by cosine distance{fewer}"
    others = "no other item" if asked.row is not None else "no item"
    return f"{others} satisfies: {printable(where)}" if where is not None else f"{store.name} holds {others}"


def picture_of(store: Store, asked: Query, hits: Hits) -> Figure | None:
    """The query, and below it the hits with what they are and how far."""
    shown = thumbnails(store, hits.rows) if len(hits) else None
    if shown is None:
        return None
    labels = store.column("label", hits.rows) if "label" in store.columns else [None] * len(hits)
    captions = [caption(label, distance) for label, distance in zip(labels, hits.distances, strict=True)]
    drawn = strips("nearest", shown, captions)
    if asked.picture is not None:
        height, width = shown.shape[2:]
        image = Image.fromarray((asked.picture.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))
        drawn = [*strips("query", as_array(image, (width, height))[None], [""]), *drawn]
    return sheet(drawn, f"{store.name}: nearest to {Path(asked.name).name}", tile=TILE)
