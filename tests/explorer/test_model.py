"""What the run behind a store adds: new embeddings, reconstructions, samples, interpolation; and runs to compare."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from starlette.testclient import TestClient

from salience.data import open_data
from salience.errors import UserError
from salience.explorer import umap_process
from salience.explorer.app import make_app
from salience.explorer.pictures import open_image
from salience.explorer.runs import curves_of, figures_of
from salience.explorer.state import Explorer
from salience.explorer.umap_process import ProgressReader
from salience.reading import Reading
from salience.store import open_store
from salience.training import fit
from salience.verbs.export import embed_to
from tests.explorer.conftest import BASE, until

ROWS = 300


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs, and stores of two of them."""
    folder, digits = tmp_path_factory.mktemp("explored"), open_data("digits", progress=False).subset(range(ROWS))
    vae = fit("vae", digits, out=folder / "runs" / "vae", epochs=2, encoder="mlp", dim=4, progress=False)
    pca = fit("pca", digits, out=folder / "runs" / "pca", dim=8, progress=False)
    for rep in (vae, pca):
        embed_to(rep, digits, folder / f"{rep.method_name}.lance", progress=False)
    return folder


def explored(store: Path, **options: Path) -> TestClient:
    return TestClient(make_app(Explorer(open_store(store), **options)), base_url=BASE, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def vae(place: Path):
    with explored(place / "vae.lance", runs=place / "runs") as client:
        yield client


@pytest.fixture(scope="module")
def pca(place: Path):
    with explored(place / "pca.lance", runs=place / "runs") as client:
        yield client


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def digit(row: int) -> bytes:
    return png(open_data("digits", progress=False).item(row)[0])


def pixels(encoded: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))), np.float64) / 255


def test_what_the_run_allows_is_told(vae, pca):
    assert vae.get("/store").json()["can"] == ["embed", "decode", "sample"]
    assert pca.get("/store").json()["can"] == ["embed", "decode"]


def test_an_image_is_embedded_as_it_was_in_the_store(pca, place):
    answer = pca.post("/embed", content=digit(17), headers={"Content-Type": "image/png"})
    np.testing.assert_array_equal(
        np.array(answer.json()["vectors"], np.float32), open_store(place / "pca.lance").vectors([17])
    )


def test_an_image_finds_itself_and_is_classified(pca):
    sent = {"content": digit(17), "headers": {"Content-Type": "image/png"}}
    found = pca.post("/search", params={"k": 3, "where": "label = '7'"}, **sent).json()
    assert found["hits"][0] == {"row": 17, "id": "17", "distance": 0, "label": "7"}
    assert found["matching"] == sum(open_store_labels(pca) == "7")
    assert pca.post("/predict", **sent).status_code == 409
    pca.post("/labels", json={"rows": [17, 7], "label": "seven"})
    pca.post("/labels", json={"rows": [10, 0], "label": "zero"})
    assert pca.post("/predict", **sent).json()["predictions"][0]["label"] == "seven"


def test_a_condition_holds_where_an_image_is_searched_for(pca):
    sent = {"content": digit(17), "headers": {"Content-Type": "image/png"}}
    found = pca.post("/search", params={"k": 8, "where": "label = '3'"}, **sent).json()
    assert {hit["label"] for hit in found["hits"]} == {"3"}
    assert len(found["hits"]) == 8
    assert 17 in [hit["row"] for hit in pca.post("/search", params={"k": 8}, **sent).json()["hits"]]


def open_store_labels(client) -> np.ndarray:
    about = client.get("/columns/label").json()
    return np.array(about["classes"])[np.frombuffer(client.get("/columns/label/values").content, "<u2")]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"no image", "image/png", 400),
        (b"", "image/jpeg", 400),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "image/png", 400),
        (b'{"rows": [[1, 2]]}', "application/json", 400),
        (b"x", "text/html", 400),
    ],
)
def test_what_cannot_be_embedded_is_refused_in_one_line(pca, content, kind, status):
    for path in ("/embed", "/search") if kind.startswith("image") else ("/embed",):
        answer = pca.post(path, content=content, headers={"Content-Type": kind})
        assert answer.status_code == status
        assert "\n" not in answer.json()["error"]
        assert "Traceback" not in answer.text


def test_items_are_rebuilt_beside_their_originals(pca):
    pairs = pca.get("/reconstruct?rows=3,5,8").json()["images"]
    assert [len(pair) for pair in pairs] == [2, 2, 2]
    for row, (original, rebuilt) in zip((3, 5, 8), pairs, strict=True):
        assert base64.b64decode(original) == pca.get(f"/items/{row}/image").content
        assert np.corrcoef(pixels(original).ravel(), pixels(rebuilt).ravel())[0, 1] > 0.8
    assert pca.get("/reconstruct?rows=x").status_code == 422
    assert pca.get(f"/reconstruct?rows={ROWS}").status_code == 404
    assert pca.get("/reconstruct?rows=" + ",".join(["1"] * 65)).status_code == 400


