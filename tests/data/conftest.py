import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own for every test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SALIENCE_CACHE", str(folder))
    return folder


@pytest.fixture
def pictures(tmp_path):
    """A folder of 6 PNG of 10x10 in two classes; picture i is all of the value 40 i."""
    root = tmp_path / "pictures"
    for i in range(6):
        path = root / ("ant" if i < 3 else "bee") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((10, 10, 3), 40 * i, np.uint8)).save(path)
    return root
