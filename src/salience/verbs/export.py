"""Embeddings as a table: one Parquet file of id, label and vector for other tools, or a store that grows."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from salience.data import Dataset
from salience.files import atomic
from salience.progress import progress_bar
from salience.reading import AS_FOUND, Reading
from salience.representation import Representation, load, open_for, source_or_own
from salience.store.embedding import embed_into
from salience.store_names import is_called_store, parse_shard
from salience.verbs.export_place import require_place

ROWS = 8192  # embedded and written at a time; memory stays flat as the data grows


def embed_to(
    run: Representation | Path | str,
    source: Any = None,
    out: Path | str | None = None,
    *,
    shard: str | None = None,
    overwrite: bool = False,
    reading: Reading = AS_FOUND,
    progress: bool = True,
) -> Path:
    """Write the embedding of every item, in the order of the source.

    Args:
        run: A Representation or the folder of a run.
        source: Any source of `open_data`, or a Dataset. Default: the source that the run was trained on.
        out: FILE.parquet, or a store NAME.lance, to which new items are added; an interrupted one resumes. Columns: id
            (text), label (text, null if unknown; in a file only if there are labels), vector (fixed-size list of
            float32); in a store also thumbnail, content, and x, y, the position on a first map.
        shard: Part of a store: "2/8" embeds the second of eight parts. The last process to finish joins all parts.
        reading: How the source is read (see `Reading`). Options that are None are as in the training of the run.

    Returns:
        `out`.

    Raises:
        UserError: A file `out` exists and `overwrite` is false, a store holds embeddings of another run, or `out` has
            another ending.
    """
    out = require_place(out, shard, overwrite=overwrite)
    rep = load(run) if isinstance(run, str | Path) else run
    data = open_for(rep, source_or_own(rep, source), None, reading)
    tell_notes(data, progress)
    if is_called_store(out):
        added = embed_into(rep, data, out, (1, 1) if shard is None else parse_shard(shard), progress)
        if progress:
            print(added, file=sys.stderr)
        return out
    labelled = data.labels is not None and len(data.classes) > 0
    with atomic(out, make_folder=True) as temporary:
        write_parts(temporary, rep, data, labelled, progress)
    return out


def tell_notes(data: Dataset, progress: bool) -> None:
    """What was done to the items when they were opened."""
    for note in data.notes if progress else ():
        print(f"note: {note}", file=sys.stderr)


def write_parts(path: Path, rep: Representation, data: Dataset, labelled: bool, progress: bool) -> None:
    schema = make_schema(rep, data, labelled)
    with pq.ParquetWriter(path, schema) as writer, progress_bar(len(data), "embedding", progress) as bar:
        for part in parts(data):
            writer.write_table(as_table(part, rep.embed(part), schema, labelled))
            bar.update(len(part))


def make_schema(rep: Representation, data: Dataset, labelled: bool) -> pa.Schema:
    vector = pa.list_(pa.float32(), rep.dim)
    fields = [("id", pa.string()), *([("label", pa.string())] if labelled else []), ("vector", vector)]
    about = {"method": rep.method_name, "source": data.name, "split": data.split, "fingerprint": data.fingerprint}
    return pa.schema(fields, metadata={"salience": json.dumps(about)})


def parts(data: Dataset) -> Iterator[Dataset]:
    for start in range(0, len(data), ROWS):
        yield data.subset(np.arange(start, min(start + ROWS, len(data))))


def as_table(data: Dataset, vectors: np.ndarray, schema: pa.Schema, labelled: bool) -> pa.Table:
    """vectors: [n d]"""
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
    # a file name that is no text keeps its place with a mark where a character was
    ids = [item.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for item in data.ids]
    columns = [pa.array(ids, pa.string())]
    if labelled and data.labels is not None:
        names = np.array([*data.classes, None], dtype=object)
        columns.append(pa.array(names[data.labels], pa.string()))
    return pa.Table.from_arrays([*columns, pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])], schema=schema)
