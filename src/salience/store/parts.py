"""The items an embedding adds, as parts: files beside the store, each of which appears whole or not at all.

Parts belong to a plan, which names the run, its weights and the source. A part's file carries the plan's key in its
name, so that a process that has slept while the folder passed to another embedding cannot mix its parts with theirs.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from salience.data import Dataset
from salience.errors import UserError
from salience.files import atomic, remove_leftovers, write_text
from salience.locks import hold
from salience.progress import progress_bar
from salience.representation import Representation
from salience.store.store import HIDDEN, MARKED, Store

PLAN = "plan.json"
IDENTITY = ("weights", "items", "labels", "rows", "part")  # of a plan; its other values are for people to read
PART = 1024  # rows; what a killed process loses of its work at most
# Names of columns that are written here and by what looks for clusters, outliers and classes.
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
    def of(cls, data: Dataset, hashes: np.ndarray, store: Store | None) -> Incoming:
        """Those of `data` that the store does not hold.  hashes: [n] uint64, of the content of each"""
        prefix = "" if store is None or is_first(store, data) else f"{data.name}:{data.split}/"
        # a file name that is no text keeps its place with a mark where a character was
        ids = [prefix + item.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for item in data.ids]
        known = {} if store is None else dict(zip(*store.identities(), strict=True))
        rows = np.array([row for row, id in enumerate(ids) if known.get(id) != hashes[row]], np.int64)
        chosen = [ids[row] for row in rows]
        return cls(data, rows, chosen, hashes[rows], any(id in known for id in chosen))

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256("\n".join(self.ids).encode() + self.contents.tobytes()).hexdigest()

    @property
    def labels(self) -> str:
        """Equal where the items have the same labels."""
        known = self.data.labels
        codes = b"" if known is None else known[self.rows].tobytes()
        return hashlib.sha256("\n".join(self.data.classes).encode() + codes).hexdigest()

    def plan(self, rep: Representation, weights: str) -> dict[str, Any]:
        """What the parts of these items belong to: the run, its weights, the source, the items."""
        data = self.data
        return {
            "run": None if rep.run is None else str(rep.run),
            "method": rep.method_name,
            "weights": weights,
            "source": {"name": data.name, "split": data.split, "fingerprint": data.fingerprint},
            "items": self.fingerprint,
            "labels": self.labels,
            "rows": len(self.rows),
            "part": PART,
        }


def is_first(store: Store, data: Dataset) -> bool:
    """Whether these items are of the source the store began with, whose ids are kept as they are."""
    first = store.about["sources"][0]
    return (first["name"], first["split"]) == (data.name, data.split)


def remove_leftover(folder: Path, store: Store | None) -> None:
    """Deletes the parts of a process that was killed after it had brought them into the store."""
    plan = read_plan(folder)
    first = None if plan is None else next(iter(sorted(folder.glob(part_name("*", plan)))), None)
    if store is None or first is None:
        return
    part = read_part(first)
    known = dict(zip(*store.identities(), strict=True))
    if all(
        known.get(id) == content
        for id, content in zip(*part.select(["id", "content"]).to_pydict().values(), strict=True)
    ):
        remove_parts(folder)


def part_name(number: int | str, plan: dict[str, Any]) -> str:
    """Of a part's file: with the key of its plan, except in a plan of an earlier version, which holds no labels."""
    number = number if isinstance(number, str) else f"{number:06d}"
    if "labels" not in plan:
        return f"{number}.arrow"
    key = hashlib.sha256(json.dumps([plan[name] for name in IDENTITY]).encode()).hexdigest()[:16]
    return f"{number}-{key}.arrow"


