"""Mutates files, has a child process read them, and counts what becomes of each."""

from __future__ import annotations

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
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.fuzz.formats import FORMATS

ROOT = Path(__file__).parents[2]
OUTCOMES = ("read", "refused", "traceback", "crash", "hang")
FAILURES = ("traceback", "crash", "hang")
START = 120.0  # seconds a child may take to import what it needs


@dataclass
class Result:
    """Of one format.  details: of each failure, its number and what was said"""

    counts: Counter[str] = field(default_factory=Counter)
    details: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def failures(self) -> int:
        return sum(self.counts[outcome] for outcome in FAILURES)


class Child:
    """A process that reads the mutants of one format."""

    def __init__(self, name: str, folder: Path, *, memory: int) -> None:
        self.command = [sys.executable, "-m", "tests.fuzz.child", name, str(folder), str(memory)]
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def read(self, timeout: float) -> tuple[str, str]:
        """What becomes of the mutant that lies ready: an outcome, and what was said."""
        fresh = self.process is None
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            return self._ended()
        ready, _, _ = select.select([process.stdout], [], [], timeout + (START if fresh else 0))
        if not ready:
            self.close()
            return "hang", f"no answer within {timeout:g} s"
        line = process.stdout.readline()
        if not line:
            return self._ended()
        answer = json.loads(line)
        return answer["outcome"], answer["detail"]

    def _started(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            paths = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
            environment = {"SALIENCE_CACHE": str(self.folder / "cache"), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
            with (self.folder / "child.log").open("ab") as log:
                self.process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=os.environ | environment,
                    start_new_session=True,
                )
        return self.process

    def _ended(self) -> tuple[str, str]:
        assert self.process is not None
        code = self.process.wait()
        self.close()
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return "crash", f"{name}: {(self.folder / 'child.log').read_text(errors='replace')[-1500:]}"

    def close(self) -> None:
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass
        self.process.wait()
        self.process = None


def fuzz(
    name: str,
    *,
    mutants: int,
    seed: int = 0,
    seconds: float = float("inf"),
    timeout: float = 30.0,
    memory: int = 2 << 30,
    keep: Path | None = None,
) -> Result:
    """Reads mutants of one format.

    seconds: after which no more are tried;  timeout: seconds for each;  memory: bytes the child may take beyond what
    its imports do;  keep: folder for the mutants that failed
    """
    chosen, result = FORMATS[name], Result()
    stop = time.monotonic() + seconds
    with _folder() as folder:
        chosen.prepare(folder)
        seeds = chosen.seeds(folder)
        child = Child(name, folder, memory=memory)
        try:
            for number in range(mutants):
                if time.monotonic() > stop:
                    break
                content = mutant(name, seeds, seed, number)
                _put(folder / chosen.file, content)
                outcome, detail = child.read(timeout)
                result.counts[outcome] += 1
                if outcome in FAILURES:
                    result.details.append((number, outcome, detail))
                    _keep(keep, name, number, outcome, content, detail)
        finally:
            child.close()
    return result


def mutant(name: str, seeds: list[bytes], seed: int, number: int) -> bytes:
    """Of equal arguments the same; the first ones are the valid files themselves."""
    if number < len(seeds):
        return seeds[number]
    rng = np.random.default_rng([seed, number, zlib.crc32(name.encode())])
    return FORMATS[name].mutate(seeds[rng.integers(len(seeds))], rng, seeds)


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


def _keep(keep: Path | None, name: str, number: int, outcome: str, content: bytes, detail: str) -> None:
    if keep is None:
        return
    folder = keep / name.replace("/", "-").replace(" ", "-") / f"{number}-{outcome}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / Path(FORMATS[name].file).name).write_bytes(content)
    (folder / "what-was-said.txt").write_text(detail, errors="replace")
