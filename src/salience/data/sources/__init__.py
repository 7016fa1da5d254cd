"""Kinds of sources, one module each. This module detects the kind of a source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from salience.data.sources import arrays, builtin, folder, idx, texts, word_vectors
from salience.data.sources.installed import open_installed
from salience.data.sources.query import Query
from salience.errors import UserError
from salience.fields.source import Source
from salience.modalities import Modality, find, known
from salience.source_names import require_source, without_split
from salience.units import with_article

ARRAYS = {".npy": arrays.open_npy, ".npz": arrays.open_npz}
TABLES = {
    ".parquet": ("columnar", "open_parquet"),
    ".arrow": ("columnar", "open_arrow"),
    ".feather": ("columnar", "open_arrow"),
    ".csv": ("delimited", "open_csv"),
    ".tsv": ("delimited", "open_csv"),
    ".jsonl": ("json_lines", "open_json_lines"),
    ".ndjson": ("json_lines", "open_json_lines"),
}
COMPRESSED = ".gz"  # of a file of JSON lines
TEXTS = ("text", "tokenizer", "window", "hop")


# The options of `Reading` that each kind of source supports, beside `kind` and those of its kind of data; separate
# labels also support `missing`.
KNOWN = {
    "a CSV file": ("separator", "decimal", "header", "missing", "categorical", *TEXTS),
    "a table": ("aspect", "missing", "categorical", *TEXTS),
    "an array": ("aspect", "missing"),
    "a list of texts": ("missing", *TEXTS[1:]),
    "a built-in data set": ("aspect",),
}


def refuse_unused(source: Any, query: Query) -> None:
    """Raise UserError for an option of `query.reading` that this kind of source does not support."""
    name, supported = _reading_options(source, query)
    asked = find(query.reading.kind).reading_options if query.reading.kind else ()
    options = {"kind", *supported, *asked, *(["missing"] if query.labels is not None else [])}
    for option in query.reading.to_dict():
        if option not in options:
            takers = " or ".join(_supporters(option))
            raise UserError(f"{option}: expected {takers} as the source, got {name}; leave this option out")


def _supporters(option: str) -> list[str]:
    """Return the kinds of sources that support an option of `Reading`."""
    folders = [f"a folder of {kind.plural}" for kind in known() if kind.item_extensions]
    own = [name for kind in known() if option in kind.reading_options for name in _names_of_files(kind)]
    return [*(name for name, options in KNOWN.items() if option in options), *(folders if option == "folders" else own)]


def _names_of_files(kind: Modality[Any]) -> tuple[str, str]:
    return f"a folder of {kind.plural}", with_article(kind.item)


def _reading_options(source: Any, query: Query) -> tuple[str, Iterable[str]]:
    """Return what a source is, in words, and the options of `Reading` that it supports."""
    if not isinstance(source, str | Path):
        if texts.are_texts(source):
            return "a list of texts", KNOWN["a list of texts"]
        name = "a table" if type(source).__module__.split(".")[0] in ("datasets", "pandas") else "an array"
        return name, KNOWN[name]
    name, _ = without_split(str(source))
    if name.startswith("hf://"):
        return "a table", KNOWN["a table"]
    path = Path(name).expanduser()
    if kinds := [kind for kind in known() if path.suffix.lower() in kind.extensions]:
        return f"a {path.suffix.lower()} file", kinds[0].reading_options
    if name in builtin.NAMES and not Path(name).exists():
        return "a built-in data set", KNOWN["a built-in data set"]
    if path.is_dir() and not idx.holds_idx(path) and not next(path.glob("*.parquet"), None):
        kind, _ = folder.choose_kind(path, query)
        return _names_of_files(kind)[0], ("folders", *kind.reading_options)
    if not path.is_dir() and (item := folder.kind_of_file(path)) is not None:
        return _names_of_files(item)[1], item.reading_options
    name = _name_of_table(path)
    return name, KNOWN[name]


def _name_of_table(path: Path) -> str:
    if path.is_dir():
        return "an array" if idx.holds_idx(path) else "a table"
    table = TABLES.get(suffix_of(path))
    return "an array" if table is None else "a CSV file" if table[0] == "delimited" else "a table"


def suffix_of(path: Path) -> str:
    """Return the extension of a file in lower case, without that of its compression: ".jsonl" of texts.jsonl.gz."""
    suffix = path.suffix.lower()
    inner = Path(path.stem).suffix.lower()
    return inner if suffix == COMPRESSED and inner in (".jsonl", ".ndjson") else suffix


def find_source(source: Any, query: Query) -> Source:
    """Return the source that a user's argument stands for. Raises UserError if it cannot be opened."""
    for modality in known():
        if (found := modality.source(source, query)) is not None:
            return found
    if isinstance(source, (str, Path)):
        return _named(str(source), query)
    if texts.are_texts(source):
        return texts.open_list(source, query)
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
    if table := TABLES.get(suffix_of(path)):
        module, reader = table
        source: Source = getattr(import_module(f"salience.data.sources.{module}"), reader)(path, query)
        return source
    if (kind := folder.kind_of_file(path)) is not None:
        return texts.open_stream(path, query) if kind.streams else folder.open_item(path, kind, query)
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
