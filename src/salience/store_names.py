"""What the text of a store names: a folder whose ending says which kind of store it is, such as NAME.lance."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from salience.errors import UserError


@dataclass(frozen=True)
class Kind:
    """A kind of store.

    suffix: of its folders' names;  holds: an entry that each of its folders has, and no other kind's
    where: its class, module:name, which is loaded when a store of the kind is opened
    """

    suffix: str
    holds: str
    where: str


SUFFIX = ".lance"  # of the kind that messages propose
KINDS = [Kind(SUFFIX, "_versions", "salience.store.lance_store:LanceStore")]
CLUSTERS = ("qdrant:/", "s3:/", "gs:/", "az:/")  # a path has lost the second slash


def kind_named(path: Path | str) -> Kind | None:
    """The kind of store that the ending of a name stands for."""
    return next((kind for kind in KINDS if kind.suffix == Path(path).suffix), None)


def kind_at(path: Path | str) -> Kind | None:
    """The kind of store that a folder holds, whatever it is called."""
    return next((kind for kind in KINDS if (Path(path) / kind.holds).exists()), None)


def is_called_store(path: Path | str) -> bool:
    """Whether a path has the name of a store, there or not."""
    return str(path).startswith(CLUSTERS) or kind_named(path) is not None


def names_store(path: Path | str) -> bool:
    """Whether this is a store, or is called like one, rather than a run."""
    return is_called_store(path) or kind_at(path) is not None


def require_store(uri: Path | str) -> None:
    """Raise UserError if there is no store that this version can open. Imports no large packages."""
    text = str(uri)
    if text.startswith(CLUSTERS):
        raise UserError(f"store: {text} is on a server, which this version cannot open yet; give a folder NAME{SUFFIX}")
    path = Path(uri)
    if path.suffix == ".parquet" and path.is_file():
        raise UserError(
            f"store: {path} is an export, which cannot be searched; write a store with: "
            f"salience embed RUN SOURCE --out {path.with_suffix(SUFFIX)}"
        )
    if not path.exists() and path.with_name(f".{path.name}.parts").is_dir():
        raise UserError(f"store: {path} is incomplete; run the other shards, or run the same `embed` again")
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise UserError(f"store: {path} {what}; write one with: salience embed RUN SOURCE --out NAME{SUFFIX}")
    if kind_at(path) is None:
        raise UserError(f"store: {path} is not a store of embeddings; give a folder NAME{SUFFIX} written by `embed`")


def refuse_server(path: Path) -> None:
    """Raise UserError for a store on a server, which cannot be written to."""
    if str(path).startswith(CLUSTERS):
        raise UserError(
            f"out: {path} is on a server, which this version cannot write to yet; name a folder NAME{SUFFIX}"
        )


def parse_shard(text: str) -> tuple[int, int]:
    """(2, 8) of "2/8"."""
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip(), re.ASCII)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"shard: '{text}' is no share; write i/n with i from 1 to n, such as 2/8")
    return int(match[1]), int(match[2])
