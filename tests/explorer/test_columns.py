"""Maps and columns, byte by byte."""

from __future__ import annotations

import lance
import numpy as np
import pytest

from salience.explorer.points import MISSING, encode, scale_points
from salience.store import open_store
from tests.explorer.conftest import ROWS, digits_table, learnt, truth, values


def test_the_store_tells_what_it_has(client):
    found = client.get("/store").json()
    assert (found["name"], found["rows"], found["dim"], found["modality"]) == ("digits.lance", ROWS, 64, "image")
    kinds = {column["name"]: column["kind"] for column in found["columns"]}
    assert kinds == {
        "label": "category",
        "marked": "category",
        "predicted": "category",
        "confidence": "number",
        "id": "text",
        "ink": "number",
        "fold": "category",
    }
    assert (found["maps"], found["can"], found["thumbnails"]) == (["pca"], [], True)


def test_a_map_fills_the_square_and_keeps_its_proportions(client, path):
    points = np.frombuffer(client.get("/points").content, "<f4").reshape(-1, 2)
    store = open_store(path)
    given = np.stack([store.column("x"), store.column("y")], axis=1)
    assert points.shape == (ROWS, 2)
    assert np.abs(points).max() == 1
    spans = np.ptp(given, axis=0)
    np.testing.assert_allclose(np.ptp(points, axis=0) / 2, spans / spans.max(), rtol=1e-5)
    np.testing.assert_allclose(np.corrcoef(points[:, 0], given[:, 0])[0, 1], 1, atol=1e-6)


def test_one_point_and_none_are_maps():
    np.testing.assert_array_equal(scale_points(np.array([[3.0, 4.0]])), [[0, 0]])
    assert scale_points(np.empty((0, 2))).shape == (0, 2)


def test_a_category_has_codes_counts_and_missing_ones(client):
    found = client.get("/columns/label").json()
    expected = truth()
    assert found["kind"] == "category"
    assert found["classes"] == list("0123456789")
    assert found["missing"] == 1
    assert sum(found["counts"]) == ROWS - 1
    codes = np.frombuffer(client.get("/columns/label/values").content, "<u2")
    assert codes[5] == MISSING
    np.testing.assert_array_equal(np.delete(codes, 5), np.delete(expected, 5).astype(int))


def test_numbers_have_a_range_and_nan_where_missing(client, path):
    found = client.get("/columns/ink").json()
    ink = open_store(path).column("ink")
    assert (found["kind"], found["missing"]) == ("number", 1)
    np.testing.assert_allclose([found["low"], found["high"]], [np.nanmin(ink), np.nanmax(ink)])
    np.testing.assert_allclose(values(client, "ink"), ink, rtol=1e-6)


def test_few_whole_numbers_are_a_category_in_their_order():
    encoded = encode(np.array([10.0, 2.0, np.nan, -1.0, 2.0]))
    assert (encoded.kind, encoded.classes, encoded.counts, encoded.missing) == (
        "category",
        ("-1", "2", "10"),
        (1, 2, 1),
        1,
    )
    np.testing.assert_array_equal(encoded.values, [2, 1, MISSING, 0, 1])
    assert encode(np.arange(300.0)).kind == "number"
    assert encode(np.array([0.5, 1.0, 1.0])).kind == "number"


@pytest.mark.parametrize(("different", "kind"), [(64, "category"), (65, "number")])
def test_up_to_64_different_whole_numbers_are_categories(client, path, different, kind):
    open_store(path).write_columns({"code": np.arange(ROWS) % different})
    client.get("/store")  # looks
    assert client.get("/columns/code").json()["kind"] == kind


def test_of_many_classes_the_most_frequent_are_kept():
    names = np.array([f"n{number:03d}" for number in range(300)] + ["n299"] * 5 + [None], object)
    encoded = encode(names)
    assert len(encoded.classes) == 256
    assert encoded.classes[-1] == "other"
    assert encoded.counts[-1] == 300 - 255
    assert encoded.classes[encoded.values[302]] == "n299"
    assert encoded.values[-1] == MISSING
    assert sum(encoded.counts) + encoded.missing == len(names)
    assert encoded.names
    assert not encode(np.array(["a", "b"] * 300, object)).names


def test_nothing_is_a_column_too():
    assert encode(np.full(4, None, object)).missing == 4
    assert encode(np.full(4, np.nan)).low is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/columns/vector", "name: there is no column 'vector'; columns: "),
        ("/columns/x", "name: there is no column 'x'; columns: "),
        ("/columns/none/values", "name: there is no column 'none'; columns: "),
        ("/points?map=umap", "map: 'umap' does not exist or is not ready; ready: pca"),
    ],
)
def test_what_is_no_column_or_map_is_not_found(client, url, said):
    answer = client.get(url)
    assert answer.status_code == 404
    assert answer.json()["error"].startswith(said)


