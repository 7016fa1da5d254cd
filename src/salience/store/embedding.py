"""Embedding items into a store: only what is new, in parts that outlive a kill, by one process or by many shards.

What is new is cut into parts of equal size. A part is a file that appears whole, and so its own marker that it is done;
whoever finishes the last one brings all of them into the store at once, in the source's order.

    NAME.lance   .NAME.lance.parts/  plan.json  00000.arrow 00001.arrow ...  shard-2-of-8.done
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from filelock import FileLock
from safetensors.torch import save

from salience.data import Dataset
from salience.data.duplicates import content_hashes
from salience.data.progress import progress_bar
from salience.errors import UserError, naming
from salience.files import atomic, write_text
from salience.modalities.image import thumbnail
from salience.representation import Representation, load
from salience.store.lance_store import ABOUT, FORMAT, HIDDEN, MARKED, LanceStore, lance_package
from salience.store.store import Store
from salience.store_names import SUFFIX, require_store
from salience.units import counted

PART = 4096  # rows; what a killed process loses of its work at most
SIDE = 96  # pixels, of a thumbnail's longer side at most
INDEXED = 100_000  # items from which an index is built; below it, looking at all of them takes milliseconds
COVERED = 0.9  # of the items, else the index is built again
SHOWN = 64  # columns of a table that are kept beside the vectors
SAMPLE = 100_000  # rows that the two directions of the first map are fitted to


@dataclass(frozen=True)
class Added:
    """What an embedding came to.  new: items it had to embed;  left: of them, those of shards that are not done yet"""

    store: Path
    new: int
    left: int

    def __str__(self) -> str:
        if self.left:
            return f"{self.store}: {counted(self.left, 'item')} left for other shards"
        return f"{self.store}: {counted(self.new, 'new item')}" if self.new else f"{self.store}: nothing new"


def embed_into(
    rep: Representation, data: Dataset, path: Path, shard: tuple[int, int] = (1, 1), progress: bool = True
) -> Added:
    """Adds the items of `data` that the store at `path` does not hold yet, making it where it is not there.

    shard: (i, n), do the i-th of n shares, counting from 1
    Errors: UserError where the store holds embeddings of another run, or parts of another embedding are there.
    """
    weights = weights_hash(rep)
    store = existing(path, weights)
    batch, folder = Incoming.of(data, store), path.with_name(f".{path.name}.parts")
    remove_leftover(folder, store)
    parts = Parts(folder, weights, batch) if len(batch.rows) else None
    if parts is not None:
        parts.embed(rep, shard, progress)
    lock = folder.with_suffix(".lock")
    with FileLock(lock):
        if parts is not None and parts.waiting:
            if left := parts.left():
                return Added(path, len(batch.rows), left)
            bring_in(path, existing(path, weights), parts, about_data(rep, data, weights))
            shutil.rmtree(folder)
        finish(LanceStore(path), progress)
        lock.unlink(missing_ok=True)
    return Added(path, len(batch.rows), 0)


def parse_shard(text: str) -> tuple[int, int]:
    """(2, 8) of "2/8"."""
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"shard: '{text}' is no share; write i/n with i from 1 to n, such as 2/8")
    return int(match[1]), int(match[2])


def weights_hash(rep: Representation) -> str:
    """Equal for equal methods with equal weights: embeddings of one space."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in rep.method.state_dict().items()}
    return hashlib.sha256(rep.method_name.encode() + save(tensors)).hexdigest()


def representation_of(store: Store, run: Path | str | None = None) -> Representation:
    """What has made the store's embeddings.

    run: where it is, if not where it was then
    Errors: UserError where it is not there, or is another one.
    """
    known = store.about.get("run")
    places = [Path(run)] if run is not None else [Path(known), Path(store.uri).parent / known] if known else []
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        where = f"{places[0]} does not exist" if places else "the store does not say which run it is from"
        raise UserError(f"run: {where}; name the run's folder with --run")
    with naming("run", "run"):
        rep = load(found)
    if weights_hash(rep) != store.about["weights"]:
        raise UserError(f"run: {found} is not the run that {store.name} was embedded with; name that one with --run")
    return rep


