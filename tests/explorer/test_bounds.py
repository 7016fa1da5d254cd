"""What each route takes: both ends of every range, what is left out, and what is nearly right."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from starlette.testclient import TestClient

from salience.data import open_data
from salience.explorer.app import make_app
from salience.explorer.state import Explorer
from salience.store import open_store
from salience.training import fit
from salience.verbs.export import embed_to
from tests.explorer.conftest import BASE, ROWS, truth

IMAGE = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 80 digits whose run embeds, rebuilds and draws."""
    folder, digits = tmp_path_factory.mktemp("drawn"), open_data("digits", progress=False).subset(range(80))
    rep = fit("vae", digits, out=folder / "run", epochs=1, encoder="mlp", dim=4, progress=False)
    return embed_to(rep, digits, folder / "vae.lance", progress=False)


@pytest.fixture(scope="module")
def vae(drawn: Path) -> Iterator[TestClient]:
    """No test here changes what it serves."""
    with TestClient(make_app(Explorer(open_store(drawn))), base_url=BASE) as client:
        yield client


def picture(row: int = 17) -> bytes:
    file = io.BytesIO()
    Image.fromarray(open_data("digits", progress=False).item(row)[0]).save(file, "PNG")
    return file.getvalue()


def pixels(encoded: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))), np.float64)


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("/sample?n=1", 200),
        ("/sample?n=64", 200),
        ("/sample?n=0", 422),
        ("/sample?n=65", 422),
        ("/sample?n=1&seed=0", 200),
        ("/sample?n=1&seed=2147483647", 200),
        ("/sample?n=1&seed=2147483648", 422),
        ("/sample?n=1&seed=-1", 422),
        ("/interpolation?from=0&to=1&steps=3", 200),
        ("/interpolation?from=0&to=1&steps=64", 200),
        ("/interpolation?from=0&to=1&steps=2", 422),
        ("/interpolation?from=0&to=1&steps=65", 422),
        ("/interpolation?from=79&to=79", 200),
        ("/interpolation?from=80&to=1", 404),
        ("/interpolation?from=1&to=80", 404),
        ("/interpolation?from=-1&to=1", 422),
        ("/interpolation?start=0&to=1", 400),
        ("/interpolation?from=0", 422),
        ("/interpolation?to=0", 422),
        ("/reconstruct", 422),
        ("/reconstruct?rows=", 422),
        ("/reconstruct?rows=1,", 422),
        ("/reconstruct?rows=,1", 422),
        ("/reconstruct?rows=1, 2", 422),
        ("/reconstruct?rows=-1", 422),
        (f"/reconstruct?rows={'9' * 15}", 404),
        (f"/reconstruct?rows={'9' * 16}", 422),
        (f"/reconstruct?rows=1,{'9' * 16}", 422),
        ("/reconstruct?rows=79", 200),
        ("/reconstruct?rows=1,80", 404),
        ("/runs/curves", 422),
    ],
)
def test_both_ends_of_what_is_drawn(vae, url, status):
    answer = vae.get(url)
    assert answer.status_code == status, answer.text
    if "n=" in url and status == 200:
        assert len(answer.json()["images"]) == int(url.partition("n=")[2].partition("&")[0])
    if "steps=" in url and status == 200:
        assert len(answer.json()["images"]) == int(url.rpartition("=")[2])


def test_what_is_drawn_where_nothing_is_said(vae):
    assert vae.get("/sample").json() == vae.get("/sample?n=16&seed=0").json() != vae.get("/sample?n=16&seed=1").json()
    assert vae.get("/interpolation?from=3&to=8").json() == vae.get("/interpolation?from=3&to=8&steps=9").json()


def test_an_interpolation_goes_the_way_it_was_asked(vae):
    there, back = (
        vae.get(url).json()["images"]
        for url in ("/interpolation?from=3&to=8&steps=4", "/interpolation?from=8&to=3&steps=4")
    )
    assert there == back[::-1] != back
    start, end = (pair[1] for pair in vae.get("/reconstruct?rows=3,8").json()["images"])
    assert (there[0], there[-1]) == (start, end)


def test_items_are_rebuilt_in_the_order_they_were_asked_for(vae):
    many = vae.get("/reconstruct?rows=8,3,8").json()["images"]
    assert many == [
        *vae.get("/reconstruct?rows=8").json()["images"],
        *vae.get("/reconstruct?rows=3,8").json()["images"],
    ]
    assert [pixels(image).shape for pair in many for image in pair] == [(8, 8)] * 6