def test_as_many_as_64_items_are_rebuilt_at_once(pca):
    assert len(pca.get("/reconstruct?rows=" + ",".join(map(str, range(64)))).json()["images"]) == 64


def test_samples_are_the_same_for_a_seed(vae, pca):
    first = vae.get("/sample?n=3&seed=1").json()["images"]
    assert [pixels(image).shape for image in first] == [(8, 8)] * 3
    assert vae.get("/sample?n=3&seed=1").json()["images"] == first
    assert vae.get("/sample?n=3&seed=2").json()["images"] != first
    refused = pca.get("/sample")
    assert refused.status_code == 409
    assert refused.json()["error"].startswith("run: pca cannot sample")


def test_an_interpolation_goes_from_one_items_code_to_the_others(pca):
    images = pca.get("/interpolation?from=3&to=8&steps=5").json()["images"]
    ends = [pair[1] for pair in pca.get("/reconstruct?rows=3,8").json()["images"]]
    assert len(images) == 5
    assert [images[0], images[-1]] == ends
    middle = (pixels(ends[0]) + pixels(ends[1])) / 2
    assert np.abs(pixels(images[2]) - middle).mean() < 0.05  # pca is linear, but for values cut at black
    assert pca.get("/interpolation?from=3&to=999999").status_code == 404


def test_rows_of_a_table_are_embedded(tmp_path):
    iris = load_iris(as_frame=True).data
    rep = fit("pca", iris, out=tmp_path / "run", dim=2, progress=False)
    embed_to(rep, iris, tmp_path / "iris.lance", progress=False)
    with explored(tmp_path / "iris.lance") as client:
        about = client.get("/store").json()
        assert (about["modality"], about["thumbnails"], about["can"]) == ("table", False, ["embed"])
        assert iris.columns[0] in [column["name"] for column in about["columns"]]
        sent = client.post("/embed", json={"rows": [*iris.iloc[:3].to_numpy().tolist(), [None] * 4]}).json()["vectors"]
        np.testing.assert_allclose(sent[:3], open_store(tmp_path / "iris.lance").vectors([0, 1, 2]), atol=1e-5)
        good = [1, 2, 3, 4]
        for rows in ([], [[1.0]], [["a", 1, 2, 3]], [good, [1]], [[1], good], [good, [*good, 5]], [good, []]):
            answer = client.post("/embed", json={"rows": rows})
            assert answer.status_code == 400
            assert answer.json()["error"].startswith("rows: ")
        image = client.post("/embed", content=digit(1), headers={"Content-Type": "image/png"})
        assert image.json()["error"].startswith("image: ")
        assert client.get("/reconstruct?rows=1").status_code == 409
        assert client.get("/items/1/image").status_code == 404


def test_another_run_is_refused_and_the_right_one_is_found_elsewhere(place, tmp_path):
    with explored(place / "pca.lance", run=place / "runs" / "vae") as client:
        answer = client.get("/reconstruct?rows=1")
        assert answer.status_code == 409
        assert "is not the run that pca.lance was embedded with" in answer.json()["error"]
        assert client.get("/store").json()["can"] == []
    moved = shutil.copytree(place / "runs" / "pca", tmp_path / "elsewhere")
    with explored(place / "pca.lance", run=moved) as client:
        assert client.get("/reconstruct?rows=1").status_code == 200


def test_what_a_run_lost_to_its_labels_is_not_offered(tmp_path):
    digits = open_data("digits", progress=False).subset(range(ROWS))
    small = {"depth": 1, "dim": 8, "use_labels": True, "epochs": 1, "progress": False}
    rep = fit("stacked_autoencoder", digits, out=tmp_path / "runs" / "stack", **small)
    embed_to(rep, digits, tmp_path / "stack.lance", progress=False)
    with explored(tmp_path / "stack.lance", runs=tmp_path / "runs") as client:
        assert client.get("/store").json()["can"] == ["embed"]
        (run,) = client.get("/runs").json()["runs"]
        assert run["can"] == []
        assert client.get("/reconstruct?rows=1").json()["error"].endswith("fit a run with fine_tune=rebuild")


