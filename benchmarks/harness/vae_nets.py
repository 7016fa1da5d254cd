"""The networks of the VAE comparison: pythae's default dense one, a small and a large convolutional one.

The large convolutional network is the one that pythae publishes for these images.
"""

from __future__ import annotations

from torch import nn

DIM = 16


def dense_encoder() -> nn.Sequential:
    """784-512-2d, as pythae's Encoder_VAE_MLP has it.  [n 1 28 28] -> [n 2d]"""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 2 * DIM))


def dense_decoder() -> nn.Sequential:
    """d-512-784, as pythae's Decoder_AE_MLP has it, without the last sigmoid.  [n d] -> [n 1 28 28]"""
    return nn.Sequential(nn.Linear(DIM, 512), nn.ReLU(), nn.Linear(512, 784), nn.Unflatten(1, (1, 28, 28)))


def conv_encoder() -> nn.Sequential:
    """Salience's small net for images: six 3x3 convolutions, three of stride 2, and a linear layer.  -> [n 2d]"""
    plan = [(1, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2)]
    layers: list[nn.Module] = []
    for before, after, stride in plan:
        convolution = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256 * 16, 2 * DIM))


def conv_decoder() -> nn.Sequential:
    """And its decoder: three times enlarge, 3x3 convolution. Without the last sigmoid.  [n d] -> [n 1 28 28]"""
    layers: list[nn.Module] = [nn.Linear(DIM, 256 * 16), nn.Unflatten(1, (256, 4, 4))]
    for before, after, size in ((256, 128, 7), (128, 64, 14), (64, 32, 28)):
        layers += [nn.Upsample(size, mode="nearest"), nn.Conv2d(before, after, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(32, 1, 3, padding=1))


def large_encoder() -> nn.Sequential:
    """Four 4x4 convolutions of stride 2 and two heads in one, as pythae's Encoder_Conv_VAE_MNIST.  -> [n 2d]"""
    layers: list[nn.Module] = []
    for before, after in ((1, 128), (128, 256), (256, 512), (512, 1024)):
        layers += [nn.Conv2d(before, after, 4, 2, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 2 * DIM))


def large_decoder() -> nn.Sequential:
    """As pythae's Decoder_Conv_AE_MNIST has it, without the last sigmoid.  [n d] -> [n 1 28 28]"""
    layers: list[nn.Module] = [nn.Linear(DIM, 1024 * 16), nn.Unflatten(1, (1024, 4, 4))]
    for before, after, size in ((1024, 512, 7), (512, 256, 14)):
        enlarge = nn.ConvTranspose2d(before, after, 3, 2, padding=1, output_padding=1 - size % 2)
        layers += [enlarge, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(256, 1, 3, 2, padding=1, output_padding=1))