def existing(path: Path, weights: str) -> LanceStore | None:
    """The store at `path`, None where there is none. Raises UserError where it cannot be added to."""
    if path.suffix != SUFFIX:
        raise UserError(f"out: '{path}' is no store; name it NAME{SUFFIX}")
    if not path.exists() or (path.is_dir() and {entry.name for entry in path.iterdir()} <= {"data", "_transactions"}):
        return None  # or what a process left that was killed while it wrote the first version
    with naming("out", "store"):
        require_store(path)
        store = LanceStore(path)
    if store.about["weights"] != weights:
        was = f"{store.about['method']} ({store.about['run'] or 'no run folder'})"
        raise UserError(
            f"out: {path} holds embeddings of another run, {was}, and they cannot be compared; name another store"
        )
    return store


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
        name = f"{column.name}_" if column.name in (*HIDDEN, "id", "label", MARKED, "x", "y") else column.name
        if column.kind == "number":
            found[name] = pa.array(numbers, from_pandas=True)
        else:
            codes = np.where(np.isnan(numbers), len(column.categories), numbers).astype(int)
            found[name] = pa.array(np.array([*column.categories, None], object)[codes], pa.string())
    return found


def about_data(rep: Representation, data: Dataset, weights: str) -> dict[str, Any]:
    source = {"name": data.name, "split": data.split, "fingerprint": data.fingerprint, "rows": len(data)}
    return {
        "format": FORMAT,
        "method": rep.method_name,
        "run": None if rep.run is None else str(rep.run),
        "weights": weights,
        "dim": rep.dim,
        "modality": data.spec.modality,
        "spec": rep.spec.to_dict(),
        "sources": [source],
    }


def bring_in(path: Path, store: LanceStore | None, parts: Parts, about: dict[str, Any]) -> None:
    """All parts into the store, at once."""
    lance = lance_package()
    tables = parts.tables()
    first = next(tables)
    if store is None:
        schema = first.schema.with_metadata({ABOUT: json.dumps(about)})
        lance.write_dataset(batches(first, tables), str(path), schema=schema)
        return
    with store.writing():
        table = lance.dataset(str(path))
        reader = pa.RecordBatchReader.from_batches(first.schema, batches(first, tables))
        if parts.batch.replaced:
            table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(reader)
        else:
            lance.write_dataset(reader, str(path), mode="append")
        old = [
            one
            for one in store.about["sources"]
            if (one["name"], one["split"]) != (about["sources"][0]["name"], about["sources"][0]["split"])
        ]
        first_source = is_first(store, parts.batch.data)
        sources = [*about["sources"], *old] if first_source else [*old, *about["sources"]]
        lance.dataset(str(path)).update_schema_metadata(
            {ABOUT.decode(): json.dumps({**store.about, "sources": sources})}
        )


def batches(first: pa.Table, rest: Iterator[pa.Table]) -> Iterator[pa.RecordBatch]:
    yield from first.to_batches()
    for table in rest:
        yield from table.to_batches()


def finish(store: LanceStore, progress: bool) -> None:
    """The first map, and for many items the index, where they are missing or old."""
    if "x" not in store.columns or np.isnan(store.column("x")).any():
        store.write_columns(coordinates(store))
    if len(store) >= INDEXED and store.indexed < COVERED * len(store):
        with progress_bar(None, "building the index", progress):
            store.build_index()


def coordinates(store: Store) -> dict[str, np.ndarray]:
    """x and y [n]: the two leading principal components of the vectors, brought to length 1."""
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import normalize

    rows = np.random.default_rng(0).permutation(len(store))[:SAMPLE]
    plane = PCA(min(2, store.dim, len(rows)), svd_solver="full" if store.dim > 512 else "covariance_eigh")
    plane.fit(normalize(store.vectors(np.sort(rows))))
    placed = np.concatenate([plane.transform(normalize(block)) for block in store.blocks()])
    placed = np.pad(placed, ((0, 0), (0, 2 - placed.shape[1])))
    return {"x": placed[:, 0].astype(np.float32), "y": placed[:, 1].astype(np.float32)}
