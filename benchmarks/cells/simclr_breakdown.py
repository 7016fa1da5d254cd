"""Measure the parts of a training step: data, views, network, and the overhead of `salience.fit`.

    .venv/bin/python -m benchmarks.cells.simclr_breakdown --data FOLDER

Trains the small network on CIFAR-10 with `salience.fit`. After every few steps, a bare loop (batch, views, loss,
backward, step) runs as many steps in the same process on the same compiled network, so that both have the same
conditions. A block is long enough to include a row of metrics.csv, and counts by its mean step. `overhead` is the
median of fit's blocks over the median of the bare blocks, minus 1. Then `data`, `views` and `network` (forward,
backward and optimiser on given views) are measured separately.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import salience
from benchmarks.harness.report import SUMMARY, emit, versions
from benchmarks.harness.step_clock import Enough, StepClock, median_seconds
from salience.batch import Batch, Progress
from salience.methods.contrastive.simclr import SimCLR, nt_xent
from salience.methods.lightning import LightningMethod


class Bare:
    """A plain loop over the very network that `fit` trains: same modules, precision, batches and optimiser."""

    def __init__(self, method: SimCLR, data: Any, batch_size: int, bf16: bool) -> None:
        self.method, self.bf16 = method, bf16
        self.loader = data.loader(batch_size, 0)
        self.optimizer = torch.optim.AdamW(list(method.param_groups()), lr=1e-5, fused=True)
        self.step = 0

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bf16)

    def batch(self) -> Batch:
        self.step += 1
        return self.loader.batch_at(self.step)

    def views(self, batch: Batch) -> list[Batch]:
        with self.autocast():
            return self.method.views(batch, Progress(seed=1))["global"]

    def learn(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def network(self, views: list[Batch]) -> None:
        """Forward, backward and optimiser."""
        with self.autocast():
            a, b = (self.method.projector(self.method.encoder(view.x)) for view in views)
            loss = nt_xent(a, b, temperature=0.2)
        self.learn(loss)

    def whole_step(self) -> None:
        batch = self.batch()
        with self.autocast():
            loss = self.method.loss(batch, Progress(seed=1))["loss"]
        self.learn(loss)


class Alternating(StepClock):
    """After every `block` steps of fit, `block` steps of the bare loop."""

    def __init__(self, args: argparse.Namespace, data: Any) -> None:
        super().__init__(stop_after=args.steps)
        self.args, self.data = args, data
        self.bare: Bare | None = None
        self.bare_seconds: list[float] = []

    def after_step(self, steps: int) -> None:
        if steps < self.args.skip or (steps - self.args.skip) % (self.args.block + 1):
            return
        if self.bare is None:
            trained = captured["trained"]
            assert isinstance(trained.method, SimCLR)
            precision = str(trained.trainer.precision)
            self.bare = Bare(trained.method, self.data, self.args.batch_size, precision.startswith("bf16"))
        self.paused = True
        self.bare.whole_step()  # not counted: it may compile
        start = time.perf_counter()
        for _ in range(self.args.block):
            self.bare.whole_step()
        self.bare_seconds.append((time.perf_counter() - start) / self.args.block)
        self.paused = False
        self.mark()


captured: dict[str, LightningMethod] = {}


@contextlib.contextmanager
def capturing() -> Any:
    """Remembers what `fit` trains, so that the bare loop runs on the same compiled network."""
    start = LightningMethod.on_fit_start

    def remember(self: LightningMethod) -> None:
        captured["trained"] = self
        start(self)

    LightningMethod.on_fit_start = remember  # type: ignore[method-assign]
    try:
        yield
    finally:
        LightningMethod.on_fit_start = start  # type: ignore[method-assign]


def pieces(bare: Bare, repeats: int) -> dict[str, float]:
    """Median seconds of each part of a step."""
    batch = bare.batch()
    views = bare.views(batch)
    return {
        "data": median_seconds(bare.batch, repeats),
        "views": median_seconds(lambda: bare.views(batch), repeats),
        "network": median_seconds(lambda: bare.network(views), repeats),
    }


def main() -> None:
    args = arguments()
    data = salience.open_data(str(args.data / "cifar10-train.parquet"), progress=False)
    data = data.subset(np.arange(args.rows)) if args.rows else data
    clock = Alternating(args, data)
    with tempfile.TemporaryDirectory() as folder, capturing(), contextlib.suppress(Enough):
        salience.fit(
            "simclr", data, out=Path(folder) / "run", encoder="convnet", epochs=20, batch_size=args.batch_size,
            learning_rate=2e-3, progress=False,
        )  # fmt: skip
    if clock.bare is None:
        raise SystemExit(f"--steps {args.steps}: too few to time after --skip {args.skip}")
    clock.close()
    report(clock, pieces(clock.bare, args.block * 2))


def report(clock: Alternating, parts: dict[str, float]) -> None:
    blocks = clock.windows(clock.args.skip, clock.args.block)
    fit, bare = statistics.median(blocks), statistics.median(clock.bare_seconds)
    emit(
        SUMMARY,
        step_seconds={"fit": fit, "bare": bare, **parts},
        overhead=fit / bare - 1,
        data_and_views_share=(parts["data"] + parts["views"]) / fit,
        fit_blocks=blocks,
        bare_blocks=clock.bare_seconds,
        threads=torch.get_num_threads(),
        versions=versions("torch", "lightning", "numpy"),
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar10-train.parquet")
    parser.add_argument("--steps", type=int, default=225, help="steps of fit")
    parser.add_argument("--skip", type=int, default=15, help="steps before the first that counts")
    parser.add_argument("--block", type=int, default=20, help="steps of each loop before the other's turn")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rows", type=int, help="use only the first rows (smoke test)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
