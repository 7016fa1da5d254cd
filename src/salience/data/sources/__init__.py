"""Kinds of sources, one module each. This module detects the kind of a source."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from salience.data.sources import arrays, builtin, folder, idx, word_vectors
from salience.data.sources.installed import open_installed
from salience.data.sources.query import Query
from salience.errors import UserError
from salience.fields.source import Source
from salience.modalities import known
from salience.modalities.image.headers import EXTENSIONS
from salience.source_names import require_source, without_split

ARRAYS = {".npy": arrays.open_npy, ".npz": arrays.open_npz}
TABLES = {
    ".parquet": ("columnar", "open_parquet"),
    ".arrow": ("columnar", "open_arrow"),
    ".feather": ("columnar", "open_arrow"),
    ".csv": ("delimited", "open_csv"),
    ".tsv": ("delimited", "open_csv"),
}


# The options of `Reading` that each kind of source supports; separate labels also support `missing`.
KNOWN = {
    "a CSV file": ("separator", "decimal", "header", "missing", "categorical"),
    "a table": ("aspect", "missing", "categorical"),
    "an array": ("aspect", "missing"),
    "a folder of images": ("folders", "aspect"),
    "an image": ("aspect",),
    "a built-in data set": ("aspect",),
}


def refuse_unused(source: Any, query: Query) -> None:
    """Raise UserError for an option of `query.reading` that this kind of source does not support."""
    kind = _kind(source)
    options = {*KNOWN.get(kind, ()), *(["missing"] if query.labels is not None else [])}
    for name in query.reading.to_dict():
        if name not in options:
            takers = [other for other, taken in KNOWN.items() if name in taken]
            raise UserError(f"{name}: expected {' or '.join(takers)} as the source, got {kind}; leave this option out")


def _kind(source: Any) -> str:
    if not isinstance(source, str | Path):
        return "a table" if type(source).__module__.split(".")[0] in ("datasets", "pandas") else "an array"
    name, _ = without_split(str(source))
    if name.startswith("hf://"):
        return "a table"
    path = Path(name).expanduser()
    if any(path.suffix.lower() in kind.extensions for kind in known()):
        return f"a {path.suffix.lower()} file"
    if name in builtin.NAMES and not Path(name).exists():
        return "a built-in data set"
    if path.is_dir():
        if idx.holds_idx(path):
            return "an array"
        return "a table" if next(path.glob("*.parquet"), None) else "a folder of images"
    if path.suffix.lower() in TABLES:
        return "a CSV file" if TABLES[path.suffix.lower()][0] == "delimited" else "a table"
    return "an image" if path.suffix.lower() in EXTENSIONS else "an array"


def find_source(source: Any, query: Query) -> Source:
    """Return the source that a user's argument stands for. Raises UserError if it cannot be opened."""
    for modality in known():
        if (found := modality.source(source, query)) is not None:
            return found
    if isinstance(source, (str, Path)):
        return _named(str(source), query)
    kind = type(source).__module__.split(".")[0]
    if kind == "datasets":
        from salience.data.sources import hub

        return hub.open_dataset(source, query)
    if kind == "pandas":
        from salience.data.sources import tabular

        return tabular.open_frame(source, query)
    return arrays.open_memory(source, query)


def _named(text: str, query: Query) -> Source:
    require_source(text)
    name, split = without_split(text)
    if split and query.split and split != query.split:
        raise UserError(f"split: the option is {query.split}, but the source names {split}; give only one of them")
    query = replace(query, split=split or query.split)
    if name.startswith("hf://"):
        from salience.data.sources import hub

        return hub.open_named(name.removeprefix("hf://"), query)
    if name in builtin.NAMES and not Path(name).exists():
        return builtin.NAMES[name](query)
    if not Path(name).exists() and (source := open_installed(name, query, find_source)) is not None:
        return source
    return _path(Path(name).expanduser(), query)


def _path(path: Path, query: Query) -> Source:
    if path.is_dir():
        return _folder(path, query)
    if not path.is_file():
        raise UserError(f"source: {path} is a pipe or a device, not a regular file; save its content to a file first")
    if word_vectors.is_word_vectors(path):
        return word_vectors.open_vectors(path, query)
    if array := ARRAYS.get(path.suffix.lower()):
        return array(path, query)
    if table := TABLES.get(path.suffix.lower()):
        module, reader = table
        source: Source = getattr(import_module(f"salience.data.sources.{module}"), reader)(path, query)
        return source
    if path.suffix.lower() in EXTENSIONS:
        return folder.open_image(path, query)
    if idx.is_idx(path):
        return idx.open_file(path, query)
    raise UserError(f"source: {path}: unsupported file type; give an image, {' '.join([*ARRAYS, *TABLES])} or IDX file")


def _folder(path: Path, query: Query) -> Source:
    if idx.holds_idx(path):
        return idx.open_folder(path, query)
    if next(path.glob("*.parquet"), None):
        from salience.data.sources import columnar

        return columnar.open_parquet_folder(path, query)
    return folder.open_folder(path, query)
