"""Reading of Parquet and Arrow files in a separate process (`columnar_worker`), which a damaged file can crash.

The answers are validated again here, because a reader with overwritten memory could send anything.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from salience.errors import UserError
from salience.worker_process import end_all_workers, end_worker, start_worker

WORKER = Path(__file__).with_name("columnar_worker.py")
LEAST_MEMORY = 4 << 30  # bytes; a reader may use this much, or half of the machine's memory if that is more


class Reader:
    """Reader of the batches of files of one format, "parquet" or "arrow".

    A process is started with the first request and kept for the next one, because a start takes 0.1 s. It ends with
    this object and with the parent process.
    """

    def __init__(self, form: str, *, rows: int, wide_rows: int) -> None:
        """Make a reader.

        Args:
            form: "parquet" or "arrow".
            rows: Number of rows of a batch.
            wide_rows: Number of rows of a batch with columns of bytes or nested values.
        """
        self.form, self.rows, self.wide_rows = form, rows, wide_rows
        self._idle: list[subprocess.Popen[bytes]] = []
        weakref.finalize(self, end_all_workers, self._idle)

    def schema(self, path: Path) -> pa.Schema:
        """Return the schema of a file. Raises UserError if it is damaged."""
        schema, *_ = self._answer(path, None)
        return schema

    def batches(self, path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Iterate over the batches of these columns. Raises UserError if the file is damaged."""
        answer = self._answer(path, list(columns))
        next(answer)
        yield from answer

    def _answer(self, path: Path, columns: list[str] | None) -> Iterator[Any]:
        """Yield the schema, then the batches."""
        process = self._idle.pop() if self._idle else _start()
        whole = False
        try:
            self._ask(process, path, columns)
            yield from _received(process, path)
            whole = True
        finally:
            if whole:
                self._idle.append(process)
            else:
                end_worker(process)

    def _ask(self, process: subprocess.Popen[bytes], path: Path, columns: list[str] | None) -> None:
        request = {
            "format": self.form,
            "path": str(path),
            "columns": columns,
            "rows": self.rows,
            "wide_rows": self.wide_rows,
            "memory": _memory(),
        }
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: reading its answer says how
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()


def _received(process: subprocess.Popen[bytes], path: Path) -> Iterator[Any]:
    _require_fine(process, path)
    try:
        with pa.ipc.open_stream(process.stdout) as stream:
            yield stream.schema
            for batch in stream:
                batch.validate(full=True)
                yield batch
    except GeneratorExit:
        raise
    except Exception as error:  # pyarrow raises whatever the damage provokes
        raise UserError(_damaged(path, _reason_of(process, error))) from error
    _require_fine(process, path)


def _require_fine(process: subprocess.Popen[bytes], path: Path) -> None:
    """Raise UserError if the reader reports an error or has ended."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.endswith(b"\n"):
        raise UserError(_damaged(path, _reason_of(process, None)))
    if error := json.loads(line)["error"]:
        raise UserError(_damaged(path, error))


def _reason_of(process: subprocess.Popen[bytes], error: Exception | None) -> str:
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=1 if error is None else 0.1)
    code = process.returncode
    if code is not None and code < 0:
        return f"the reader process was killed by {signal.Signals(-code).name}"
    return str(error) if error is not None else f"the reader process ended with exit code {code}"


def _damaged(path: Path, reason: str) -> str:
    return f"source: {path} cannot be read; it is damaged or in another format: {' '.join(reason.split())[:200]}"


def _start() -> subprocess.Popen[bytes]:
    return start_worker(WORKER)


def _memory() -> int:
    with suppress(AttributeError, ValueError, OSError):  # not known on every system
        return max(LEAST_MEMORY, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return 0
