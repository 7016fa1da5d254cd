"""Built-in data sets: digits from scikit-learn; fashion-mnist from Debian or by download; cifar10 by download."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from salience.data.download import fetch
from salience.data.sources import idx
from salience.data.sources.query import Query, choose_split, refuse_labels, require_train_split
from salience.errors import UserError
from salience.fields.content import Found
from salience.fields.source import Source, mark_of
from salience.source_names import BUILT_IN

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
FASHION_SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

# The binary version, because the other one consists of pickles, which can run code.
CIFAR_URL = "https://www.cs.toronto.edu/~kriz"
CIFAR_FILE = "cifar-10-binary.tar.gz"
CIFAR_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
CIFAR_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
BOTH = ("train", "test")
CIFAR_PARTS = {"train": tuple(f"data_batch_{part}.bin" for part in range(1, 6)), "test": ("test_batch.bin",)}


def digits(query: Query) -> Source:
    """Open 1,797 handwritten digits of 8x8 pixels, rescaled from 0..16 to 0..255."""
    require_train_split(query, "digits")
    refuse_labels(query, "digits")

    def read() -> Found:
        rows = _digits_file()
        x = (rows[:, :-1].reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
        return Found(x, None, rows[:, -1].astype(np.int64), tuple("0123456789"), views="glyphs")

    return Source("digits", "train", read)


def _digits_file() -> np.ndarray:
    """[1797 65] float64: 64 pixels and the digit. Read from scikit-learn's file: to import it takes seconds."""
    package = find_spec("sklearn")
    folders = (package.submodule_search_locations or []) if package else []
    for path in (Path(folder) / "datasets" / "data" / "digits.csv.gz" for folder in folders):
        if path.is_file():
            return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits

    data, target = load_digits(return_X_y=True)
    return np.column_stack([data, target])


def fashion_mnist(query: Query, url: str = FASHION_URL, installed: Path = DEBIAN) -> Source:
    """Open 70,000 grey images of clothes, 28x28 pixels, from the folder `installed` if it exists, otherwise `url`."""
    split = choose_split(query.split, BOTH, "fashion-mnist")
    refuse_labels(query, "fashion-mnist")
    prefix = "train" if split == "train" else "t10k"
    files = [f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz"]
    folder = installed
    if not all((installed / name).is_file() for name in files):
        folder = query.cache / "downloads" / "fashion-mnist"
        for name in files:
            fetch(f"{url}/{name}", folder / name, FASHION_SHA256[name], progress=query.progress)
    source = idx.make_source(folder / files[0], "fashion-mnist", split, query, classes=FASHION_CLASSES, views="grey")
    return replace(source, splits=BOTH)


def cifar10(query: Query, url: str = CIFAR_URL, sha256: str = CIFAR_SHA256) -> Source:
    """Open 60,000 colour photographs of 32x32 pixels. They are downloaded once, 162 MB."""
    split = choose_split(query.split, BOTH, "cifar10")
    refuse_labels(query, "cifar10")
    path = query.cache / "downloads" / CIFAR_FILE

    def read() -> Found:
        fetch(f"{url}/{CIFAR_FILE}", path, sha256, progress=query.progress)
        records = np.concatenate(_members(path, CIFAR_PARTS[split]))  # [n 1 + 3072]: label, red, green, blue
        images = records[:, 1:].reshape(-1, 3, 32, 32)
        return Found(images, None, records[:, 0].astype(np.int64), CIFAR_CLASSES, views="natural")

    return Source("cifar10", split, read, mark_of([sha256]), "cifar10", BOTH)


def _members(archive: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    """Read the records of these files of the archive, in the order of `names`, without extracting it to disk."""
    parts = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = Path(member.name).name
                if name in names and (file := tar.extractfile(member)):
                    parts[name] = np.frombuffer(file.read(), dtype=np.uint8).reshape(-1, 3073)
        return [parts[name] for name in names]
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"source: {archive} is damaged ({error}); delete it to download it again") from error


NAMES: dict[str, Callable[[Query], Source]] = dict(zip(BUILT_IN, (digits, fashion_mnist, cifar10), strict=True))
