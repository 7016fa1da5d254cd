"""Mutates files, has a child process read them, and counts what becomes of each."""

from __future__ import annotations

import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.fuzz.formats import Format

ROOT = Path(__file__).parents[2]
OUTCOMES = ("read", "refused", "traceback", "crash", "hang")
FAILURES = ("traceback", "crash", "hang")
MEMORY = 2 << 30  # bytes a child may take beyond what its imports do
READY = b"ready\n"


@dataclass
class Result:
    """Of one format.  details: of each failure, its number and what was said"""

    counts: Counter[str] = field(default_factory=Counter)
    details: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def failures(self) -> int:
        return sum(self.counts[outcome] for outcome in FAILURES)


class Child:
    """A process that reads mutants; where one ends it, the next starts another. Use it as a context."""

    def __init__(self, module: str = "tests.fuzz.formats", *, memory: int = MEMORY) -> None:
        """module: whose FORMATS are read"""
        self.module, self.memory = module, memory
        self.formats: dict[str, Format] = importlib.import_module(module).FORMATS
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this object

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._log.close()

    def read(self, name: str, folder: Path, timeout: float) -> tuple[str, str]:
        """What becomes of the mutant that lies ready in `folder`: an outcome, and what was said."""
        try:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"format": name, "folder": str(folder)}).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            return self._ended(process)
        if not select.select([process.stdout], [], [], timeout)[0]:
            self._close()
            return "hang", f"no answer within {timeout:g} s"
        line = process.stdout.readline()
        if not line:
            return self._ended(process)
        answer = json.loads(line)
        return answer["outcome"], answer["detail"]

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            paths = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.child", self.module, str(self.memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
            assert self._process.stdout is not None
            if self._process.stdout.readline() != READY:
                raise RuntimeError(self._ended(self._process)[1])
        return self._process

    def _ended(self, process: subprocess.Popen[bytes]) -> tuple[str, str]:
        code = process.wait()
        self._close()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self._log.seek(0)
        return "crash", f"{self._log.read()[-1500:].decode(errors='replace')}\n{how}"

    def _close(self) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
        self._process.wait()
        self._process = None


def fuzz(
    name: str,
    child: Child,
    *,
    mutants: int,
    seed: int = 0,
    seconds: float = float("inf"),
    timeout: float = 30.0,
    keep: Path | None = None,
) -> Result:
    """Reads mutants of one format.

    seconds: after which no more are tried;  timeout: seconds for each;  keep: folder for the mutants that failed
    """
    chosen, result = child.formats[name], Result()
    stop = time.monotonic() + seconds
    with _folder() as folder:
        chosen.prepare(folder)
        seeds = chosen.seeds(folder)
        for number in range(mutants):
            if time.monotonic() > stop:
                break
            content = mutant(chosen, seeds, seed, number)
            _put(folder / chosen.file, content)
            outcome, detail = child.read(name, folder, timeout)
            result.counts[outcome] += 1
            if outcome in FAILURES:
                result.details.append((number, outcome, detail))
                if keep is not None:
                    _keep(keep / _plain(name) / f"{number}-{outcome}", chosen, content, detail)
    return result


def mutant(chosen: Format, seeds: list[bytes], seed: int, number: int) -> bytes:
    """Of equal arguments the same; the first ones are the valid files themselves."""
    if number < len(seeds):
        return seeds[number]
    rng = np.random.default_rng([seed, number, zlib.crc32(chosen.file.encode())])
    return chosen.mutate(seeds[rng.integers(len(seeds))], rng, seeds)


def table(results: dict[str, Result]) -> str:
    """What became of the mutants, a line a format."""
    lines = [f"{'format':20}" + "".join(f"{outcome:>11}" for outcome in OUTCOMES)]
    for name, result in results.items():
        lines.append(f"{name:20}" + "".join(f"{result.counts[outcome]:>11,}" for outcome in OUTCOMES))
    return "\n".join(lines)


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="salience-fuzz-"))
    before = os.environ.get("SALIENCE_CACHE")
    os.environ["SALIENCE_CACHE"] = str(folder / "cache")
    try:
        yield folder
    finally:
        if before is None:
            del os.environ["SALIENCE_CACHE"]
        else:
            os.environ["SALIENCE_CACHE"] = before
        shutil.rmtree(folder, ignore_errors=True)


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # another inode, so that no cache takes it for the one before
    path.write_bytes(content)


def _plain(name: str) -> str:
    return name.replace("/", "-").replace(" ", "-")


def _keep(folder: Path, chosen: Format, content: bytes, detail: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / Path(chosen.file).name).write_bytes(content)
    (folder / "what-was-said.txt").write_text(detail, errors="replace")
