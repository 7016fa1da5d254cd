"""Embedding items into a store: only what is new, in parts that outlive a kill, by one process or by many shards.

What is new is cut into parts of equal size. A part is a file that appears whole, and so its own marker that it is done;
whoever finishes the last one brings all of them into the store at once, in the source's order.

    NAME.lance   .NAME.lance.lock   .NAME.lance.parts/  plan.json  000000-KEY.arrow ...  shard-2-of-8.done

The lock of the store is held while a plan is made and while parts are brought in; each shard of a plan has a lock of
its own. KEY is the plan's: a process never takes the parts of another plan for its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save

from salience.data import Dataset
from salience.data.equal_items import content_hashes
from salience.errors import UserError, naming
from salience.locks import hold
from salience.progress import progress_bar
from salience.representation import Representation, load
from salience.store.opening import class_of, open_store
from salience.store.parts import Incoming, Parts, remove_leftover, remove_parts, stored_names
from salience.store.store import Store
from salience.store_names import SUFFIX, kind_named, refuse_server
from salience.units import counted, printable

INDEXED = 100_000  # items from which an index is built; below it, looking at all of them takes milliseconds
COVERED = 0.9  # of the items, else the index is built again
SAMPLE = 100_000  # rows that the two directions of the first map are fitted to


@dataclass(frozen=True)
class Added:
    """What an embedding came to.

    new: items it had to embed;  left: of them, those of shards that are not done yet
    renamed: columns of a table that have another name in the store
    """

    store: Path
    new: int
    left: int
    renamed: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        renamed = [f"{printable(old)} is called {printable(new)}" for old, new in self.renamed.items()]
        return "\n".join([self._counts(), *(f"note: in the store the column {one}" for one in renamed)])

    def _counts(self) -> str:
        if self.left:
            done = self.new - self.left
            return (
                f"{self.store}: {done:,} of {counted(self.new, 'item')} are done, {self.left:,} left for other shards"
            )
        return f"{self.store}: {counted(self.new, 'new item')}" if self.new else f"{self.store}: nothing new"


def embed_into(
    rep: Representation, data: Dataset, path: Path, shard: tuple[int, int] = (1, 1), progress: bool = True
) -> Added:
    """Adds the items of `data` that the store at `path` does not hold yet, making it where it is not there.

    shard: (i, n), do the i-th of n shares, counting from 1
    Errors: UserError where the store holds embeddings of another run, or parts of another embedding are there.
    """
    weights, lock = weights_hash(rep), path.with_name(f".{path.name}.lock")
    existing(path, weights)  # refused before anything is computed
    hashes = content_hashes(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold(lock):
        parts = begun(rep, data, hashes, path, weights)
    if parts.count:
        parts.embed(rep, shard, progress)
    with hold(lock):
        left = ended(rep, parts, hashes, path, weights)
        if not left:
            finish(open_store(path), progress)
    names = stored_names(data.spec.modality.store_names(data.spec), parts.kind)
    renamed = {old: new for old, new in names.items() if old != new}
    return Added(path, len(parts.batch.rows), left, renamed)


def begun(rep: Representation, data: Dataset, hashes: np.ndarray, path: Path, weights: str) -> Parts:
    """The parts that are needed, none where the store holds all items; the folder is theirs. Needs the store's lock."""
    store, folder = existing(path, weights), path.with_name(f".{path.name}.parts")
    remove_leftover(folder, store)
    batch = Incoming.of(data, hashes, store)
    parts = Parts(folder, batch.plan(rep, weights), batch, kind_to_write(path))
    if parts.count:
        parts.begin()
    return parts


def ended(rep: Representation, parts: Parts, hashes: np.ndarray, path: Path, weights: str) -> int:
    """Brings the parts in where all are there. Needs the store's lock.  -> rows that are left for other shards

    Errors: UserError where the parts were removed by another process that did not bring them in.
    """
    store, about = existing(path, weights), about_data(rep, parts.batch.data, weights)
    if parts.count and parts.waiting:
        if left := parts.left():
            return left
        bring_in(path, store, parts, about)
        remove_parts(parts.folder)
    elif store is None or len(Incoming.of(parts.batch.data, hashes, store).rows):
        raise UserError(
            f"out: the parts of {path} were removed by another process while this one embedded; give the command again"
        )
    else:
        add_sources(store, about["sources"])
    return 0


