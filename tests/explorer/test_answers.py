"""Types, headers and statuses of the answers, and the page that documents them."""

from __future__ import annotations

import io
import json
import logging
import re

import lance
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from starlette.testclient import TestClient

import salience
from salience.explorer.app import make_app
from salience.explorer.documentation import render_page
from salience.explorer.state import Explorer
from salience.store import open_store
from tests.explorer.conftest import BASE, digits_table, learnt, values

BINARY = "application/octet-stream"


@pytest.mark.parametrize(
    ("url", "kind", "cache"),
    [
        ("/", "text/html; charset=utf-8", "no-cache"),
        ("/docs", "text/html; charset=utf-8", None),
        ("/docs/style.css", "text/css; charset=utf-8", None),
        ("/openapi.json", "application/json", None),
        ("/store", "application/json", None),
        ("/points", BINARY, "private, no-cache"),
        ("/columns/label/values", BINARY, "private, no-cache"),
        ("/items/1/image", "image/png", "private, no-cache"),
        ("/rows?where=fold = 1", BINARY, "no-store"),
        ("/labels/export?what=labels&format=csv", "text/csv; charset=utf-8", "no-store"),
        ("/labels/export?what=labels&format=parquet", "application/vnd.apache.parquet", "no-store"),
        ("/labels/export?what=predictions&format=csv", "text/csv; charset=utf-8", "no-store"),
        ("/labels/export?what=predictions&format=parquet", "application/vnd.apache.parquet", "no-store"),
    ],
)
def test_an_answer_says_what_it_is_and_how_long_it_holds(still, url, kind, cache):
    answer = still.get(url)
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert answer.headers.get("cache-control") == cache


def test_an_export_is_of_labels_and_csv_unless_it_is_said(still):
    assert still.get("/labels/export").content == still.get("/labels/export?what=labels&format=csv").content
    assert still.get("/labels/export?what=predictions").headers["content-disposition"].endswith('predictions.csv"')
    for query in ("what=marks", "format=xlsx", "format=CSV"):
        assert still.get(f"/labels/export?{query}").status_code == 422


def test_exported_confidences_have_four_digits_in_csv_and_all_in_parquet(still):
    confidence = values(still, "confidence") if learnt(still) else None
    lines = still.get("/labels/export?what=predictions").text.splitlines()
    assert lines[0] == "item,predicted,confidence"
    assert [line.rpartition(",")[2] for line in lines[1:]] == [f"{one:.4f}" for one in confidence]
    content = still.get("/labels/export?what=predictions&format=parquet").content
    found = pd.read_parquet(io.BytesIO(content))
    np.testing.assert_array_equal(found["confidence"].to_numpy(np.float32), confidence)
    assert list(found.columns) == ["item", "predicted", "confidence"]


def test_a_photograph_in_the_store_is_sent_as_one(tmp_path):
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG")
    table = digits_table(5).set_column(3, "thumbnail", pa.array([file.getvalue()] * 5, pa.binary()))
    lance.write_dataset(table, str(tmp_path / "photographs.lance"))
    with TestClient(make_app(Explorer(open_store(tmp_path / "photographs.lance"))), base_url=BASE) as client:
        answer = client.get("/items/2/image")
        assert (answer.headers["content-type"], answer.content) == ("image/jpeg", file.getvalue())


@pytest.mark.parametrize("url", ["/points", "/columns/fold/values", "/columns/confidence/values", "/items/3/image"])
@pytest.mark.parametrize("near", ["", "x", '"x"', "{tag}x", "W/{tag}"])
def test_only_the_version_itself_spares_the_answer(still, url, near):
    answer = still.get(url)
    tag = answer.headers["etag"]
    assert re.fullmatch(r'"[\w-]+"', tag)
    again = still.get(url, headers={"If-None-Match": near.format(tag=tag)})
    assert (again.status_code, again.content) == (200, answer.content)
    same = still.get(url, headers={"If-None-Match": tag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)


def test_different_pictures_have_different_tags(still):
    tags = [still.get(f"/items/{row}/image").headers["etag"] for row in range(20)]
    assert len(set(tags)) == 20


def test_numbers_are_little_endian_and_as_wide_as_documented(still):
    rows = still.get("/rows", params={"where": "fold = 1"}).content
    assert np.frombuffer(rows, "<i4").tolist() == list(range(1, 600, 5))
    sizes = {"/points": 8, "/columns/label/values": 2, "/columns/ink/values": 4, "/columns/marked/values": 2}
    for url, size in sizes.items():
        assert len(still.get(url).content) == 600 * size


REFUSED = (
    ("GET", "/nothing", 404, "GET /nothing: Not Found"),
    ("POST", "/store", 405, "POST /store: Method Not Allowed"),
    ("GET", "/jobs/umap", 405, "GET /jobs/umap: Method Not Allowed"),
    ("GET", "/redoc", 404, "GET /redoc: Not Found"),
    ("GET", "/clusters", 409, "cluster: the store has no clusters yet; start the job `cluster` first"),
    ("GET", "/labels/export", 409, "labels: there are none yet; label some items first"),
    (
        "GET",
        "/labels/export?what=predictions",
        409,
        "labels: the classifier needs labelled items of at least two classes",
    ),
    ("POST", "/labels/undo", 409, "labels: there is no labelling to undo"),
    ("GET", "/sample", 409, "run: "),
    ("GET", "/reconstruct?rows=1", 409, "run: "),
    ("GET", "/interpolation?from=1&to=2", 409, "run: "),
    ("GET", "/items/599/image", 404, "row: item 599 has no thumbnail"),
    ("GET", "/columns/nobody", 404, "name: there is no column 'nobody'; columns: label, marked, predicted, "),
    ("GET", "/points?map=umap", 404, "map: 'umap' does not exist or is not ready; ready: pca"),
    ("GET", "/runs/curves?name=nobody", 404, "name: there is no run 'nobody'; see /runs for the names"),
    ("GET", "/rows", 422, "where: "),
)


def test_a_refusal_has_its_status_and_its_words(client):
    for method, url, status, said in REFUSED:
        answer = client.request(method, url)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), url
        assert list(answer.json()) == ["error"]
        assert answer.json()["error"].startswith(said)
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_wrong_method_names_the_right_ones(still):
    assert still.post("/store").headers["allow"] == "GET"


