"""Search, by example and by condition."""

from __future__ import annotations

import lance
import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from salience.explorer.app import make_app
from salience.explorer.state import Explorer
from salience.store import open_store
from tests.explorer.conftest import BASE, ROWS, digits_table, learnt, truth, values


def test_neighbours_are_the_nearest_others(client, path):
    hits = client.get("/items/3/neighbours?k=5").json()["hits"]
    x = open_store(path).vectors()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    distance = 1 - unit @ unit[3]
    distance[3] = np.inf
    nearest = np.argsort(distance)[:5]
    assert [hit["row"] for hit in hits] == nearest.tolist()
    np.testing.assert_allclose([hit["distance"] for hit in hits], distance[nearest], atol=1e-5)
    assert [hit["id"] for hit in hits] == [f"digit/{row}" for row in nearest]
    assert [hit["label"] for hit in hits] == truth()[nearest].tolist()


def test_a_row_an_id_and_a_vector_find_the_same(client, path):
    by_row = client.post("/search", json={"row": 7, "k": 4}).json()
    by_id = client.post("/search", json={"id": "digit/7", "k": 4}).json()
    vector = open_store(path).vectors([7])[0].tolist()
    by_vector = client.post("/search", json={"vector": vector, "k": 5}).json()
    assert by_row == by_id
    assert by_row["matching"] is None
    assert by_vector["hits"][0]["row"] == 7
    assert by_vector["hits"][1:] == by_row["hits"]


def test_a_condition_narrows_and_counts(client):
    expected = np.flatnonzero((truth() == "4") & (np.arange(ROWS) % 5 == 1))
    where = "label = '4' AND fold = 1"
    found = client.post("/search", json={"row": 3, "k": 6, "where": where}).json()
    assert found["matching"] == len(expected)
    assert {hit["row"] for hit in found["hits"]} <= set(expected.tolist())
    alone = client.post("/search", json={"k": 3, "where": where}).json()
    assert [hit["row"] for hit in alone["hits"]] == expected[:3].tolist()
    assert [hit["distance"] for hit in alone["hits"]] == [None] * 3
    rows = np.frombuffer(client.get("/rows", params={"where": where}).content, "<i4")
    np.testing.assert_array_equal(rows, expected)
    assert client.post("/search", json={"k": 2}).json()["hits"][1]["row"] == 1


def test_what_holds_now_is_kept_by_no_cache(client):
    client.post("/labels", json={"rows": [1], "label": "one"})
    for url in ("/rows?where=fold = 1", "/labels/export"):
        assert client.get(url).headers["cache-control"] == "no-store"


def test_conditions_see_labels_and_predictions_as_they_are_now(client):
    labels = truth()
    for name in "01":
        client.post("/labels", json={"rows": np.flatnonzero(labels == name)[:3].tolist(), "label": name})
    learnt(client)
    assert client.post("/search", json={"where": "marked = '1'"}).json()["matching"] == 3
    zeros = client.post("/search", json={"where": "predicted = '0' AND confidence > 0.5"}).json()["matching"]
    ones = client.post("/search", json={"where": "predicted = '1' AND confidence >= 0.5"}).json()["matching"]
    assert ROWS - 20 < zeros + ones <= ROWS


INJECTIONS = (
    "label = '3'; DROP TABLE marks",
    "label = (SELECT label FROM digits)",
    "1 = 1 UNION SELECT 1",
    "read_csv('/etc/passwd') = 'x'",
    "repeat('a', 1000000000) = 'b'",
    "fold = " + "+".join("1" * 3000),
    "(" * 3000 + "fold = 1" + ")" * 3000,
    "label = '3' OR " * 9000 + "fold = 1",
    "label = '3",
    "vector IS NOT NULL",
    "",
    "  ",
)


@pytest.mark.parametrize("where", INJECTIONS, ids=range(len(INJECTIONS)))
def test_a_condition_can_only_filter(client, where):
    for answer in (
        client.get("/rows", params={"where": where[:10_000]}),
        client.post("/search", json={"where": where}),
        client.post("/search", json={"row": 1, "where": where}),
    ):
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("where: ")
    assert client.get("/store").json()["rows"] == ROWS


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"row": ROWS}, 404, "row: "),
        ({"row": -1}, 422, "row: "),
        ({"row": 10**40}, 422, "row: "),
        ({"row": 1, "id": "digit/1"}, 400, "row, id: "),
        ({"id": "nobody"}, 404, "id: there is no item 'nobody'"),
        ({"vector": [1, 2]}, 400, "query: a vector of 2 numbers"),
        ({"vector": []}, 400, "query: "),
        ({"vector": ["x"]}, 422, "vector.0: "),
        ({"row": 1, "k": 0}, 422, "k: "),
        ({"row": 1, "k": 10**9}, 422, "k: "),
        ({"rows": 1}, 422, "rows: "),
        ([1], 422, "body: "),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_one_line(client, body, status, said):
    answer = client.post("/search", json=body)
    assert answer.status_code == status
    message = answer.json()["error"]
    assert message.startswith(said)
    assert "\n" not in message


