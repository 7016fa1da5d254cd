"""Measure the anonymous memory of SimCLR training on N prepared 32x32 images; it should not grow with N.

    .venv/bin/python -m benchmarks.cells.memory --rows 10000
    .venv/bin/python -m benchmarks.cells.memory --rows 1000000

Writes N synthetic images to a .npy once (3 GB for a million) and prepares them in a separate process. Then it trains
the small network on them for --steps, and samples RssAnon of /proc/self/status every 20 ms. RSS and its maximum are not
used, because they include mapped pages, which the kernel can reclaim. Both sizes are planned for the same number of
steps, so that `fit` makes the same decisions for both.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import salience
from benchmarks.harness.anonymous_memory import Peak, rss_anon
from benchmarks.harness.cell import script
from benchmarks.harness.report import SUMMARY, emit, versions
from benchmarks.harness.step_clock import Enough, StepClock

PLANNED_STEPS = 4000
BATCH = 256
SIDE = 32


def made_up_images(rows: int, folder: Path) -> Path:
    """A .npy of uint8 [rows 32 32 3], written chunk by chunk. Noise would do; blocks of colour are as quick."""
    path = folder / f"images-{rows}.npy"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    random = np.random.default_rng(0)
    images = np.lib.format.open_memmap(partial, "w+", np.uint8, (rows, SIDE, SIDE, 3))
    for start in range(0, rows, 10_000):
        stop = min(rows, start + 10_000)
        blocks = random.integers(0, 256, (stop - start, SIDE // 4, SIDE // 4, 3), np.uint8)
        images[start:stop] = blocks.repeat(4, axis=1).repeat(4, axis=2)
    images.flush()
    partial.replace(path)
    return path


def train(path: Path, rows: int, steps: int) -> dict[str, int]:
    """Bytes of RssAnon: before training, at its peak, at its last step."""
    before = rss_anon()
    clock = StepClock(stop_after=steps)
    epochs = max(1, round(PLANNED_STEPS / max(1, rows // BATCH)))
    with tempfile.TemporaryDirectory() as folder, Peak() as peak:
        try:
            salience.fit("simclr", str(path), out=Path(folder) / "run", epochs=epochs, batch_size=BATCH, progress=False)
        except Enough:
            last = rss_anon()
    if len(clock.ended) < steps:
        raise SystemExit(f"--steps {steps}: training ended after {len(clock.ended)} steps; ask for fewer")
    return {"before": before, "peak": peak.bytes, "last": last}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--scratch", type=Path, default=Path(".bench"))
    parser.add_argument("--prepare", action="store_true", help="only prepare, and print the memory of that")
    args = parser.parse_args()
    path = made_up_images(args.rows, args.scratch)
    if args.prepare:
        with Peak() as peak:
            salience.open_data(str(path), progress=False)
        emit("prepared", peak=peak.bytes)
        return
    command = script("memory", "--rows", args.rows, "--scratch", args.scratch, "--prepare")
    subprocess.run(command, check=True)
    anonymous = train(path, args.rows, args.steps)
    emit(SUMMARY, rows=args.rows, steps=args.steps, anonymous_bytes=anonymous, versions=versions("torch", "lightning"))


if __name__ == "__main__":
    main()