class Parts:
    """The parts of one embedding, in a folder beside the store.

    plan: what they belong to;  batch: their items;  kind: of the store they are for
    """

    def __init__(self, folder: Path, plan: dict[str, Any], batch: Incoming, kind: type[Store]):
        self.kind = kind
        self.folder = folder
        self.plan = plan
        self.batch = batch
        self.count = -(-len(batch.rows) // PART)

    def begin(self) -> None:
        """Makes the folder this plan's. Only who holds the store's lock may do so.

        Errors: UserError where the folder holds the parts of another plan.
        """
        self.folder.mkdir(exist_ok=True)
        known = read_plan(self.folder)
        if known is not None and any(known[name] != self.plan[name] for name in IDENTITY if name in known):
            source = known.get("source", {}).get("name")
            of = f" ({known['method']} from {known['run']}, on {source})" if source else ""
            raise UserError(
                f"out: {self.folder} holds parts of another embedding{of} that was not finished, of another run or "
                "before the source changed; finish it, or remove the folder"
            )
        if known is not None and "labels" not in known:
            self._adopt(known)
        write_text(self.folder / PLAN, json.dumps(self.plan, indent=1))

    def _adopt(self, known: dict[str, Any]) -> None:
        """Takes over the parts of this plan that an earlier version has left."""
        for number in range(self.count):
            path = self.folder / part_name(number, known)
            if path.exists() and read_part(path)["id"].to_pylist() == self.batch.ids[self._slice(number)]:
                path.replace(self.path(number))

    def embed(self, rep: Representation, shard: tuple[int, int], progress: bool) -> None:
        """This shard's parts, those that are not there. Ends early where the folder is no longer the plan's.

        Errors: UserError where another process embeds the same shard.
        """
        share, name = f"{shard[0]}/{shard[1]}", f"shard-{shard[0]}-of-{shard[1]}"
        refusal = (
            f"out: another process embeds shard {share} of these items into the same store; "
            "wait until it ends or stop it, then give the command again"
        )
        try:
            with hold(self.folder / f"{name}.lock", refusal):
                self._embed_share(rep, range(shard[0] - 1, self.count, shard[1]), progress)
                write_text(self.folder / f"{name}.done", "")
        except FileNotFoundError:
            if self.waiting:
                raise

    def _embed_share(self, rep: Representation, mine: range, progress: bool) -> None:
        with progress_bar(sum(map(self.rows_in, mine)), "embedding", progress) as bar:
            for number in mine:
                if not self.waiting:
                    raise FileNotFoundError(self.folder)
                if not self.path(number).exists():
                    self._write(number, rep)
                bar.update(self.rows_in(number))

    @property
    def waiting(self) -> bool:
        """Whether the folder is this plan's: no other process has brought the parts in, or removed them."""
        known = read_plan(self.folder)
        return known is not None and all(known.get(name) == self.plan[name] for name in IDENTITY)

    def left(self) -> int:
        """Rows whose parts are not there."""
        return sum(self.rows_in(number) for number in range(self.count) if not self.path(number).exists())

    def path(self, number: int) -> Path:
        return self.folder / part_name(number, self.plan)

    def rows_in(self, number: int) -> int:
        return min(PART, len(self.batch.rows) - number * PART)

    def tables(self) -> Iterator[pa.Table]:
        for number in range(self.count):
            yield read_part(self.path(number))

    def _slice(self, number: int) -> slice:
        """Of the batch, where this part is."""
        return slice(number * PART, number * PART + self.rows_in(number))

    def _write(self, number: int, rep: Representation) -> None:
        here = self._slice(number)
        data = self.batch.data.subset(self.batch.rows[here])
        table = as_table(data, self.batch.ids[here], self.batch.contents[here], rep.embed(data), self.kind)
        with atomic(self.path(number)) as temporary, pa.ipc.new_file(str(temporary), table.schema) as file:
            file.write_table(table)


def read_plan(folder: Path) -> dict[str, Any] | None:
    """What the parts in a folder belong to; None where it holds none of ours."""
    try:
        plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        plan = None
    if not isinstance(plan, dict):
        raise UserError(f"out: {folder / PLAN} is damaged; remove the folder {folder}, and embed again")
    return plan


def read_part(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def remove_parts(folder: Path) -> None:
    """Under another name first: who still writes there finds the folder gone, and not half removed."""
    leftovers = f"{folder.name}.*.part"
    remove_leftovers(folder.parent, leftovers)
    gone = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".part", dir=folder.parent))
    folder.rename(gone / folder.name)
    remove_leftovers(folder.parent, leftovers)


def as_table(data: Dataset, ids: list[str], contents: np.ndarray, vectors: np.ndarray, kind: type[Store]) -> pa.Table:
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
    modality = data.spec.modality
    if (pictures := modality.thumbnails(data)) is not None:
        columns["thumbnail"] = pictures
    return pa.table(columns | renamed(modality.store_columns(data), kind))


def renamed(columns: Mapping[str, pa.Array], kind: type[Store]) -> dict[str, pa.Array]:
    """Columns of the items under their own names, unless we or the store use a name for something else."""
    names = stored_names(list(columns), kind)
    return {names[name]: values for name, values in columns.items()}


def stored_names(columns: Sequence[str], kind: type[Store]) -> dict[str, str]:
    """What each of the items' own columns is called in a store."""
    names: dict[str, str] = {}
    for column in columns:
        taken = {*OURS, *names.values(), *(set(columns) - {column})}
        names[column] = kind.column_name(column, taken)
    return names
