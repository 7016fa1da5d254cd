"""Names of stores: folders NAME.lance."""

from __future__ import annotations

from pathlib import Path

from salience.errors import UserError

SUFFIX = ".lance"
CLUSTERS = ("qdrant:/", "s3:/", "gs:/", "az:/")  # a path has lost the second slash


def is_store_name(path: Path | str) -> bool:
    """Return whether a path is a store, or has the name of one, and not a run."""
    return str(path).startswith(CLUSTERS) or Path(path).suffix == SUFFIX or (Path(path) / "_versions").is_dir()


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
    if not (path / "_versions").is_dir():
        raise UserError(f"store: {path} is not a store of embeddings; give a folder NAME{SUFFIX} written by `embed`")