def test_numbers_that_are_none_are_refused(client):
    far = b'{"vector": [' + b"1e39, " * 63 + b"1]}"
    for content in (
        b'{"vector": [NaN]}',
        b'{"row": 1e999}',
        b"{",
        b"",
        b"\xff\xfe",
        far,
        b"[" * 10**5,
        b'{"id": "\\ud800"}',
    ):
        answer = client.post("/search", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
        assert "\n" not in answer.json()["error"]


def test_the_documents_name_every_path_and_nothing_from_elsewhere(client):
    document = client.get("/openapi.json").json()
    for path in ("/embed", "/search", "/predict", "/labels"):
        assert "post" in document["paths"][path]
    assert set(document["paths"]["/search"]["post"]["requestBody"]["content"]) == {"application/json", "image/*"}
    page = client.get("/docs").text
    assert all(path in page for path in document["paths"])
    assert "<script" not in page
    assert "http://" not in page.replace("http://127.0.0.1", "")
    assert "https://" not in page
    assert client.get("/docs/style.css").headers["content-type"].startswith("text/css")
    assert "probabilities" in page


def test_what_is_not_there_says_so_in_json(client):
    assert client.get("/nothing").json() == {"error": "GET /nothing: Not Found"}
    assert client.delete("/labels").status_code == 405
    assert "error" in client.delete("/labels").json()


def test_a_mistake_of_ours_is_one_line_too(client, monkeypatch, caplog):
    from salience.explorer.state import Explorer

    monkeypatch.setattr(Explorer, "about", lambda self: 1 / 0)
    answer = client.get("/store")
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error; see the server's log"}


def test_a_text_is_an_id_first_then_a_vector_a_row_or_a_condition(client, path):
    by_id = client.post("/search", json={"text": " digit/7 ", "k": 4}).json()
    assert (by_id["row"], by_id) == (7, client.post("/search", json={"row": 7, "k": 4}).json())
    assert client.post("/search", json={"text": "12", "k": 2}).json()["row"] == 12  # no id is called so
    vector = str(open_store(path).vectors([7])[0].tolist())
    found = client.post("/search", json={"text": vector, "k": 1}).json()
    assert (found["row"], found["hits"][0]["row"]) == (None, 7)
    found = client.post("/search", json={"text": "label = '4'", "where": "fold = 1"}).json()
    assert found["matching"] == int(((truth() == "4") & (np.arange(ROWS) % 5 == 1)).sum())
    for text, status, message in (
        ("digit/999", 404, "id: there is no item 'digit/999'"),
        ("600", 404, "row: expected 0 to 599, got 600"),
        ("label = ", 400, "where: "),
        ("[1, x]", 400, "query: "),
    ):
        answer = client.post("/search", json={"text": text})
        assert (answer.status_code, answer.json()["error"][: len(message)]) == (status, message)
    for other in ({"row": 3}, {"id": "digit/3"}, {"vector": open_store(path).vectors([3])[0].tolist()}):
        answer = client.post("/search", json={"text": "digit/7", **other})
        assert (answer.status_code, answer.json()["error"][:6]) == (400, "text: ")


def test_an_id_that_is_a_number_or_looks_like_a_condition_is_an_id(tmp_path):
    names = ["5", "it's <b> = 3.png", "x", "0"]
    table = digits_table(4).set_column(0, "id", pa.array(names))
    lance.write_dataset(table, str(tmp_path / "odd.lance"))
    with TestClient(make_app(Explorer(open_store(tmp_path / "odd.lance"))), base_url=BASE) as client:
        for row, name in enumerate(names):
            assert client.post("/search", json={"text": name}).json()["row"] == row


@pytest.mark.parametrize("near", ["row", "id", "vector", "text"])
def test_a_condition_holds_for_every_way_to_search(client, path, near):
    given = {"row": 3, "id": "digit/3", "text": "digit/3", "vector": open_store(path).vectors([3])[0].tolist()}[near]
    found = client.post("/search", json={near: given, "k": 5, "where": "fold = 1"}).json()
    assert len(found["hits"]) == 5
    assert {hit["row"] % 5 for hit in found["hits"]} == {1}
    assert found["matching"] == ROWS // 5
    assert len(client.post("/search", json={near: given, "k": 7}).json()["hits"]) == 7


def test_a_page_has_24_hits_and_neighbours_are_12_unless_asked_otherwise(client, path):
    vector = open_store(path).vectors([3])[0].tolist()
    for body in ({"row": 3}, {"vector": vector}, {"where": "fold = 1"}, {}):
        assert len(client.post("/search", json=body).json()["hits"]) == 24
    assert len(client.get("/items/3/neighbours").json()["hits"]) == 12


@pytest.mark.parametrize("near", ["row", "vector", None])
def test_a_condition_on_predictions_is_on_those_of_now(client, path, near):
    labels = truth()
    for name in "01":
        client.post("/labels", json={"rows": np.flatnonzero(labels == name)[:3].tolist(), "label": name})
    learnt(client)
    predicted = values(client, "predicted")
    given = {} if near is None else {near: 3 if near == "row" else open_store(path).vectors([3])[0].tolist()}
    found = client.post("/search", json={**given, "k": 5, "where": "predicted = '1'"}).json()
    assert found["matching"] == (predicted == "1").sum()
    assert [predicted[hit["row"]] for hit in found["hits"]] == ["1"] * 5


@pytest.mark.parametrize("name", ["Predicted", "PREDICTED"])
def test_a_condition_in_capitals_is_on_the_predictions_of_now_too(client, name):
    labels = truth()
    for label in "01":
        client.post("/labels", json={"rows": np.flatnonzero(labels == label)[:3].tolist(), "label": label})
    learnt(client)
    found = client.post("/search", json={"where": f"{name} = '1'"}).json()
    assert found["matching"] == (values(client, "predicted") == "1").sum()


def test_a_typed_condition_is_joined_as_a_whole_with_the_filter(client):
    found = client.post("/search", json={"text": "label = '4' or label = '5'", "where": "fold = 1"}).json()
    assert found["matching"] == int((np.isin(truth(), ["4", "5"]) & (np.arange(ROWS) % 5 == 1)).sum())
    found = client.post("/search", json={"text": "fold = 1", "where": "label = '4' or label = '8'"}).json()
    assert found["matching"] == int((np.isin(truth(), ["4", "8"]) & (np.arange(ROWS) % 5 == 1)).sum())


@pytest.mark.parametrize("query", [{"k": 3}, {"where": "fold = 1"}, {"k": 3, "where": "fold = 1"}])
def test_a_query_string_beside_json_is_refused_and_named(client, query):
    answer = client.post("/search", json={"row": 3}, params=query)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"{', '.join(query)}: given in the query string, which is only for images")
    assert len(client.post("/search", json={"row": 3, **query}).json()["hits"]) == query.get("k", 24)


