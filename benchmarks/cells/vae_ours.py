"""Train Salience's VAE on Fashion-MNIST with the engine of `salience.fit` and the networks of pythae's arm.

    .venv/bin/python -m benchmarks.cells.vae_ours --net dense --steps 400

The networks are passed as objects. `fit` decides everything else (plan, precision, compilation, threads, health,
checkpoints) as for 10 epochs.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

import salience
from benchmarks.harness.images import FASHION, fashion
from benchmarks.harness.report import SUMMARY, emit, versions
from benchmarks.harness.step_clock import Enough, StepClock
from benchmarks.harness.vae_nets import DIM, dense_decoder, dense_encoder, large_decoder, large_encoder
from salience.config import Config, DataConfig, ModelConfig, TrainingConfig
from salience.methods.generative.vae import VAE
from salience.modalities import Spec
from salience.modalities.image.conv_decoder import ConvDecoder
from salience.modalities.image.convnet import convnet_code
from salience.nets import Encoder, make_input
from salience.representation import options_of
from salience.run import Run
from salience.training.engine import train
from salience.training.plan import make_plan


def nets(name: str, spec: Spec) -> tuple[nn.Module, nn.Module]:
    """Those of pythae; the small ones are ours, whose layers conv_encoder and conv_decoder write out."""
    if name == "conv":
        return convnet_code(spec, 2 * DIM), ConvDecoder(DIM, spec)
    return (dense_encoder(), dense_decoder()) if name == "dense" else (large_encoder(), large_decoder())


def main() -> None:
    args = arguments()
    data = salience.open_data(fashion(FASHION, None), progress=False)
    torch.manual_seed(0)
    encoder, decoder = nets(args.net, data.spec)
    method = VAE(Encoder(make_input(data.spec), encoder, 2 * DIM), decoder, dim=DIM, likelihood="bernoulli")
    precision = "32-true" if args.fp32 else "auto"
    asked = Config(
        data=DataConfig(source=None, rows=len(data), spec=data.spec.to_dict()),
        model=ModelConfig(method="vae", options=options_of(method, "vae")),
        training=TrainingConfig(epochs=10, batch_size=args.batch_size, learning_rate=1e-3, precision=precision),
    )
    config, _ = make_plan(method, data, asked, started=time.monotonic())
    clock = StepClock(args.steps)
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", config, {})
        with contextlib.suppress(Enough):
            train(run, method, data, progress=False)
    clock.close()
    rates = clock.throughput(args.batch_size, skip=args.skip, window=args.window)
    emit(
        SUMMARY,
        images_per_second=statistics.median(rates),
        windows=rates,
        decided={name: getattr(config.plan, name) for name in ("precision", "compile", "threads")},
        versions=versions("torch", "lightning", "numpy"),
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=("dense", "conv", "large"), default="dense")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--skip", type=int, default=50)
    parser.add_argument("--window", type=int, default=50)
    parser.add_argument("--fp32", action="store_true", help="no bf16, also where it is faster")
    return parser.parse_args()


if __name__ == "__main__":
    main()