def test_a_browser_that_has_a_version_is_not_sent_it_again(client):
    for path in ("/points", "/columns/label/values", "/columns/marked/values", "/items/3/image"):
        tag = client.get(path).headers["etag"]
        again = client.get(path, headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
    tag = client.get("/columns/marked/values").headers["etag"]
    client.post("/labels", json={"rows": [1], "label": "one"})
    assert client.get("/columns/marked/values", headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize("url", ["/points", "/columns/label/values", "/items/3/image"])
def test_a_browser_asks_each_time_whether_its_version_is_the_newest(client, url):
    answer = client.get(url)
    for found in (answer, client.get(url, headers={"If-None-Match": answer.headers["etag"]})):
        assert found.headers["cache-control"] == "private, no-cache"


def test_another_server_has_other_versions(client, served):
    tag = client.get("/points").headers["etag"]
    assert served().get("/points", headers={"If-None-Match": tag}).status_code == 200


def test_an_item_has_all_its_columns(client):
    client.post("/labels", json={"rows": [3, 7], "label": "three"})
    client.post("/labels", json={"rows": [8], "label": "eight"})
    learnt(client)
    found = client.get("/items/3").json()
    assert (found["row"], found["id"], found["image"]) == (3, "digit/3", True)
    told = found["columns"]
    assert (told["label"], told["fold"], told["ink"], told["marked"], told["predicted"]) == (
        "3",
        3,
        None,
        "three",
        "three",
    )
    assert 0.5 < told["confidence"] <= 1
    assert set(told) == {"label", "fold", "ink", "marked", "predicted", "confidence"}
    assert client.get(f"/items/{ROWS - 1}").json()["image"] is False


def test_an_items_picture_is_what_was_stored(client, path):
    answer = client.get("/items/4/image")
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == open_store(path).thumbnails([4])[0]
    assert client.get(f"/items/{ROWS - 1}/image").status_code == 404


@pytest.mark.parametrize("row", [ROWS, 10**12, 10**30, -1, "x"])
def test_an_unknown_row_is_not_found(client, row):
    for path in (f"/items/{row}", f"/items/{row}/image", f"/items/{row}/neighbours"):
        assert client.get(path).status_code in (404, 422), path
    assert client.get(f"/items/{ROWS}").json() == {"error": f"row: expected 0 to {ROWS - 1}, got {ROWS}"}


def test_columns_another_process_has_written_are_seen(client, path):
    store = open_store(path)
    store.write_columns({"cluster": np.arange(ROWS) % 4})
    assert "cluster" in {column["name"] for column in client.get("/store").json()["columns"]}
    assert client.get("/columns/cluster").json()["counts"] == [ROWS // 4] * 4
    store.write_columns({"cluster": np.arange(ROWS) % 2})
    assert client.get("/columns/cluster").json()["counts"] == [ROWS // 2] * 2
    codes = np.frombuffer(client.get("/columns/cluster/values").content, "<u2")
    np.testing.assert_array_equal(codes, np.arange(ROWS) % 2)


def test_items_added_meanwhile_wait_for_a_restart(client, path):
    lance.write_dataset(digits_table(3).drop_columns(["ink"]), str(path), mode="append")
    assert client.get("/store").json()["rows"] == ROWS
    assert client.get("/columns/fold").json()["counts"] == [ROWS // 5] * 5
    assert client.get(f"/items/{ROWS}").status_code == 404


def test_an_item_tells_its_own_prediction_label_and_picture(client, path):
    labels = truth()
    for name in "0123":
        client.post("/labels", json={"rows": np.flatnonzero(labels == name)[:3].tolist(), "label": name})
    learnt(client)
    columns = {name: values(client, name) for name in ("predicted", "confidence", "marked")}
    different = np.unique(columns["confidence"].round(3), return_index=True)[1]
    rows = np.sort(different)[:20].tolist()
    assert len(rows) == 20
    pictures = dict(zip(rows, open_store(path).thumbnails(rows), strict=True))
    for row in rows:
        told = client.get(f"/items/{row}").json()["columns"]
        assert (told["predicted"], told["marked"]) == (columns["predicted"][row], columns["marked"][row])
        assert told["confidence"] == pytest.approx(float(columns["confidence"][row]))
        assert client.get(f"/items/{row}/image").content == pictures[row]


def test_a_map_that_was_written_anew_is_sent_anew(client, path):
    store, before = open_store(path), client.get("/points")
    store.write_columns({"x": -store.column("x"), "y": store.column("y")})
    client.get("/store")  # looks
    after = client.get("/points", headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    old, new = (np.frombuffer(one.content, "<f4").reshape(-1, 2) for one in (before, after))
    np.testing.assert_allclose(new, old * [-1, 1], atol=1e-6)
