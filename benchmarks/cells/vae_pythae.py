"""Train pythae's VAE on Fashion-MNIST with its default dense network or a convolutional one: images/s of its trainer.

    .bench/venv/bin/python -m benchmarks.cells.vae_pythae --net dense --steps 400

Does not import salience. It uses pythae's batches of 128, data in memory as float32 in [0, 1], and binary
cross-entropy.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import logging
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_VAE_MNIST
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn

from benchmarks.harness.images import FASHION
from benchmarks.harness.report import SUMMARY, emit, versions
from benchmarks.harness.step_clock import Enough, StepClock
from benchmarks.harness.vae_nets import DIM, conv_decoder, conv_encoder


class ConvEncoder(BaseEncoder):
    """The convolutions both arms share, and pythae's two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.body = conv_encoder()

    def forward(self, x: Tensor) -> ModelOutput:
        mean, log_variance = self.body(x).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class ConvDecoder(BaseDecoder):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_decoder(), nn.Sigmoid())

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.body(z))


def nets(name: str, config: VAEConfig) -> tuple[BaseEncoder | None, BaseDecoder | None]:
    """None: pythae's default, dense"""
    if name == "large":
        return Encoder_Conv_VAE_MNIST(config), Decoder_Conv_AE_MNIST(config)
    return (ConvEncoder(), ConvDecoder()) if name == "conv" else (None, None)


def main() -> None:
    args = arguments()
    logging.disable(logging.CRITICAL)
    content = gzip.decompress(FASHION.read_bytes())
    images = np.frombuffer(content, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    x = torch.from_numpy(images.astype(np.float32) / 255)
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=DIM, reconstruction_loss="bce")
    torch.manual_seed(0)
    model = VAE(config, *nets(args.net, config))
    clock = StepClock(args.steps)
    with tempfile.TemporaryDirectory() as folder:
        trained = BaseTrainerConfig(
            output_dir=str(Path(folder)), num_epochs=10, per_device_train_batch_size=args.batch_size, no_cuda=True,
            optimizer_cls="AdamW", learning_rate=1e-3,
        )  # fmt: skip
        data = BaseDataset(x, torch.zeros(len(x)))
        with contextlib.suppress(Enough):
            BaseTrainer(model, data, training_config=trained).train()
    clock.close()
    rates = clock.throughput(args.batch_size, skip=args.skip, window=args.window)
    emit(SUMMARY, images_per_second=statistics.median(rates), windows=rates, versions=versions("torch", "pythae"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=("dense", "conv", "large"), default="dense")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--skip", type=int, default=50)
    parser.add_argument("--window", type=int, default=50)
    return parser.parse_args()


if __name__ == "__main__":
    main()