@pytest.mark.parametrize("damage", [{"withheld": 3}, {"withheld": None}, {"method": 3}, {"method": "nothing"}])
def test_of_a_damaged_run_nothing_is_offered(place, tmp_path, damage):
    run = shutil.copytree(place / "runs" / "pca", tmp_path / "runs" / "pca")
    config = yaml.safe_load((run / "config.yaml").read_text()) | damage
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with explored(place / "pca.lance", run=run, runs=tmp_path / "runs") as client:
        assert client.get("/store").json()["can"] == []
        (answer,) = client.get("/runs").json()["runs"]
        assert answer["can"] == []


def test_runs_stand_side_by_side(vae, place):
    (place / "runs" / "no-run").mkdir(exist_ok=True)
    found = vae.get("/runs").json()["runs"]
    assert [(run["method"], run["this"]) for run in found] == [("vae", True), ("pca", False)]
    mine, other = found
    assert mine["finished"]
    assert mine["verdict"] in ("healthy", "under-trained", "failing")
    assert mine["can"] == ["decode", "sample"]
    assert mine["seconds"] > 0
    assert (other["verdict"], other["findings"], other["can"]) == (None, [], ["decode"])
    assert (place / "runs" / "vae").samefile(mine["name"])
    curves = vae.get("/runs/curves", params={"name": mine["name"]}).json()["curves"]
    assert "loss" in curves
    assert len(curves["loss"]["step"]) == len(curves["loss"]["value"]) > 0
    assert vae.get("/runs/curves", params={"name": other["name"]}).json() == {"curves": {}}
    assert vae.get("/runs/curves", params={"name": "runs/../runs/vae"}).status_code == 404


def test_curves_are_thinned_and_what_is_no_number_is_left_out(tmp_path):
    steps = np.arange(3000)
    frame = pd.DataFrame({"step": steps, "loss": 1 / (1 + steps), "late": np.where(steps < 2900, np.nan, 2.0)})
    text = frame.to_csv(index=False)
    (tmp_path / "metrics.csv").write_text(text + "3000,in")  # a process was killed here
    curves = curves_of(tmp_path / "metrics.csv")
    assert set(curves) == {"loss", "late"}
    assert len(curves["loss"].step) == 500
    assert (curves["loss"].step[0], curves["loss"].step[-1], curves["loss"].value[0]) == (0, 2999, 1)
    assert len(curves["late"].step) == 100
    (tmp_path / "metrics.csv").write_text("")
    assert curves_of(tmp_path / "metrics.csv") == {}


