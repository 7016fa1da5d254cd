"""What is taken where nobody says otherwise: every option's default, and how each method is trained."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from salience import catalogue
from salience.methods import method_class
from salience.modalities.image.spec import ImageSpec
from salience.nets import make_encoder
from salience.nets.adversaries import make_discriminator
from salience.nets.teacher import teacher_of

OPTIONS: dict[str, dict[str, Any]] = {
    "autoencoder": {"dim": 64},
    "barlowtwins": {"dim": "auto", "redundancy": 0.0051},
    "byol": {"dim": 256, "hidden": "auto", "momentum": 0.996},
    "cmc": {"dim": 128, "temperature": 0.07},
    "conditional_gan": {"factor": 2, "adversarial_weight": 0.01, "channels": 32, "blocks": 4},
    "contractive_autoencoder": {"dim": "auto", "weight": 0.1, "estimate": "auto"},
    "crvae": {
        "dim": 64,
        "beta": 1.0,
        "gamma": 10.0,
        "temperature": 0.1,
        "momentum": 0.99,
        "queue": "auto",
        "likelihood": "auto",
        "autoregressive": False,
    },
    "dbm": {"hidden": 256, "depth": 2, "visible": "auto", "passes": 10, "steps": 5, "chains": 64},
    "dbn": {"hidden": 256, "depth": 2, "dim": 256, "visible": "auto", "fine_tune": "auto"},
    "deep_autoencoder": {"dim": 64, "hidden": 1000, "depth": 3},
    "denoising_autoencoder": {"dim": 64, "noise": "masking", "level": "auto"},
    "dfcvae": {"dim": 64, "beta": 1.0, "features": "auto", "network": "auto", "layers": 3},
    "dino": {
        "outputs": "auto",
        "hidden": "auto",
        "bottleneck": 256,
        "local_crops": "auto",
        "student_temperature": 0.1,
        "teacher_temperature": 0.04,
        "centre_momentum": 0.9,
        "momentum": 0.996,
        "decay": 0.04,
        "final_decay": 0.4,
        "frozen": 0.01,
    },
    "gan": {"dim": 64, "channels": 64, "penalty": "r1", "penalty_weight": 10.0, "smoothing": 0.0},
    "kmeans": {"k": 20, "restarts": 1},
    "moco": {"dim": 128, "head": "mlp", "temperature": "auto", "momentum": 0.999, "queue": "auto", "groups": 4},
    "pca": {"dim": 64},
    "pretrained": {"weights": "auto", "network": "auto", "size": "auto", "interpolation": "auto"},
    "rbm": {"hidden": 256, "visible": "auto", "steps": 1, "persistent": True, "chains": 64},
    "simclr": {"dim": 128, "temperature": 0.5},
    "simsiam": {"dim": "auto", "bottleneck": "auto"},
    "sparse_autoencoder": {"dim": "auto", "penalty": "l1", "weight": 0.05, "sparsity": 0.05},
    "stacked_autoencoder": {"dim": 256, "hidden": 512, "depth": 3, "level": 0.25, "fine_tune": "auto"},
    "supcon": {"dim": 128, "temperature": 0.1},
    "swav": {
        "prototypes": "auto",
        "dim": 128,
        "hidden": "auto",
        "temperature": 0.1,
        "epsilon": 0.05,
        "iterations": 3,
        "local_crops": "auto",
        "queue": "auto",
        "queue_start": 0.1,
        "frozen": 0.01,
    },
    "vae": {"dim": 64, "beta": 1.0, "likelihood": "auto", "autoregressive": False},
    "vicreg": {"dim": "auto", "invariance": 25.0, "variance": 25.0, "covariance": 1.0},
}
TRAINING: dict[str, Any] = {
    "needs_labels": False, "sync_batchnorm": True, "partial": False, "judged_by_neighbours": True,
    "learning_rate": None, "betas": (0.9, 0.999), "default_encoder": None,
}  # fmt: skip
DIFFERENT: dict[str, dict[str, Any]] = {
    "gan": {"learning_rate": 2e-4, "betas": (0.5, 0.999), "partial": True},  # as DCGAN and pix2pix
    "conditional_gan": {
        "learning_rate": 2e-4, "betas": (0.5, 0.999), "partial": True, "judged_by_neighbours": False
    },
    "stacked_autoencoder": {"learning_rate": 1e-3, "default_encoder": "mlp", "partial": True},
    "deep_autoencoder": {"default_encoder": "mlp"},
    "moco": {"sync_batchnorm": False},
    "supcon": {"needs_labels": True},
    "dbn": {"learning_rate": 3e-3, "default_encoder": "mlp", "partial": True},
    "dbm": {"learning_rate": 3e-3, "default_encoder": "mlp", "partial": True},
    "rbm": {"learning_rate": 1e-2, "betas": (0.0, 0.999), "default_encoder": "mlp"},
}  # fmt: skip
BY_GRADIENT = [entry.name for entry in catalogue.entries() if entry.kind != "ClosedForm"]
IMAGES = ImageSpec((3, 16, 16), "uint8", 0, 255, (0.5, 0.4, 0.3), (0.1, 0.2, 0.3))


def test_every_options_default() -> None:
    assert {e.name: {option.name: option.default for option in e.options} for e in catalogue.entries()} == OPTIONS


@pytest.mark.parametrize("name", BY_GRADIENT)
def test_how_a_method_is_trained(name: str) -> None:
    found = {key: getattr(method_class(name), key) for key in TRAINING}
    assert found == TRAINING | DIFFERENT.get(name, {})


@pytest.mark.parametrize("name", ["convnet", "mlp", "resnet18"])
def test_an_encoder_and_its_teacher_begin_in_training_with_batch_norms_as_torch_has_them(name: str) -> None:
    encoder = make_encoder(name, IMAGES)
    teacher = teacher_of(encoder)
    norms = [part for part in encoder.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    assert {(norm.momentum, norm.eps, norm.affine) for norm in norms} == {(0.1, 1e-5, True)}
    assert all(part.training for network in (encoder, teacher) for part in network.modules())


def test_the_judge_of_dcgan_has_its_slope_and_its_first_weights() -> None:
    encoder, _ = make_discriminator("convnet", IMAGES, channels=64)
    slopes = {part.negative_slope for part in encoder.modules() if isinstance(part, nn.LeakyReLU)}
    assert slopes == {0.2}
    convolutions = [part for part in encoder.modules() if isinstance(part, nn.Conv2d)]
    assert [(part.stride, part.padding, part.padding_mode) for part in convolutions] == [((2, 2), (1, 1), "zeros")] * 2
    weight = convolutions[1].weight  # of 131,072 draws
    assert abs(weight.std().item() / 0.02 - 1) < 4 / (2 * weight.numel()) ** 0.5
    assert len([part for part in encoder.modules() if isinstance(part, nn.GroupNorm)]) == 1  # not after the first
