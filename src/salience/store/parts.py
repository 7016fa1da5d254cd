"""The items an embedding adds, as parts: files beside the store, each of which appears whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from salience.data import Dataset
from salience.data.duplicates import content_hashes
from salience.data.progress import progress_bar
from salience.errors import UserError
from salience.files import atomic, write_text
from salience.modalities.image import thumbnail
from salience.representation import Representation
from salience.store.lance_store import HIDDEN, MARKED, LanceStore

PART = 1024  # rows; what a killed process loses of its work at most
SIDE = 96  # pixels, of a thumbnail's longer side at most
SHOWN = 64  # columns of a table that are kept beside the vectors
# Names of columns that are written here and by what looks for clusters, oddities and classes.
OURS = (
    *(*HIDDEN, MARKED, "id", "label", "x", "y", "umap_x", "umap_y"),
    *("cluster", "anomaly", "duplicate_of", "predicted", "confidence"),
)


@dataclass(frozen=True, eq=False)
class Incoming:
    """The items that are to be embedded.

    rows: [m] of `data`;  ids, contents: of those;  replaced: whether an id is in the store with another content
    """

    data: Dataset
    rows: np.ndarray
    ids: list[str]
    contents: np.ndarray
    replaced: bool

    @classmethod
    def of(cls, data: Dataset, store: LanceStore | None) -> Incoming:
        prefix = "" if store is None or is_first(store, data) else f"{data.name}:{data.split}/"
        # a file name that is no text keeps its place with a mark where a character was
        ids = [prefix + item.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for item in data.ids]
        contents = content_hashes(data)
        known = {} if store is None else dict(zip(*store.identities(), strict=True))
        rows = np.array([row for row, id in enumerate(ids) if known.get(id) != contents[row]], np.int64)
        chosen = [ids[row] for row in rows]
        return cls(data, rows, chosen, contents[rows], any(id in known for id in chosen))

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256("\n".join(self.ids).encode() + self.contents.tobytes()).hexdigest()


def is_first(store: LanceStore, data: Dataset) -> bool:
    """Whether these items are of the source the store began with, whose ids are kept as they are."""
    first = store.about["sources"][0]
    return (first["name"], first["split"]) == (data.name, data.split)


def remove_leftover(folder: Path, store: LanceStore | None) -> None:
    """Deletes the parts of a process that was killed after it had brought them into the store."""
    first = next(iter(sorted(folder.glob("*.arrow"))), None)
    if store is None or first is None:
        return
    with pa.memory_map(str(first)) as file:
        part = pa.ipc.open_file(file).read_all()
    known = dict(zip(*store.identities(), strict=True))
    if all(
        known.get(id) == content
        for id, content in zip(*part.select(["id", "content"]).to_pydict().values(), strict=True)
    ):
        shutil.rmtree(folder)


class Parts:
    """The parts of one embedding, in a folder beside the store.

    Errors: UserError where the folder holds those of another one.
    """

    def __init__(self, folder: Path, weights: str, batch: Incoming):
        self.folder = folder
        self.batch = batch
        self.count = -(-len(batch.rows) // PART)
        plan = {"weights": weights, "items": batch.fingerprint, "rows": len(batch.rows), "part": PART}
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "plan.json"
        if path.exists() and json.loads(path.read_text()) != plan:
            raise UserError(
                f"out: {folder} holds parts of another embedding that was not finished, of another run or before the "
                "source changed; finish that one, or remove the folder"
            )
        write_text(path, json.dumps(plan))

    def embed(self, rep: Representation, shard: tuple[int, int], progress: bool) -> None:
        """This shard's parts, those that are not there."""
        mine = range(shard[0] - 1, self.count, shard[1])
        with progress_bar(sum(map(self.rows_in, mine)), "embedding", progress) as bar:
            for number in mine:
                if not self.path(number).exists():
                    self._write(number, rep)
                bar.update(self.rows_in(number))
        write_text(self.folder / f"shard-{shard[0]}-of-{shard[1]}.done", "")

    @property
    def waiting(self) -> bool:
        """Whether they have not been brought in yet, by another shard."""
        return (self.folder / "plan.json").exists()

    def left(self) -> int:
        """Rows whose parts are not there."""
        return sum(self.rows_in(number) for number in range(self.count) if not self.path(number).exists())

    def path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.arrow"

    def rows_in(self, number: int) -> int:
        return min(PART, len(self.batch.rows) - number * PART)

    def tables(self) -> Iterator[pa.Table]:
        for number in range(self.count):
            with pa.memory_map(str(self.path(number))) as file:
                yield pa.ipc.open_file(file).read_all()

    def _write(self, number: int, rep: Representation) -> None:
        here = slice(number * PART, number * PART + self.rows_in(number))
        data = self.batch.data.subset(self.batch.rows[here])
        table = as_table(data, self.batch.ids[here], self.batch.contents[here], rep.embed(data))
        with atomic(self.path(number)) as temporary, pa.ipc.new_file(str(temporary), table.schema) as file:
            file.write_table(table)


def as_table(data: Dataset, ids: list[str], contents: np.ndarray, vectors: np.ndarray) -> pa.Table:
    """One row an item.  vectors: [n d]"""
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
    labels = np.full(len(data), None)
    if data.labels is not None:
        labels = np.array([*data.classes, None], object)[data.labels]
    columns = {
        "id": pa.array(ids, pa.string()),
        "label": pa.array(labels, pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        "content": pa.array(contents, pa.uint64()),
    }
    if data.spec.modality == "image":
        columns["thumbnail"] = pa.array([png(data, row) for row in range(len(data))], pa.binary())
    return pa.table(columns | table_columns(data))


def png(data: Dataset, row: int) -> bytes:
    image, file = thumbnail(data, row), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(file, "PNG", compress_level=3)
    return file.getvalue()


def table_columns(data: Dataset) -> dict[str, pa.Array]:
    """The columns of a table as they were, for looking and for filtering; those of a very wide one are left out."""
    if data.spec.modality != "table" or len(data.spec.columns) > SHOWN:
        return {}
    values, found = np.asarray(data.x, np.float64), {}
    for column, numbers in zip(data.spec.columns, values.T, strict=True):
        name = f"{column.name}_" if column.name in OURS else column.name
        if column.kind == "number":
            found[name] = pa.array(numbers, from_pandas=True)
        else:
            codes = np.where(np.isnan(numbers), len(column.categories), numbers).astype(int)
            found[name] = pa.array(np.array([*column.categories, None], object)[codes], pa.string())
    return found
