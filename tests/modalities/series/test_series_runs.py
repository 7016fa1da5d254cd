"""Series of one length and of different lengths pass fit, resume, embed, evaluate, store, search and the page."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

import salience
from salience.data import Dataset, open_data
from salience.data.prepare import prepare
from salience.explorer.app import make_app
from salience.explorer.state import Explorer
from salience.fields.build_options import Options
from salience.fields.content import Arrays, Found
from salience.fields.source import Source
from salience.fields.stored_items import Ragged
from salience.store import open_store
from salience.training import Interrupted
from salience.verbs.pictures import table_figure
from tests.modalities.test_toys import interrupt_at

N = 24
QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 12, "progress": False}


def write_waves(folder: Path, *, ragged: bool) -> Path:
    """Slow and fast waves of two channels, as NAME_TRAIN.ts and NAME_TEST.ts."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split in ("TRAIN", "TEST"):
        lines = ["@problemName waves", "@classLabel true slow fast", "@data"]
        for row in range(N):
            steps = int(rng.integers(6, 17)) if ragged else 12
            time = np.arange(steps) * (0.3, 1.5)[row % 2] + rng.uniform(0, 6)
            x = np.stack([np.sin(time), np.cos(time)]) + rng.normal(0, 0.3, (2, steps))
            channels = [",".join(f"{value:.3f}" for value in one) for one in x]
            lines.append(":".join([*channels, ("slow", "fast")[row % 2]]))
        (folder / f"waves_{split}.ts").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module", params=["dense", "ragged"])
def source(request: Any, tmp_path_factory: Any) -> Path:
    return write_waves(tmp_path_factory.mktemp(request.param) / "waves", ragged=request.param == "ragged")


@pytest.fixture(scope="module")
def run(source: Path, tmp_path_factory: Any) -> salience.Representation:
    return salience.fit("simclr", source, out=tmp_path_factory.mktemp("run") / "simclr", **QUICK | {"epochs": 3})


def opened(source: Any) -> Dataset:
    return open_data(source, progress=False)


def test_a_run_embeds_as_before_after_loading(run: salience.Representation, source: Path) -> None:
    assert run.run is not None
    codes = run.embed(source)
    assert codes.shape == (N, run.dim)
    assert np.array_equal(salience.load(run.run).embed(source), codes)
    rows = np.array([9, 2, 20])
    np.testing.assert_allclose(run.embed(opened(source).subset(rows)), codes[rows], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["byol", "vicreg", "barlowtwins", "supcon"])
def test_joint_embedding_methods_learn_from_series(method: str, source: Path, tmp_path: Path) -> None:
    encoder = "gru" if method == "byol" else "convnet"
    labelled = method == "supcon"
    rep = salience.fit(method, source, out=tmp_path / "run", use_labels=labelled, encoder=encoder, **QUICK)
    assert np.isfinite(rep.embed(source)).all()


@pytest.mark.parametrize("method", ["pca", "kmeans"])
def test_closed_forms_learn_from_series(method: str, source: Path, tmp_path: Path) -> None:
    size = {"dim": 4} if method == "pca" else {"k": 2}
    rep = salience.fit(method, source, out=tmp_path / "run", progress=False, **size)
    assert np.isfinite(rep.embed(source)).all()


@pytest.mark.parametrize("method", ["autoencoder", "denoising_autoencoder", "vae"])
def test_methods_that_rebuild_need_one_length(method: str, source: Path, tmp_path: Path) -> None:
    if isinstance(opened(source).stored, Ragged):
        with pytest.raises(salience.UserError, match="one shape"):
            salience.fit(method, source, out=tmp_path / "run", **QUICK)
        return
    rep = salience.fit(method, source, out=tmp_path / "run", **QUICK)
    assert rep.reconstruct(source).shape == (N, 12, 2)


def test_versions_of_series_are_drawn_as_rows() -> None:
    figure = table_figure([("original", torch.zeros(2, 5, 3)), ("rebuilt", np.ones((2, 5, 3)))])  # type: ignore[list-item]
    images = [axes.images[0].get_array() for axes in figure.axes[:2]]
    assert [image.shape for image in images] == [(6, 5), (6, 5)]


@pytest.mark.slow
def test_an_autoencoder_learns_to_rebuild_series(tmp_path: Path) -> None:
    source = write_waves(tmp_path / "waves", ragged=False)
    unit = opened(source).x
    errors = []
    for epochs in (1, 30):
        rep = salience.fit(
            "autoencoder", source, out=tmp_path / f"{epochs}", **QUICK | {"epochs": epochs}, dim=8, learning_rate=0.01
        )
        rebuilt = rep.reconstruct(source) * np.array(rep.spec.std) + np.array(rep.spec.mean)
        errors.append(np.square(rebuilt - unit).mean() / unit.var())
    assert errors[1] < 0.6 * errors[0]


def test_a_stopped_run_resumes_to_the_same_weights(source: Path, tmp_path: Path, monkeypatch: Any) -> None:
    options = QUICK | {"epochs": 2}
    whole = salience.fit("simclr", source, out=tmp_path / "whole", **options)
    interrupt_at(2, monkeypatch)
    with pytest.raises(Interrupted):
        salience.fit("simclr", source, out=tmp_path / "stopped", **options)
    monkeypatch.undo()
    resumed = salience.resume(tmp_path / "stopped", progress=False)
    for name, weights in whole.method.state_dict().items():
        assert torch.equal(weights, resumed.method.state_dict()[name]), name


def test_a_run_finds_classes_of_the_test_split(run: salience.Representation, source: Path) -> None:
    report = salience.evaluate(run, on=source, write=False).to_dict()
    assert report["representation"]["linear"]["accuracy"]["value"] > 0.8


def test_series_are_stored_searched_and_shown(run: salience.Representation, source: Path, tmp_path: Path) -> None:
    salience.embed_to(run, source, tmp_path / "items.lance", progress=False)
    found = salience.search(tmp_path / "items.lance", "0", k=3)
    assert len(found.table) == 3
    with TestClient(make_app(Explorer(open_store(tmp_path / "items.lance"))), base_url="http://127.0.0.1:8300") as page:
        assert page.get("/store").json()["modality"] == "series"
        assert page.get("/points?map=pca").status_code == 200
        picture = page.get("/items/0/image")
        assert Image.open(io.BytesIO(picture.content)).size == (128, 96)


def test_preparing_series_keeps_memory_flat_and_leaves_one_copy(tmp_path: Path) -> None:
    """Series that are made one at a time, 64 MB in all, are prepared with less than 40 MB of their arrays in memory."""
    import tracemalloc

    def chunks() -> Any:
        for row in range(256):
            yield [np.full((30_000 + row % 2, 2), row, np.float32)]

    source = Source("many", "train", lambda: Found(Arrays("series", 256, chunks)), "mark", "here")  # type: ignore[arg-type]
    tracemalloc.start()
    data = prepare(source, Options(), tmp_path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 40e6
    assert len(data) == 256
    assert data.item(3)[-1].tolist() == [3, 3]
    assert isinstance(data.stored, Ragged)
    assert isinstance(data.stored.values, np.memmap)
    (folder,) = (tmp_path / "prepared").iterdir()
    assert not (folder / "x.bin").exists()
