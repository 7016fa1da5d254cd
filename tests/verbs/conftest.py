import pytest

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
