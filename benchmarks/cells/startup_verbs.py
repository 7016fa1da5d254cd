"""How long each verb takes where there is hardly anything to compute: a table of 50 rows, 1,797 digits.

    .venv/bin/python -m benchmarks.cells.startup_verbs
    .venv/bin/python -m benchmarks.cells.startup_verbs --checkout FOLDER   # those of another commit

Each figure is the median over --repeats fresh processes: `wall`, seconds on the clock, and `cpu`, those that the
process itself computed, so that others on the machine count less. `python` and `import torch` stand beside them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness.folders import ROOT

PREPARED = (
    "fit pca t.csv --out pca --labels label",
    "fit autoencoder t.csv --out net --labels label --epochs 1 --batch-size 16",
    "fit pca digits --out solved",
    "evaluate pca --on t.csv",
    "embed net t.csv --out net.lance",
)
VERBS = (
    "--help",
    "fit simclr --help",
    "methods",
    "data t.csv",
    "data digits",
    "doctor net",
    "compare pca --out NEW",
    "fit simclr nowhere.csv",
    "fit simclr t.csv --labels nothing",
    "embed solved digits --out NEW.parquet",
    "search net.lance 0 --json",
    "evaluate net --on t.csv",
    "fit pca digits --out NEW",
    "fit autoencoder t.csv --out NEW --epochs 1 --batch-size 16",
)
REFUSED, DIAGNOSED = (2,), (0, 1)  # exit codes; 1: the run is not healthy
CODES = {
    "fit simclr nowhere.csv": REFUSED,
    "fit simclr t.csv --labels nothing": REFUSED,
    "doctor net": DIAGNOSED,
}
BARE = {"python": "pass", "import torch": "import torch"}


def table_file(path: Path) -> None:
    """50 rows of three numbers and a label."""
    draw = random.Random(0)
    rows = [[*(f"{draw.gauss(0, 1):.4f}" for _ in range(3)), str(row % 2)] for row in range(50)]
    path.write_text("\n".join(map(",".join, [["a", "b", "c", "label"], *rows])) + "\n")


def seconds(command: list[str], folder: Path, checkout: Path, codes: tuple[int, ...] = (0,)) -> tuple[float, float]:
    """Wall and processor seconds of a process that ends with one of these exit codes."""
    environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "SALIENCE_CACHE": str(folder / "cache")}
    start = time.perf_counter()
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)  # waited for already
    if process.returncode not in codes:
        raise SystemExit(f"{' '.join(command)} in {checkout} ended with exit code {process.returncode}")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime


def verb(line: str, number: int) -> list[str]:
    """Its command; what it writes has a name of its own in every round."""
    place = VERBS.index(line) if line in VERBS else 0
    words = [word.replace("NEW", f"new-{place}-{number}") for word in line.split()]
    return [sys.executable, "-m", "salience", *words]


def prepare(folder: Path, checkout: Path) -> None:
    folder.mkdir()
    table_file(folder / "t.csv")
    for line in PREPARED:
        seconds(verb(line, 0), folder, checkout)
    for name in ("pca", "net", "solved", "net.lance", "pca/report.json"):
        if not (folder / name).exists():
            raise SystemExit(f"{checkout} has not made {name}")


def measure(checkout: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Return command -> median seconds."""
    taken: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "work"
        prepare(folder, checkout)
        bare = {name: [sys.executable, "-c", code] for name, code in BARE.items()}
        for number in range(repeats):
            commands = bare | {line: verb(line, number) for line in VERBS}
            for line, command in commands.items():
                taken.setdefault(line, []).append(seconds(command, folder, checkout, CODES.get(line, (0,))))
    return {
        line: {"wall": statistics.median(wall for wall, _ in all_), "cpu": statistics.median(cpu for _, cpu in all_)}
        for line, all_ in taken.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--checkout", type=Path, default=ROOT, help="whose commands; this one by default")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    found = {"ours": measure(args.checkout.resolve(), args.repeats)}
    versions = {package: importlib.metadata.version(package) for package in ("torch", "lightning", "cyclopts")}
    print(json.dumps({"kind": "summary", "seconds": found, "load": [load, os.getloadavg()[0]], "versions": versions}))


if __name__ == "__main__":
    main()
