"""Where `embed` writes: a store, or a Parquet file. Decided before a run is loaded."""

from __future__ import annotations

from pathlib import Path

from salience.errors import UserError
from salience.files import require_free
from salience.store_names import SUFFIX, is_called_store, parse_shard, refuse_server


def require_place(out: Path | str | None, shard: str | None = None, *, overwrite: bool = False) -> Path:
    """Return the path to write to.

    Args:
        out: The path of a store or of a Parquet file.
        shard: The share of a store to embed, "i/n".
        overwrite: Replace a file that exists.

    Raises:
        UserError: The path has another ending, a file is there already, or `shard` is no share of a store.
    """
    if out is None:
        raise UserError(f"out: expected a store or a file, got none; give NAME{SUFFIX}, or a file, FILE.parquet")
    out = Path(out)
    if is_called_store(out):
        refuse_server(out)
        if shard is not None:
            parse_shard(shard)
        return out
    if out.suffix != ".parquet":
        raise UserError(f"out: '{out}' is neither a file nor a store; name it FILE.parquet or NAME{SUFFIX}")
    if shard is not None:
        raise UserError(
            f"shard: a Parquet file is written by one process; name a store, NAME{SUFFIX}, to share the work"
        )
    if out.is_dir() or not overwrite:
        require_free(out)
    return out
