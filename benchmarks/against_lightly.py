"""Quality beside lightly, end to end: SimCLR, BYOL and VICReg, equal epochs, encoder and tuning, five paired seeds.

    .venv/bin/python benchmarks/against_lightly.py --data FOLDER        # stop and go on at will

Each side's learning rate is the best of three, each tried once on half the training rows and judged on 5,000 of the
other half. Then five seeds on each side see 50,000 images twice; the difference of weighted kNN accuracy on the test
images is paired by seed. Results: benchmarks/results/against-lightly.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path

import peers
from leaderboard import CELL, RATES, RUNS
from machine import machine
from pool import Job, run_all
from run import RESULTS, Stored

METHODS = ("simclr", "byol", "vicreg")
SEEDS = 5
EPOCHS = 2
T_OF_FIVE = 2.132  # Student's t, 4 degrees of freedom, one-sided 95 %
THEIRS = Path(__file__).resolve().parent / "quality_lightly.py"


def command(side: str, method: str, data: Path, run: Path, *, rate: float, seed: int, trial: bool) -> list[str]:
    common = [method, "--data", str(data), "--learning-rate", str(rate), "--seed", str(seed)]
    if side == "lightly":
        validation = ["--validation"] if trial else []
        return [str(peers.PYTHON), str(THEIRS), *common, "--epochs", str(EPOCHS), *validation]
    images = EPOCHS * (25_000 if trial else 50_000)
    kind = ["--kind", "trial" if trial else "final", "--images", str(images)]
    return [sys.executable, str(CELL), *common[:1], "cifar10", *common[1:], *kind, "--run", str(run)]


def jobs(stored: Stored, data: Path) -> list[Job]:
    left = []
    cells = stored.content["cells"]

    def add(name: str, side: str, method: str, *, rate: float, seed: int, trial: bool) -> None:
        run = RUNS / "against-lightly" / name.replace(" ", "-")
        if name not in cells:
            left.append(Job(name, command(side, method, data, run, rate=rate, seed=seed, trial=trial), run, stored))

    for method in METHODS:
        rates = {}
        for side in ("salience", "lightly"):
            for rate in RATES:
                add(f"{method} {side} rate {rate}", side, method, rate=rate, seed=0, trial=True)
            tried = {rate: cells.get(f"{method} {side} rate {rate}") for rate in RATES}
            if all(tried.values()):
                rates[side] = max(RATES, key=lambda rate: tried[rate]["result"].get("knn", 0.0))
        if len(rates) == 2:
            for seed in range(SEEDS):
                for side, rate in rates.items():
                    add(f"{method} {side} seed {seed}", side, method, rate=rate, seed=seed, trial=False)
    return left


def report(stored: Stored) -> str:
    """Salience minus lightly, in points of kNN accuracy, with the lower 95 % bound of the mean."""
    lines = []
    for method in METHODS:
        pairs = [
            [knn_of(stored, f"{method} {side} seed {s}") for side in ("salience", "lightly")] for s in range(SEEDS)
        ]
        gains = [100 * (ours - theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
        if len(gains) < SEEDS:
            lines.append(f"{method}: {len(gains)} of {SEEDS} pairs")
            continue
        mean, error = statistics.mean(gains), statistics.stdev(gains) / SEEDS**0.5
        lines.append(f"{method}: {mean:+.2f} points, lower 95 % bound {mean - T_OF_FIVE * error:+.2f}")
    return "\n".join(lines)


def knn_of(stored: Stored, name: str) -> float | None:
    found = stored.content["cells"].get(name, {}).get("result", {}).get("knn")
    return found["value"] if isinstance(found, dict) else found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("SALIENCE_DATA"), help="or set SALIENCE_DATA")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="cells at a time, one core each")
    args = parser.parse_args()
    if not args.data:
        parser.error("--data: CIFAR-10 is needed; give its folder, or set SALIENCE_DATA")
    peers.ensure()
    stored, data = Stored(RESULTS, "against-lightly", machine()), Path(args.data).resolve()
    code = run_all(lambda: jobs(stored, data), args.jobs)
    print(report(stored))
    return code


if __name__ == "__main__":
    sys.exit(main())
