"""A source is read as the run was told in training, by every verb, unless it is said otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import salience
from salience.reading import Reading
from salience.store import open_store

EACH = 20  # images of each of two folders, which are called as splits are
CLASSES, SPLITS = Reading(folders="classes"), Reading(folders="splits")
VERBS = {
    "anomalies": ("pca", {}),
    "arithmetic": ("pca", {"add": "train", "subtract": "test"}),
    "denoise": ("pca", {}),
    "denoise, noisy": ("pca", {"noisy": True}),
    "interpolate": ("pca", {}),
    "reconstruct": ("pca", {}),
    "sample": ("vae", {"n": 3}),
    "super_resolve": ("conditional_gan", {}),
    "super_resolve, as is": ("conditional_gan", {"as_is": True}),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("salience.verbs.interpolate.PAIRS", 2)
    monkeypatch.setattr("salience.verbs.sample.ROUNDS", 1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    root, generator = tmp_path_factory.mktemp("split") / "pictures", np.random.default_rng(0)
    for name in ("train", "test"):
        (root / name).mkdir(parents=True)
        for number in range(EACH):
            Image.fromarray(generator.integers(0, 255, (8, 8), np.uint8)).save(root / name / f"{number:02}.png")
    return root


@pytest.fixture(scope="module")
def told(pictures, tmp_path_factory) -> dict[str, object]:
    """Runs that were told that the folders are classes."""
    where = tmp_path_factory.mktemp("told")
    options = {
        "pca": {"dim": 4},
        "vae": {"dim": 2, "epochs": 1, "encoder": "mlp"},
        "conditional_gan": {"epochs": 1, "channels": 4, "blocks": 1, "adversarial_weight": 0.0},
    }
    return {
        name: salience.fit(name, pictures, out=where / name, reading=CLASSES, progress=False, **given)
        for name, given in options.items()
    }


@pytest.mark.parametrize("verb", VERBS)
def test_a_source_is_read_as_in_training_unless_it_is_said(verb, told, pictures):
    method, options = VERBS[verb]
    options = options | ({"features": told["pca"]} if verb in ("interpolate", "sample") else {})
    call = getattr(salience, verb.partition(",")[0])
    assert call(told[method], pictures, progress=False, **options).about["items"] == 2 * EACH
    if verb != "arithmetic":  # a split has no classes here
        found = call(told[method], pictures, reading=SPLITS, progress=False, **options)
        assert found.about["items"] == EACH


def test_what_is_written_and_predicted_is_read_as_in_training_unless_it_is_said(told, pictures, tmp_path):
    (tmp_path / "labels.csv").write_text("item,label\n0,a\n1,a\n2,b\n3,b\n")
    for number, (how, count) in enumerate((({}, 2 * EACH), ({"reading": SPLITS}, EACH))):
        run, how = told["pca"], {"progress": False, **how}
        file = salience.embed_to(run, pictures, tmp_path / f"{number}.parquet", **how)
        store = salience.embed_to(run, pictures, tmp_path / f"{number}.lance", **how)
        predicted = salience.predict(run, pictures, tmp_path / "labels.csv", **how)
        assert [pq.read_table(file).num_rows, len(open_store(store)), len(predicted)] == [count] * 3
