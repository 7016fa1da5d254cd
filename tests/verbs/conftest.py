from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from salience.data import Dataset, open_data
from salience.representation import Representation
from salience.training import fit
from tests.store.conftest import make_store as make_store  # fixtures of this folder too
from tests.store.conftest import store as store


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return open_data("digits", progress=False)


@pytest.fixture(scope="session")
def autoencoder(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Representation:
    """Of dense layers, after a few epochs: rebuilds digits so that they can be read."""
    out = tmp_path_factory.mktemp("runs") / "autoencoder"
    return fit("autoencoder", digits, out=out, epochs=6, encoder="mlp", dim=16, progress=False)


@pytest.fixture(scope="session")
def pca(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Representation:
    out = tmp_path_factory.mktemp("runs") / "pca"
    return fit("pca", digits, out=out, dim=12, progress=False)


@pytest.fixture(scope="session")
def vae(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Representation:
    """Of dense layers, after a few epochs: draws blurred digits."""
    out = tmp_path_factory.mktemp("runs") / "vae"
    options = {"epochs": 25, "encoder": "mlp", "dim": 8, "learning_rate": 3e-3}
    return fit("vae", digits, out=out, progress=False, **options)


@pytest.fixture(scope="session")
def enlarger(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Representation:
    """Twofold, a plain regression."""
    out = tmp_path_factory.mktemp("runs") / "enlarger"
    options = {"epochs": 3, "channels": 8, "blocks": 1, "adversarial_weight": 0.0, "learning_rate": 3e-3}
    return fit("conditional_gan", digits.subset(range(600)), out=out, progress=False, **options)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twice as wide as high, of two classes; what is cropped differs from what is stretched."""
    root = tmp_path_factory.mktemp("wide") / "photos"
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(12):
            image = np.repeat(np.repeat(generator.integers(0, 255, (4, 8), np.uint8), 2, 0), 2, 1)
            Image.fromarray(image).save(root / name / f"{number:02}.png")
    return root


@pytest.fixture(scope="session")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Representation]:
    """Trained on the middles of the images."""
    where, data = tmp_path_factory.mktemp("runs"), open_data(photos, resolution=8, progress=False)
    enlarger = {"epochs": 1, "channels": 4, "blocks": 1, "adversarial_weight": 0.0}
    return {
        "pca": fit("pca", data, out=where / "pca", dim=4, progress=False),
        "vae": fit("vae", data, out=where / "vae", epochs=1, encoder="mlp", dim=2, progress=False),
        "conditional_gan": fit("conditional_gan", data, out=where / "gan", progress=False, **enlarger),
    }
