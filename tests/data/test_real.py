"""Data as they come from others. Set SALIENCE_DATA to the folder that holds them."""

import os
from pathlib import Path

import numpy as np
import pytest

from salience.data import open_data

FOLDER = Path(os.environ.get("SALIENCE_DATA", "nowhere"))


@pytest.mark.slow
@pytest.mark.skipif(not (FOLDER / "cifar10-test.parquet").exists(), reason="no cifar10-test.parquet in SALIENCE_DATA")
def test_cifar10_in_parquet():
    data = open_data(FOLDER / "cifar10-test.parquet")
    assert data.x.shape == (10_000, 3, 32, 32)
    assert np.bincount(data.labels).tolist() == [1000] * 10
    assert data.classes[:2] == ("airplane", "automobile")
    np.testing.assert_allclose(data.spec.mean, (0.494, 0.485, 0.450), atol=1e-3)
    assert data.bad == ()


@pytest.mark.skipif(not (FOLDER / "umap-embeddings").is_dir(), reason="no umap-embeddings in SALIENCE_DATA")
def test_published_embeddings_in_npz():
    data = open_data(FOLDER / "umap-embeddings" / "usps.npz")
    assert data.x.shape == (9298, 10)
    assert len(data.classes) == 10
