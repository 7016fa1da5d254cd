"""The process that reads Parquet and Arrow files. `columnar_process` runs it as a script; it needs only pyarrow.

A damaged file can make pyarrow read outside its memory, which crashes the process. This process isolates the crash.

Each line of stdin is one request in JSON:
    {"format": "parquet" or "arrow", "path", "columns": [names] or null for the schema alone, "rows", "wide_rows"}
The answer on stdout is a line {"error": null or a text}. If it is null, an Arrow stream of validated batches and a
second such line follow.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa

Batches = Iterable[pa.RecordBatch]
# the schema, and a function (columns, rows per batch) -> batches
Opened = tuple[pa.Schema, Callable[[list[str], int], Batches]]


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and with it the pipe
    output = sys.stdout.buffer
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("memory"):
            _limit_memory(request["memory"])
        try:
            with _opened(request) as (schema, batches):
                _say(output, None)
                error = _stream(schema, batches, output)
        except BrokenPipeError:
            return
        except Exception as problem:  # pyarrow raises whatever the damage provokes
            error = problem
        _say(output, error)


def _limit_memory(limit: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # a limit the system does not know or allow
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _say(output: BinaryIO, error: Exception | None) -> None:
    text = None if error is None else str(error) or type(error).__name__
    output.write(json.dumps({"error": text}).encode("utf-8") + b"\n")
    output.flush()


def _stream(schema: pa.Schema, batches: Batches, output: BinaryIO) -> Exception | None:
    """Write every batch. Return the error that stopped the stream, or None."""
    with pa.ipc.new_stream(output, schema) as writer:
        try:
            for batch in batches:
                writer.write_batch(batch)
        except BrokenPipeError:
            raise
        except Exception as problem:
            return problem
    return None


@contextlib.contextmanager
def _opened(request: dict[str, Any]) -> Iterator[tuple[pa.Schema, Batches]]:
    """Open the file of a request. Yield the schema of the chosen columns and an iterator of their batches."""
    opened = _parquet if request["format"] == "parquet" else _arrow
    with opened(request["path"]) as (schema, batches_of):
        columns = request["columns"]
        if columns is None:
            yield schema, ()
            return
        if missing := [name for name in columns if schema.get_field_index(name) < 0]:
            raise ValueError(f"it has no column '{missing[0]}'")
        schema = pa.schema([schema.field(name) for name in columns])
        rows = request["wide_rows"] if any(_is_wide(field.type) for field in schema) else request["rows"]
        yield schema, batches_of(columns, rows)


def _is_wide(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


@contextlib.contextmanager
def _parquet(path: str) -> Iterator[Opened]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, memory_map=True) as file:
        yield file.schema_arrow, lambda columns, rows: _checked(file.iter_batches(rows, columns=columns), columns)


@contextlib.contextmanager
def _arrow(path: str) -> Iterator[Opened]:
    source = pa.memory_map(path)
    try:
        reader = pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        reader = pa.ipc.open_stream(source)
    with reader:
        whole = (
            (reader.get_batch(i) for i in range(reader.num_record_batches)) if hasattr(reader, "get_batch") else reader
        )
        yield reader.schema, lambda columns, rows: _cut(_checked(whole, columns), rows)


def _checked(batches: Batches, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Select these columns. Raises pyarrow.ArrowInvalid if a value lies outside the file or is not valid text."""
    for batch in batches:
        chosen = batch.select(columns)
        chosen.validate(full=True)
        yield chosen


def _cut(batches: Batches, rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


if __name__ == "__main__":
    main()
