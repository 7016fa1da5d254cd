"""The nets both sides of the VAE comparison train: pythae's default dense one, and a small convolutional one."""

from __future__ import annotations

from pathlib import Path

from torch import nn

FASHION = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")
DIM = 16


def dense_encoder() -> nn.Sequential:
    """784-512-2d, as pythae's Encoder_VAE_MLP has it.  [n 1 28 28] -> [n 2d]"""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 2 * DIM))


def dense_decoder() -> nn.Sequential:
    """d-512-784, as pythae's Decoder_AE_MLP has it, without the last sigmoid.  [n d] -> [n 1 28 28]"""
    return nn.Sequential(nn.Linear(DIM, 512), nn.ReLU(), nn.Linear(512, 784), nn.Unflatten(1, (1, 28, 28)))


def conv_encoder() -> nn.Sequential:
    """Three 4x4 convolutions of stride 2 with batch norm and ReLU.  [n 1 28 28] -> [n 2d]"""
    layers: list[nn.Module] = []
    for before, after in ((1, 64), (64, 128), (128, 256)):
        layers += [nn.Conv2d(before, after, 4, 2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256 * 9, 2 * DIM))


def conv_decoder() -> nn.Sequential:
    """The same in reverse, without the last sigmoid.  [n d] -> [n 1 28 28]"""
    layers: list[nn.Module] = [nn.Linear(DIM, 256 * 16), nn.Unflatten(1, (256, 4, 4))]
    for before, after, more in ((256, 128, 0), (128, 64, 0)):
        layers += [nn.ConvTranspose2d(before, after, 3, 2, padding=1, output_padding=more), nn.BatchNorm2d(after)]
        layers += [nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(64, 1, 4, 2, padding=0))