def test_an_item_without_a_picture_is_not_rebuilt_and_those_that_have_one_are(drawn, tmp_path):
    table = lance.dataset(str(drawn)).to_table()
    pictures = [None if row == 3 else one for row, one in enumerate(table["thumbnail"].to_pylist())]
    at = table.column_names.index("thumbnail")
    table = table.set_column(at, table.schema.field(at), pa.array(pictures, pa.binary()))
    lance.write_dataset(table, str(tmp_path / "some.lance"))
    with TestClient(make_app(Explorer(open_store(tmp_path / "some.lance"))), base_url=BASE) as client:
        assert client.get("/reconstruct?rows=2,4").status_code == 200
        for rows in ("3", "2,3", "3,2"):
            answer = client.get(f"/reconstruct?rows={rows}")
            said = {"error": "rows: not all of these items have a thumbnail in the store; choose items with one"}
            assert (answer.status_code, answer.json()) == (409, said)


@pytest.mark.parametrize(
    ("query", "hits", "matching"),
    [
        ({}, 24, None),
        ({"k": 1}, 1, None),
        ({"k": 1000}, 80, None),
        ({"where": "label = '7'"}, None, "7"),
        ({"k": 2, "where": "label = '7'"}, 2, "7"),
    ],
)
def test_what_is_found_near_an_image(vae, query, hits, matching):
    found = vae.post("/search", params=query, content=picture(), headers=IMAGE).json()
    count = None if matching is None else int((truth(80) == matching).sum())
    assert len(found["hits"]) == (min(24, count or 0) if hits is None else hits)
    assert (found["matching"], found["row"]) == (count, None)
    assert found["hits"][0]["row"] == 17
    distances = [hit["distance"] for hit in found["hits"]]
    assert distances == sorted(distances)


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({"k": 0}, 422, "k: "),
        ({"k": 1001}, 422, "k: "),
        ({"where": "label ="}, 400, "where: "),
        ({"row": 3}, 400, "row: unknown query parameter of POST /search"),
    ],
)
def test_what_cannot_be_asked_of_an_image(vae, query, status, said):
    answer = vae.post("/search", params=query, content=picture(), headers=IMAGE)
    assert (answer.status_code, answer.json()["error"][: len(said)]) == (status, said)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("image/png", 200),
        ("IMAGE/PNG; charset=binary", 200),
        ("image/jpeg", 200),  # what it is, its bytes tell
        ("application/octet-stream", 200),
        ("application/json", 422),
        ("Application/JSON; charset=utf-8", 422),
        ("application/png", 400),
        ("images/png", 400),
        ("text/image/png", 400),
    ],
)
def test_the_type_of_a_body_tells_an_image_from_json(vae, kind, status):
    for path in ("/embed", "/search"):
        answer = vae.post(path, content=picture(), headers={"Content-Type": kind})
        assert answer.status_code == status, answer.text
        if status == 400:
            assert answer.json()["error"].startswith(
                f"body: unsupported type '{kind}'; send application/json, or an image"
            )


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_read_as_json_however_its_type_is_written(still, kind):
    answer = still.post("/search", content=b'{"row": 3, "k": 2}', headers={"Content-Type": kind})
    assert (answer.json()["row"], len(answer.json()["hits"])) == (3, 2)


@pytest.mark.parametrize(("k", "status"), [(1, 200), (1000, 200), (0, 422), (1001, 422), (-1, 422), ("x", 422)])
def test_both_ends_of_how_many(still, k, status):
    asked = [
        still.get(f"/items/3/neighbours?k={k}"),
        still.post("/search", json={"row": 3, "k": k}),
        still.post("/search", json={"k": k}),
    ]
    for answer, most in zip(asked, (ROWS - 1, ROWS - 1, ROWS), strict=True):
        assert answer.status_code == status, answer.text
        if status == 200:
            assert len(answer.json()["hits"]) == min(k, most)
        else:
            assert answer.json()["error"].startswith("k: ")


@pytest.mark.parametrize(
    ("row", "status"), [(0, 200), (ROWS - 1, 200), (ROWS, 404), (2**53 - 1, 404), (2**53, 422), (-1, 422)]
)
def test_both_ends_of_the_rows(still, row, status):
    asked = [
        still.get(f"/items/{row}"),
        still.get(f"/items/{row}/neighbours"),
        still.post("/search", json={"row": row}),
        still.post("/predict", json={"rows": [1, row]}),
    ]
    if status != 200:
        asked.append(still.post("/labels", json={"rows": [row, 1], "label": "x"}))
    assert [answer.status_code for answer in asked] == [status] * len(asked)
    if status == 404:
        said = f"row: expected 0 to {ROWS - 1}, got {row}"
        assert {answer.json()["error"] for answer in asked} == {said}