def weights_hash(rep: Representation) -> str:
    """Equal for equal methods with equal weights: embeddings of one space."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in rep.method.state_dict().items()}
    return hashlib.sha256(rep.method_name.encode() + save(tensors)).hexdigest()


def places_of_run(store: Store, run: Path | str | None = None) -> list[Path]:
    """Where the run that made the store may be: where it is said to be, else where it was, here or beside the store."""
    known = store.about.get("run")
    if run is not None:
        return [Path(run)]
    return [Path(known), Path(store.uri).parent / known] if known else []


def representation_of(store: Store, run: Path | str | None = None) -> Representation:
    """What has made the store's embeddings.

    run: where it is, if not where it was then
    Errors: UserError where it is not there, or is another one.
    """
    places = places_of_run(store, run)
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        where = f"{places[0]} does not exist" if places else "the store does not say which run it is from"
        raise UserError(f"run: {where}; name the run's folder with --run")
    with naming("run", "run"):
        rep = load(found)
    if weights_hash(rep) != store.about["weights"]:
        raise UserError(f"run: {found} is not the run that {store.name} was embedded with; name that one with --run")
    return rep


def kind_to_write(path: Path) -> type[Store]:
    """The kind of store that the name of a new one stands for. Raises UserError where it is none."""
    refuse_server(path)
    kind = kind_named(path)
    if kind is None:
        raise UserError(f"out: '{path}' is not a store; name it NAME{SUFFIX}")
    return class_of(kind)


def existing(path: Path, weights: str) -> Store | None:
    """The store at `path`, None where there is none. Raises UserError where it cannot be added to."""
    kind = kind_to_write(path)
    if not path.exists() or kind.is_unfinished(path):
        return None
    with naming("out", "store"):
        store = open_store(path)
    if store.about["weights"] != weights:
        was = f"{store.about['method']} ({store.about['run'] or 'no run folder'})"
        raise UserError(
            f"out: {path} holds embeddings of another run, {was}, which are not comparable; name another store"
        )
    return store


def about_data(rep: Representation, data: Dataset, weights: str) -> dict[str, Any]:
    source = {"name": data.name, "split": data.split, "fingerprint": data.fingerprint, "rows": len(data)}
    return {
        "method": rep.method_name,
        "run": None if rep.run is None else str(rep.run),
        "weights": weights,
        "dim": rep.dim,
        "modality": data.spec.modality.name,
        "spec": rep.spec.to_dict(),
        "sources": [source],
    }


def bring_in(path: Path, store: Store | None, parts: Parts, about: dict[str, Any]) -> None:
    """All parts into the store, at once."""
    if store is None:
        parts.kind.create(path, parts.tables(), about)
    else:
        sources = named_once([*store.about["sources"], *about["sources"]])
        store.append(parts.tables(), sources, replace=parts.batch.replaced)


def add_sources(store: Store, sources: list[dict[str, Any]]) -> None:
    """Names those sources of the store's items that it does not name, after a kill between the items and their name."""
    known = {(one["name"], one["split"]) for one in store.about["sources"]}
    fresh = [one for one in sources if (one["name"], one["split"]) not in known]
    if fresh:
        store.write_sources(named_once([*store.about["sources"], *fresh]))


def named_once(sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a source that is named twice the last counts."""
    return list({(one["name"], one["split"]): one for one in sources}.values())


def finish(store: Store, progress: bool) -> None:
    """The first map, and for many items the index, where they are missing or old."""
    if "x" not in store.columns or np.isnan(store.column("x")).any():
        store.write_columns(coordinates(store))
    if len(store) >= INDEXED and store.indexed < COVERED * len(store):
        with progress_bar(None, "building the index", progress, ""):
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