def test_a_mistake_of_ours_leaves_its_cause_to_the_log(client, monkeypatch):
    monkeypatch.setattr(Explorer, "about", lambda self: 1 / 0)
    answer = client.get("/store")
    assert (answer.status_code, list(answer.json())) == (500, ["error"])
    assert "ZeroDivision" not in answer.text


def test_the_document_is_of_this_version_and_names_what_each_route_answers(still):
    document = still.get("/openapi.json").json()
    assert (document["info"]["title"], document["info"]["version"]) == ("salience explore", salience.__version__)
    assert "/docs/style.css" not in document["paths"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["description"], path
            problem = operation["responses"]["4XX"]["content"]
            assert list(problem) == ["application/json"], path
            assert "#/components/schemas/Problem" in json.dumps(problem), path

    def media(path: str, method: str = "get") -> set[str]:
        return set(document["paths"][path][method]["responses"]["200"]["content"])

    assert media("/") == media("/docs") == {"text/html"}

    assert media("/items/{row}/image") == {"image/png"}
    assert media("/points") == media("/rows") == media("/columns/{name}/values") == {BINARY}
    assert media("/labels/export") == {"text/csv; charset=utf-8", "application/vnd.apache.parquet"}
    for path in ("/search", "/embed", "/predict"):
        bodies = document["paths"][path]["post"]["requestBody"]["content"]
        assert set(bodies) == {"application/json", "image/*"}
        assert bodies["image/*"]["schema"]["format"] == "binary"
        assert bodies["application/json"]["schema"]["type"] == "object"


DOCUMENT = {
    "info": {"title": "a <b>", "version": "1.2", "description": "what & why"},
    "paths": {
        "/items/{row}": {
            "get": {
                "description": "`row` of <one>",
                "parameters": [
                    {"name": "row", "in": "path", "schema": {"type": "integer", "minimum": 1, "maximum": 9.5}},
                    {"name": "how", "in": "query", "description": "as `x`", "schema": {"enum": ["a", 2]}},
                    {"name": "say", "in": "query", "schema": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
                ],
                "responses": {
                    "200": {
                        "description": "raw",
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Out"}},
                            "image/png": {"schema": {"type": "string", "format": "binary"}},
                        },
                    }
                },
            },
            "head": {"responses": {"200": {}}},
        },
        "/go": {
            "post": {
                "requestBody": {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}},
                "responses": {"200": {"description": "d"}},
            }
        },
    },
    "components": {
        "schemas": {
            "Out": {
                "properties": {
                    "many": {"type": "array", "items": {"$ref": "#/components/schemas/In"}},
                    "map": {"type": "object", "additionalProperties": {"type": "number"}},
                    "any": {},
                }
            },
            "In": {"type": "object", "properties": {"x": {"type": "number", "description": "of `it`"}}},
        }
    },
}


def test_a_document_becomes_a_page():
    page = render_page(DOCUMENT)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.partition("</head>")[2]))
    expected = (
        " a &lt;b&gt; 1.2 what &amp; why Machine-readable version: openapi.json . "
        "Errors are {&quot;error&quot;: text} . "
        "GET /items/{row} POST /go "
        "GET /items/{row} row of &lt;one&gt; "
        "Parameters row (path) integer, ≥ 1, ≤ 9.5 how (query) a | 2 as x say (query) string or null "
        "Response, application/json many array of object x number of it "
        "map object of number any any "
        "Response, image/png raw "
        "POST /go Body, image/* the bytes of a file "
    )
    assert text == expected
    assert "<code>row</code> of &lt;one&gt;" in page
    assert "<title>a &lt;b&gt;</title>" in page
    for anchor in re.findall(r'href="#([^"]+)"', page):
        assert page.count(f'id="{anchor}"') == 1
    assert 'href="/docs/style.css"' in page
    assert "href='/openapi.json'" in page


def test_the_page_says_where_it_is_missing(tmp_path, monkeypatch, client):
    monkeypatch.setattr("salience.explorer.app.STATIC", tmp_path)
    answer = client.get("/")
    assert (answer.status_code, answer.json()["error"][:6]) == (404, "page: ")
    (tmp_path / "index.html").write_text("the page")
    assert client.get("/").text == "the page"


def test_a_package_that_is_missing_is_named_with_the_remedy(client, monkeypatch):
    from importlib import util

    monkeypatch.setattr(util, "find_spec", lambda name: None)
    answer = client.post("/jobs/umap", json={})
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "umap: requires package umap-learn; install it with: pip install 'salience[explore]'",
    )
    assert {job["state"] for job in client.get("/jobs").json()} == {"absent"}


def test_a_damaged_record_of_ours_is_logged(client, monkeypatch, caplog):
    def broken(*given, **options):
        raise RuntimeError("a bug")

    from tests.explorer.test_jobs import ended

    monkeypatch.setattr("salience.verbs.anomalies.anomalies", broken)
    with caplog.at_level(logging.ERROR):
        client.post("/jobs/anomalies", json={})
        ended(client, "anomalies")
    assert "a bug" in caplog.text
    assert json.dumps(client.get("/jobs").json()).count("a bug") == 0