def test_figures_come_from_the_report(tmp_path):
    report = {
        "representation": {
            "knn": {"accuracy": {"value": 0.9, "interval": [0.8, 0.95]}},
            "few_label": {"1": {"accuracy": {"value": 0.5, "interval": [0.4, 0.6]}}},
        }
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    expected = {"kNN accuracy": [0.9, 0.8, 0.95], "1 label per class": [0.5, 0.4, 0.6]}
    assert figures_of(tmp_path / "report.json") == expected
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(UserError, match=r"report\.json is damaged"):
        figures_of(tmp_path / "report.json")
    assert figures_of(tmp_path / "none.json") == {}


def job(client, name: str) -> dict:
    return next(job for job in client.get("/jobs").json() if job["name"] == name)


def done(client, name: str) -> dict:
    return until(lambda: (found := job(client, name)) and found["state"] != "running" and found)


def test_clusters_are_found_in_the_background(pca):
    assert pca.get("/clusters").status_code == 409
    assert pca.post("/jobs/cluster", json={"method": "kmeans", "k": 3}).json()["state"] == "running"
    assert done(pca, "cluster")["state"] == "done"
    clusters = pca.get("/clusters").json()["clusters"]
    assert sum(one["size"] for one in clusters) == ROWS
    assert [one["cluster"] for one in clusters] == [0, 1, 2]
    column = pca.get("/columns/cluster").json()
    assert column["counts"] == [one["size"] for one in clusters]
    codes = np.frombuffer(pca.get("/columns/cluster/values").content, "<u2")
    for one in clusters:
        assert set(codes[one["rows"]]) == {one["cluster"]}
    pca.post("/jobs/cluster", json={"method": "kmeans", "k": 2})
    assert done(pca, "cluster")["state"] == "done"
    assert len(pca.get("/clusters").json()["clusters"]) == 2
    assert pca.get("/columns/cluster").json()["version"] > column["version"]


def test_a_job_that_cannot_be_done_says_why(pca):
    pca.post("/jobs/cluster", json={"method": "hdbscan", "k": 3})
    failed = done(pca, "cluster")
    assert (failed["state"], failed["said"][:2]) == ("failed", "k:")
    assert pca.post("/jobs/cluster", json={"method": "magic"}).status_code == 422
    assert pca.post("/jobs/cluster", json={"k": 0}).status_code == 422
    assert pca.post("/jobs/nothing", json={}).status_code == 404


def test_outliers_are_found_in_the_background(pca, place):
    assert pca.get("/outliers").json() == {"anomalies": None, "duplicates": None}
    for name in ("anomalies", "duplicates"):
        pca.post(f"/jobs/{name}", json={})
        assert done(pca, name)["state"] == "done"
    found = pca.get("/outliers").json()
    scores = open_store(place / "pca.lance").column("anomaly")
    assert found["anomalies"][0]["row"] == int(scores.argmax())
    assert [one["score"] for one in found["anomalies"]] == sorted(scores, reverse=True)[:24]
    assert isinstance(found["duplicates"], list)
    assert {"anomaly", "duplicate_of"} <= {column["name"] for column in pca.get("/store").json()["columns"]}


@pytest.mark.slow  # importing numba takes many seconds
def test_umap_is_made_in_a_process_of_its_own_and_kept(vae, place):
    assert vae.post("/jobs/umap", json={}).json()["state"] == "running"
    assert vae.post("/jobs/umap", json={}).json()["state"] == "running"  # the same one
    assert until(lambda: (found := job(vae, "umap"))["state"] != "running" and found)["state"] == "done"
    assert vae.get("/store").json()["maps"] == ["pca", "umap"]
    points = np.frombuffer(vae.get("/points?map=umap").content, "<f4").reshape(-1, 2)
    assert points.shape == (ROWS, 2)
    assert np.abs(points).max() == 1
    labels = np.array(open_store(place / "vae.lance").column("label"))
    nearest = ((points[:, None] - points[None]) ** 2).sum(2)
    np.fill_diagonal(nearest, np.inf)
    assert (labels[nearest.argmin(1)] == labels).mean() > 0.3  # chance: 0.1


def test_a_progress_bar_becomes_lines_with_the_time_left():
    out = io.BytesIO()
    teller = ProgressReader(out, share=0.5)
    for done, now in ((0, 10.0), (1, 40.0), (11, 50.0)):
        teller.report(done, 111, now)
    teller.write("\r")  # as tqdm does between
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [one["said"] for one in told] == ["0 of 111 epochs", "1 of 111 epochs", "11 of 111 epochs, 1 min 40 s left"]
    assert told[-1]["share"] == pytest.approx(0.5 * 11 / 111, abs=1e-4)


def test_of_many_items_those_that_were_not_fitted_are_placed_among_the_others(place, monkeypatch):
    monkeypatch.setattr(umap_process, "TRANSFORMED", 70)
    store, out = open_store(place / "pca.lance"), io.BytesIO()
    rows, mapper = np.arange(0, ROWS, 3), PCA(2)  # any map that can place more
    fitted = mapper.fit_transform(store.vectors(rows))
    points = umap_process.transform_others(store, mapper, rows, fitted, out)
    np.testing.assert_allclose(points, mapper.transform(store.vectors()), atol=1e-4)
    assert out.getvalue().count(b"\n") == 3
    assert json.loads(out.getvalue().splitlines()[-1])["share"] == 1


def test_the_end_of_the_server_ends_the_process_of_a_job_and_starts_no_other(place, monkeypatch):
    from salience.explorer import jobs

    started = []
    popen = subprocess.Popen

    def sleeping(command, **pipes):
        started.append(popen([sys.executable, "-c", "import time; time.sleep(10**6)"], **pipes))
        return started[-1]

    monkeypatch.setattr(jobs.subprocess, "Popen", sleeping)
    mine = jobs.Jobs(open_store(place / "vae.lance"), lambda names: None)
    assert mine.umap().state == "running"
    until(lambda: mine._processes)
    assert mine.umap().state == "running"  # the same one
    mine.close()
    assert started[0].wait(1200) < 0
    until(lambda: mine.all()[0].state == "failed")
    mine.umap()
    until(lambda: mine.all()[0].state != "running")
    assert len(started) == 1


@pytest.mark.parametrize("aspect", [None, "crop", "stretch", "pad"])
def test_an_image_from_outside_is_brought_to_the_runs_shape_as_the_run_was_told(aspect, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (9, 20), np.uint8)
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide" / "wide.png").write_bytes(png(image))
    spec, reading = open_data("digits", progress=False).spec, Reading(aspect=aspect)
    expected = open_data(tmp_path / "wide", spec=spec, reading=reading, progress=False)
    rep = SimpleNamespace(spec=spec, reading=reading, method_name="pca")
    np.testing.assert_array_equal(open_image(png(image), rep).x, expected.x)