def test_parameters_that_would_be_ignored_are_refused_by_every_route_and_named(client):
    """Of the interface for programs; what else is in the address of a page is the browser's."""
    document = client.get("/openapi.json").json()
    asked = [(path, method) for path, methods in document["paths"].items() for method in methods]
    pages = {("/", "get"), ("/docs", "get")}
    assert len(asked) > 25
    for path, method in asked:
        place = path.replace("{name}", "digit").replace("{row}", "1")
        answer = client.request(method, place, params={"limit": "5"})
        refused = answer.status_code == 400 and answer.json()["error"].startswith("limit: unknown query parameter of ")
        assert refused is ((path, method) not in pages), (path, answer.text)


def test_what_a_route_takes_is_said_and_twice_is_too_often(client):
    answer = client.get("/sample?n=2&size=3")
    assert answer.json()["error"] == "size: unknown query parameter of GET /sample; known parameters: n, seed"
    assert client.get("/clusters?k%1B=3").json()["error"].startswith("k\\x1b: unknown query parameter of GET /clusters")
    answer = client.get("/items/3/neighbours?k=2&k=5")
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "k: given more than once to GET /items/{row}/neighbours; give it once",
    )
    assert len(client.get("/items/3/neighbours?k=2&token=x").json()["hits"]) == 2
