import pytest

from salience.data import Dataset, open_data
from salience.representation import Representation
from salience.training import fit


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