@pytest.mark.parametrize(("number", "status"), [(3e38, 200), (-3e38, 200), (3.1e38, 422), (-3.1e38, 422)])
def test_both_ends_of_the_numbers_of_a_vector(still, number, status):
    vector = [number, *[0.0] * 63]
    assert still.post("/predict", json={"vectors": [vector]}).status_code == status
    if status == 422:
        assert still.post("/search", json={"vector": vector}).status_code == status


@pytest.mark.parametrize(
    ("body", "given"),
    [
        ({}, ("kmeans", None)),
        ({"k": 1}, ("kmeans", 1)),
        ({"k": 10_000}, ("kmeans", 10_000)),
        ({"method": "gmm", "k": 4}, ("gmm", 4)),
        ({"method": "hdbscan"}, ("hdbscan", None)),
        ({"k": 0}, None),
        ({"k": 10_001}, None),
        ({"method": "KMEANS"}, None),
        ({"clusters": 3}, None),
    ],
)
def test_a_clustering_is_started_as_it_was_asked_for(client, monkeypatch, body, given):
    import threading

    gate, begun = threading.Event(), []

    def cluster(
        store, method="kmeans", k=None, **options
    ):  # as the verb has them: what is dropped is seen, not awaited
        begun.append((method, k))
        gate.set()

    monkeypatch.setattr("salience.verbs.cluster.cluster", cluster)
    answer = client.post("/jobs/cluster", json=body)
    if given is None:
        assert answer.status_code == 422
        assert {job["state"] for job in client.get("/jobs").json()} == {"absent"}
    else:
        assert answer.json()["name"] == "cluster"
        assert gate.wait(600)
        assert begun == [given]


@pytest.mark.parametrize(
    ("url", "body", "said"),
    [
        (
            "/predict",
            {"rows": [1], "vectors": [[0.0] * 64]},
            "rows, vectors: expected exactly one of them; give rows or vectors",
        ),
        ("/predict", {"rows": [1], "k": 3}, "k: "),
        ("/labels", {"rows": [1], "label": "a", "name": "b"}, "name: "),
        ("/embed", {"row": [[1]]}, "row"),
        ("/embed", {"rows": [[[1]]]}, "rows.0.0"),
        ("/labels", {"rows": [-1], "label": "x"}, "rows.0: "),
        ("/labels", {"rows": ["x", "y", "z", "w"], "label": "x"}, "rows.0: "),
    ],
)
def test_a_body_with_something_else_in_it_is_refused(still, url, body, said):
    answer = still.post(url, json=body)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"].startswith(said)


def test_of_many_mistakes_the_first_three_are_told(still):
    message = still.post("/labels", json={"rows": ["v", "w", "x", "y"], "label": "x"}).json()["error"]
    assert [part.partition(":")[0] for part in message.split("; ")] == ["rows.0", "rows.1", "rows.2"]


@pytest.mark.parametrize("label", ["x" * 100, f"  {'x' * 100}\n", "é", "a b", " 01 "])
def test_a_name_is_kept_without_the_spaces_around_it(client, label):
    found = client.post("/labels", json={"ids": ["digit/1"], "label": label}).json()
    assert found["classes"] == [{"name": label.strip(), "count": 1}]


def test_nothing_asked_of_the_classifier_is_nothing_answered(still):
    assert still.post("/predict", json={"rows": []}).json() == {"predictions": []}
    assert still.post("/predict", json={"vectors": []}).json() == {"predictions": []}


@pytest.mark.parametrize(
    ("text", "matching"),
    [
        ("fold=1", 120),
        ("fold < 1", 120),
        ("fold>3", 120),
        ("label IN ('3')", int((truth() == "3").sum())),
        ("id like 'digit/59_'", 10),
        ("label IS NULL", 1),
        ("fold BETWEEN 1 AND 2", 240),
        ("not fold = 1", 480),
        ("folder", None),
        ("likely", None),
        ("digit/1 and more", None),
    ],
)
def test_what_is_typed_is_a_condition_by_its_words(still, text, matching):
    answer = still.post("/search", json={"text": text})
    if matching is None:
        assert answer.json()["error"].partition(":")[0] in ("id", "where")
        assert answer.status_code == (400 if " and " in text else 404)
    else:
        assert answer.json()["matching"] == matching


def test_labels_are_told_by_name_however_many_each_has(client):
    for name, count in (("b", 3), ("c", 1), ("a", 2), ("B", 5)):
        rows = list(range(10 * ord(name) % 500, 10 * ord(name) % 500 + count))
        found = client.post("/labels", json={"rows": rows, "label": name}).json()
    assert [(one["name"], one["count"]) for one in found["classes"]] == [("B", 5), ("a", 2), ("b", 3), ("c", 1)]
