"""Texts from fit to the page: every method that makes sense for them, resume, store, search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

import salience
from salience.data import open_data
from salience.explorer.app import make_app
from salience.explorer.state import Explorer
from salience.store import open_store
from salience.training import Interrupted
from tests.modalities.test_toys import interrupt_at


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, corpus: tuple[list[str], list[str]]) -> Path:
    import pandas as pd

    path = tmp_path_factory.mktemp("source") / "notes.csv"
    pd.DataFrame({"note": corpus[0], "topic": corpus[1]}).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run(source: Path, tmp_path_factory: pytest.TempPathFactory) -> salience.Representation:
    out = tmp_path_factory.mktemp("run") / "simclr"
    return salience.fit("simclr", source, labels="topic", out=out, epochs=3, batch_size=32, progress=False)


def test_a_run_keeps_its_tokenizer_beside_the_config(run: salience.Representation, source: Path) -> None:
    assert run.run is not None
    assert "vocabulary: vocabulary.json" in (run.run / "config.yaml").read_text()
    again = salience.load(run.run)
    assert again.spec == run.spec
    texts = ["a ship near the harbour", "bread"]
    np.testing.assert_array_equal(again.embed(texts), run.embed(texts))
    (kept := run.run / "vocabulary.json").rename(run.run / "moved.json")
    with pytest.raises(salience.UserError, match=r"vocabulary\.json"):
        salience.load(run.run)
    (run.run / "moved.json").rename(kept)


def test_embeddings_do_not_depend_on_company_or_order(run: salience.Representation, source: Path) -> None:
    data = run.open(source, progress=False)
    everything = run.embed(data)
    some = np.array([9, 2, 40, 41])
    np.testing.assert_array_equal(run.embed(data.subset(some)), everything[some])


def test_a_stopped_run_resumes_to_the_same_weights(
    run: salience.Representation, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"labels": "topic", "epochs": 3, "batch_size": 32, "progress": False}
    with monkeypatch.context() as patched:
        interrupt_at(3, patched)
        with pytest.raises(Interrupted):
            salience.fit("simclr", source, out=tmp_path / "run", **options)
    resumed = salience.resume(tmp_path / "run", progress=False)
    for name, weights in run.method.state_dict().items():
        assert torch.equal(weights, resumed.method.state_dict()[name]), name


@pytest.mark.parametrize("method", ["byol", "supcon"])
def test_methods_that_compare_views(method: str, source: Path, tmp_path: Path) -> None:
    run = salience.fit(method, source, labels="topic", out=tmp_path / "run", epochs=1, batch_size=64, progress=False)
    embedded = run.embed(source)
    assert embedded.shape == (64, 128)
    assert np.isfinite(embedded).all()
    assert embedded.std(0).mean() > 1e-3


@pytest.mark.parametrize("method", ["autoencoder", "denoising_autoencoder", "vae"])
def test_methods_that_reconstruct_tf_idf(method: str, source: Path, tmp_path: Path) -> None:
    run = salience.fit(method, source, out=tmp_path / "run", dim=8, epochs=30, batch_size=32, progress=False)
    data = run.open(source, progress=False)
    x = run.unit(data.batch(np.arange(64))).numpy()
    error = np.square(run.reconstruct(data) - x).mean()
    assert run.config.model.encoder == "mlp"
    assert error < 0.95 * np.square(x - x.mean(0)).mean()


def test_dense_layers_learn_from_views_too(source: Path, tmp_path: Path) -> None:
    run = salience.fit("simclr", source, encoder="mlp", out=tmp_path / "run", epochs=1, batch_size=64, progress=False)
    assert np.isfinite(run.embed(source)).all()


def test_pca_and_k_means_find_the_topics(source: Path, tmp_path: Path) -> None:
    data = open_data(source, labels="topic", progress=False)
    pca = salience.fit("pca", source, labels="topic", out=tmp_path / "pca", dim=4, progress=False)
    assert data.labels is not None
    first = pca.embed(data)
    side = first[:, np.abs([np.corrcoef(one, data.labels)[0, 1] for one in first.T]).argmax()] > 0
    assert max((side == data.labels).mean(), (side != data.labels).mean()) > 0.9
    clusters = salience.fit("kmeans", source, out=tmp_path / "kmeans", progress=False)
    assert len(clusters.embed(data)) == 64


def test_evaluation_tells_topics_apart(run: salience.Representation, source: Path) -> None:
    report = salience.evaluate(run, on=source, labels="topic", write=False)
    assert "TF-IDF" in report.text()
    assert report.to_dict()["baselines"]["raw"]["knn"]["accuracy"]["value"] > 0.8


@pytest.fixture(scope="module")
def store(run: salience.Representation, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("store") / "notes.lance"
    salience.embed_to(run, source, place, progress=False)
    return place


def test_a_store_keeps_the_texts_and_is_searched_by_words(
    store: Path, corpus: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    opened = open_store(store)
    assert list(opened.column("text", np.arange(3))) == corpus[0][:3]
    found = salience.search(store, corpus[0][10], k=2).table
    assert found is not None
    assert found["id"][0] == "10"
    assert found["distance"][0] < 1e-5
    assert corpus[0][10].startswith(found["text"][0].removesuffix("[...]").strip())
    (tmp_path / "query.txt").write_text(corpus[0][20])
    by_file = salience.search(store, tmp_path / "query.txt", k=1).table
    assert by_file is not None
    assert by_file["id"][0] == "20"


def test_the_page_shows_and_searches_texts(store: Path, corpus: tuple[list[str], list[str]]) -> None:
    with TestClient(make_app(Explorer(open_store(store))), base_url="http://127.0.0.1:8300") as page:
        assert page.get("/items/4").json()["columns"]["text"] == corpus[0][4]
        hits = page.post("/search", json={"text": corpus[0][12], "k": 2}).json()["hits"]
        assert hits[0]["id"] == "12"
        mixed = page.post("/search", json={"text": "bread and butter or a ship in the harbour", "k": 2})
        assert len(mixed.json()["hits"]) == 2
