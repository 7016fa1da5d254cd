"""Recordings pass fit, resume, embed, evaluate, store, search and the page; one file is one item of a folder."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from PIL import Image
from starlette.testclient import TestClient

import salience
from salience.data import open_data
from salience.errors import UserError
from salience.explorer.app import make_app
from salience.explorer.state import Explorer
from salience.modalities.audio import MODALITY
from salience.reading import Reading
from salience.store import open_store
from salience.training import Interrupted
from tests.modalities.audio.sounds import RATE, write_notes
from tests.modalities.test_toys import interrupt_at

VIEWED = ("simclr", "byol", "vicreg", "barlowtwins", "supcon")
DECODED = ("autoencoder", "denoising_autoencoder", "vae")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_notes(tmp_path_factory.mktemp("notes") / "notes")


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> salience.Representation:
    out = tmp_path_factory.mktemp("run") / "simclr"
    return salience.fit("simclr", folder, out=out, epochs=2, batch_size=12, progress=False)


@pytest.mark.parametrize("method", VIEWED[1:])
def test_methods_with_views_learn_from_recordings_of_any_length(method: str, folder: Path, tmp_path: Path) -> None:
    run = salience.fit(method, folder, out=tmp_path / "run", epochs=1, batch_size=12, progress=False)
    codes = run.embed(folder)
    assert codes.shape == (24, run.dim)
    assert np.isfinite(codes).all()


@pytest.mark.parametrize("method", DECODED)
def test_methods_that_decode_need_one_length(method: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--window"):
        salience.fit(method, folder, out=tmp_path / "none", epochs=1, progress=False)
    reading = Reading(window=0.2)
    run = salience.fit(
        method, folder, out=tmp_path / "run", epochs=1, batch_size=12, progress=False, reading=reading, dim=4
    )
    rebuilt = run.reconstruct(folder)
    assert rebuilt.shape[1:] == (21, 40)
    assert np.isfinite(rebuilt).all()
    assert salience.load(tmp_path / "run").embed(folder).shape[1] == 4


@pytest.mark.parametrize("window", [None, 0.1])
def test_pca_and_kmeans_tell_tones_apart(window: float | None, folder: Path, tmp_path: Path) -> None:
    data = open_data(folder, reading=Reading(window=window), progress=False)
    assert data.labels is not None
    for method, options in (("pca", {"dim": 3}), ("kmeans", {"k": 4})):
        out = tmp_path / method
        codes = salience.fit(method, data, out=out, progress=False, **options).embed(data)  # type: ignore[arg-type]
        low, high = (codes[data.labels == label].mean(0) for label in (0, 1))
        assert np.linalg.norm(low - high) > 0.5 * codes.std()


def test_an_interrupted_run_resumes_bit_for_bit(
    run: salience.Representation, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(2, monkeypatch)
    with pytest.raises(Interrupted):
        salience.fit("simclr", folder, out=tmp_path / "run", epochs=2, batch_size=12, progress=False)
    monkeypatch.undo()
    resumed = salience.resume(tmp_path / "run", progress=False)
    assert np.array_equal(resumed.embed(folder), run.embed(folder))


def test_an_embedding_does_not_depend_on_its_company(run: salience.Representation, folder: Path) -> None:
    data, rows = open_data(folder, progress=False), np.array([9, 2, 20])
    np.testing.assert_allclose(run.embed(data.subset(rows)), run.embed(data)[rows], rtol=1e-4, atol=1e-5)


def test_it_is_evaluated_beside_the_log_mel_baseline(run: salience.Representation, folder: Path) -> None:
    report = salience.evaluate(run, on=folder, write=False)
    assert "log-mel" in str(report.to_dict())


def test_a_store_shows_spectrograms_and_the_page_plays_recordings(
    run: salience.Representation, folder: Path, tmp_path: Path
) -> None:
    from salience.verbs.export import embed_to
    from salience.verbs.search import search

    assert run.run is not None
    embed_to(run.run, folder, tmp_path / "store.lance")
    store = open_store(tmp_path / "store.lance")
    picture = store.thumbnails([3])[0]
    assert picture is not None
    assert Image.open(io.BytesIO(picture)).height == 80
    data = open_data(folder, progress=False)
    np.testing.assert_allclose(store.column("seconds")[3], len(data.item(3)) / RATE, rtol=1e-6)
    hits = search(tmp_path / "store.lance", "high/03.wav", k=3).table
    assert hits is not None
    assert len(hits) == 3
    with serving(tmp_path, token="secret") as page:
        assert page.get("/items/3/media").status_code == 401
        found = page.get("/items/3/media", headers={"Authorization": "Bearer secret"})
        assert found.status_code == 200
        assert found.headers["content-type"] == "audio/wav"
        samples, rate = soundfile.read(io.BytesIO(found.content), dtype="int16")
        item = page.get("/items/3", headers={"Authorization": "Bearer secret"}).json()
        assert item["media"] == "audio/wav"
        assert rate == RATE
        assert np.array_equal(samples, data.item(list(data.ids).index(item["id"])))
        assert page.get("/items/99/media", headers={"Authorization": "Bearer secret"}).status_code == 404
        assert page.get("/items/3/media", headers={"Host": "evil.example"}).status_code in (400, 401)


def serving(folder: Path, token: str | None = None) -> TestClient:
    app = make_app(Explorer(open_store(folder / "store.lance")), token=token)
    return TestClient(app, base_url="http://127.0.0.1:8300", raise_server_exceptions=False)


def test_a_recording_that_has_changed_is_not_played(tmp_path: Path) -> None:
    from salience.verbs.export import embed_to

    folder = write_notes(tmp_path / "notes", 8)
    salience.fit("pca", folder, out=tmp_path / "run", dim=2, progress=False)
    embed_to(tmp_path / "run", folder, tmp_path / "store.lance")
    soundfile.write(folder / "high" / "01.wav", np.zeros(500, np.float32), RATE)
    with serving(tmp_path) as page:
        ids = [page.get(f"/items/{row}").json()["id"] for row in range(8)]
        answers = {id: page.get(f"/items/{row}/media").status_code for row, id in enumerate(ids)}
    assert answers.pop("high/01.wav") == 409
    assert set(answers.values()) == {200}


def test_class_folders_label_files_and_groups(folder: Path, tmp_path: Path) -> None:
    data = open_data(folder, groups=r"(\d)\.wav", progress=False)
    assert data.classes == ("high", "low")
    assert data.groups is not None
    assert len(np.unique(data.groups)) == 10
    pd.DataFrame({"item": ["low/00.wav", "high/01.wav"], "label": ["x", "y"]}).to_csv(tmp_path / "l.csv", index=False)
    labelled = open_data(folder, labels=str(tmp_path / "l.csv"), progress=False)
    assert labelled.labels is not None
    assert labelled.classes == ("x", "y")
    assert (labelled.labels >= 0).sum() == 2


def test_text_names_duration_rate_and_peak(folder: Path) -> None:
    data = open_data(folder, progress=False)
    text = MODALITY.text(data, 0)
    assert f"{len(data.item(0)) / RATE:.2f} s" in text
    assert "8,000 Hz" in text
    peak = 20 * np.log10(np.abs(data.item(0).astype(int)).max() / 32768)
    assert f"{peak:.1f} dB" in text


def test_high_tones_are_drawn_above_low_ones(folder: Path) -> None:
    data = open_data(folder, progress=False)
    assert data.labels is not None
    rows = {name: int(np.flatnonzero(data.labels == code)[0]) for code, name in enumerate(data.classes)}
    loudest = {}
    for name, row in rows.items():
        picture = np.asarray(MODALITY.picture(data, row).convert("L"), float)
        loudest[name] = int(picture.mean(1).argmax())  # lines from the top
    assert loudest["high"] < loudest["low"] - 10


def test_reconstructions_are_compared_and_drawn(folder: Path, tmp_path: Path) -> None:
    from salience.verbs.reconstruct import reconstruct

    salience.fit("pca", folder, out=tmp_path / "run", dim=4, progress=False, reading=Reading(window=0.2))
    found = reconstruct(tmp_path / "run", folder, tmp_path / "out", progress=False)
    assert found.figures["mse"].value > 0
    assert (tmp_path / "out" / "picture.png").stat().st_size > 1000


def test_missing_packages_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "soxr" else real(name))
    with pytest.raises(salience.MissingPackage, match=r"salience\[audio\]"):
        open_data(folder, reading=Reading(rate=7000), progress=False)


def test_a_batch_pads_with_silence_to_a_length_of_its_items_alone(folder: Path) -> None:
    data = open_data(folder, progress=False)
    batch = data.batch(np.arange(6))
    assert batch.mask is not None
    for row in range(6):
        length = len(data.item(row))
        assert np.array_equal(batch.x[row, :length], data.item(row))
        assert not batch.x[row, length:].any()
        assert int(batch.mask[row].sum()) == 1 + length // 80
    assert torch.equal(data.batch(np.array([2])).x[0, :500], batch.x[2, :500])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
