import numpy as np
import pytest
import torch

from salience.config import Config
from salience.data import Dataset
from salience.measures.raw_features import raw_features
from salience.modalities.image.spec import ImageSpec
from salience.own_code import code_of
from salience.reading import AS_FOUND


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


IMAGES = ImageSpec((1, 4, 4), "uint8", 0.0, 255.0, (0.5,), (0.25,), views="glyphs")


def blobs(n=120, classes=3, seed=0, noise=25.0, name="blobs", split="train", labels=True, groups=None, fingerprint="f"):
    """n grey 4x4 images: each class its own pattern, plus noise."""
    generator = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).uniform(40, 215, (classes, 1, 4, 4))
    y = np.arange(n) % classes
    x = np.clip(patterns[y] + generator.normal(0, noise, (n, 1, 4, 4)), 0, 255).astype(np.uint8)
    classes = tuple(f"class {label}" for label in range(classes))
    ids = [f"{row}.png" for row in range(n)]
    return Dataset(
        name, split, IMAGES, x, y if labels else None, classes if labels else (), ids, fingerprint, groups=groups
    )


def config_of(**data):
    """The configuration of a run that knows this about its source."""
    values = {"source": None, "rows": 1, "method": "projection", "options": {}, "spec": IMAGES.to_dict()}
    return Config.from_dict(values | data)


class Projection:
    """A representation: raw pixels times a fixed matrix."""

    method_name = "projection"
    method = None
    capabilities = ()
    reading = AS_FOUND

    def __init__(self, dim=8, seed=0, run=None, config=None, trained_on=None, trains=True):
        self.spec, self.dim, self.run, self.config, self.trains = IMAGES, dim, run, config or config_of(), trains
        self.trained_on = trained_on or {"source": None, "split": None, "fingerprint": "elsewhere", "rows": 0}
        self.matrix = np.random.default_rng(seed).normal(size=(16, dim)).astype(np.float32) / 4
        self.embedded = []
        self.code = code_of(self.config)

    def open(self, source, **options):
        return source

    def open_trained(self, source):
        return self.open(source)

    def embed(self, data, progress=False):
        self.embedded.append(len(data))
        return raw_features(data) @ self.matrix

    def untrained(self, data, seed=0):
        return Projection(self.dim, seed=50 + seed) if self.trains else None
