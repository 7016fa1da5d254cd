"""What is kept and when it is made anew: labels, columns, maps, clusters, outliers, predictions, jobs, runs."""

from __future__ import annotations

import subprocess
import sys
import threading

import lance
import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from salience.explorer import jobs
from salience.explorer.app import make_app
from salience.explorer.state import Explorer
from salience.store import open_store
from tests.explorer.conftest import BASE, ROWS, digits_table, learnt, truth, until, values
from tests.explorer.test_jobs import FAKE, ended


def version(client, name: str) -> int:
    return client.get(f"/columns/{name}").json()["version"]


def label(client, name: str, rows: list[int]) -> None:
    assert client.post("/labels", json={"rows": rows, "label": name}).status_code == 200


EVENTS = {
    "label": lambda client, path: client.post("/labels", json={"rows": [9], "label": "a"}),
    "by id": lambda client, path: client.post("/labels", json={"ids": ["digit/9"], "label": "a"}),
    "take away": lambda client, path: client.post("/labels", json={"rows": [0], "label": None}),
    "undo": lambda client, path: client.post("/labels/undo"),
    "elsewhere": lambda client, path: open_store(path).marks.mark(["digit/9"], "a"),
    "undo elsewhere": lambda client, path: open_store(path).marks.undo(),
}


@pytest.mark.parametrize("event", EVENTS)
def test_every_change_of_the_labels_is_in_all_that_is_made_of_them(client, path, event):
    label(client, "a", [0, 2, 4])
    label(client, "b", [1, 3])
    before = learnt(client)
    old = {name: (version(client, name), values(client, name).tolist()) for name in ("marked", "predicted")}
    exported = client.get("/labels/export").text
    predicted = client.get("/labels/export?what=predictions").text
    EVENTS[event](client, path)
    marks = open_store(path).marks.all()
    told = client.get("/labels").json()
    assert told["labelled"] == len(marks) == sum(one["count"] for one in told["classes"])
    assert [one["name"] for one in told["classes"]] == sorted(set(marks.values()))
    assert client.get("/labels/export").text != exported
    assert values(client, "marked").tolist() == [marks.get(f"digit/{row}") for row in range(ROWS)]
    assert client.get("/items/9").json()["columns"]["marked"] == marks.get("digit/9")
    after = learnt(client)
    assert after["version"] == told["version"] > before["version"]
    assert after["labelled"] == len(marks)
    for name, (number, content) in old.items():
        assert version(client, name) > number, name
        assert name == "predicted" or values(client, name).tolist() != content
    if len(set(marks.values())) > 1:
        assert client.get("/labels/export?what=predictions").text != predicted
        rows = [row for row in range(ROWS) if f"digit/{row}" in marks]
        assert not {one["row"] for one in after["suggestions"]} & set(rows)
    else:
        assert client.get("/labels/export?what=predictions").status_code == 409


@pytest.mark.parametrize(
    ("column", "first", "second", "told"),
    [
        ("cluster", np.arange(ROWS) % 2, np.arange(ROWS) % 3, lambda found: len(found["clusters"])),
        ("anomaly", np.arange(ROWS) * 1.0, -1.0 * np.arange(ROWS), lambda found: found["anomalies"][0]["row"]),
        ("duplicate_of", ["digit/1"] * 3, ["digit/1"] * 5, lambda found: len(found["duplicates"])),
    ],
)
def test_what_another_process_found_takes_the_place_of_what_was_told(client, path, column, first, second, told):
    url, answers = "/clusters" if column == "cluster" else "/outliers", []
    for found in (first, second):
        value = found if len(found) == ROWS else [None] * 4 + found + [None] * (ROWS - 4 - len(found))
        open_store(path).write_columns({column: value})
        client.get("/store")  # looks
        answers.append(told(client.get(url).json()))
    assert answers == {"cluster": [2, 3], "anomaly": [ROWS - 1, 0], "duplicate_of": [3, 5]}[column]


@pytest.mark.parametrize("url", ["/store", "/columns/cluster"])
def test_a_column_of_another_process_is_looked_for(client, path, url):
    assert client.get("/columns/cluster").status_code == 404
    open_store(path).write_columns({"cluster": np.arange(ROWS) % 2})
    assert client.get(url).status_code == 200
    assert client.get("/columns/cluster").json()["counts"] == [ROWS // 2] * 2


def test_versions_count_up_with_what_was_written_and_stay_where_nothing_was(client, path):
    names = ("label", "fold", "ink")
    before = [version(client, name) for name in names]
    assert [version(client, name) for name in names] == before
    open_store(path).write_columns({"fold": np.arange(ROWS) % 3})
    assert version(client, "fold") > before[1]
    tag = client.get("/columns/fold/values").headers["etag"]
    assert tag == f'"{tag.strip(chr(34)).partition("-")[0]}-{version(client, "fold")}"'


@pytest.mark.parametrize(
    ("columns", "maps"),
    [
        ({"umap_x": np.arange(ROWS) * 1.0, "umap_y": np.arange(ROWS) * 2.0}, ["pca", "umap"]),
        ({"umap_x": np.arange(ROWS) * 1.0}, ["pca"]),
        ({"umap_x": np.arange(ROWS) * 1.0, "umap_y": np.where(np.arange(ROWS) == 7, np.nan, 1.0)}, ["pca"]),
        ({"x": np.where(np.arange(ROWS) == 7, np.nan, 1.0)}, []),
    ],
)
def test_a_map_is_ready_where_both_its_columns_are_whole(client, path, columns, maps):
    client.get("/points")
    open_store(path).write_columns(columns)
    found = client.get("/store").json()
    assert found["maps"] == maps
    assert not {"x", "y", "umap_x", "umap_y"} & {column["name"] for column in found["columns"]}
    assert not {"x", "y", "umap_x", "umap_y"} & set(client.get("/items/1").json()["columns"])
    for name in ("pca", "umap"):
        assert client.get(f"/points?map={name}").status_code == (200 if name in maps else 404)
        ready = ", ".join(maps) or "none"
        assert name in maps or client.get(f"/points?map={name}").json()["error"].endswith(f"ready: {ready}")


def test_umap_tells_how_far_it_is_and_replaces_the_map_there_was(client, path, monkeypatch, tmp_path):
    open_store(path).write_columns({"umap_x": np.arange(ROWS) * -1.0, "umap_y": np.zeros(ROWS)})
    client.get("/store")
    before = client.get("/points?map=umap")
    gate = tmp_path / "gate"
    waiting = FAKE.replace(
        "points = ", f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\npoints = "
    )
    popen, commands = subprocess.Popen, []

    def started(command, **pipes):
        commands.append(command)
        return popen([sys.executable, "-c", waiting], **pipes)

    monkeypatch.setattr(jobs.subprocess, "Popen", started)
    assert client.post("/jobs/umap").json() == {"name": "umap", "state": "running", "share": 0, "said": "starting"}
    half = until(lambda: next((job for job in client.get("/jobs").json() if job["share"] == 0.5), None))
    assert half == {"name": "umap", "state": "running", "share": 0.5, "said": "half"}
    gate.touch()
    found = ended(client, "umap")
    assert (found["state"], found["share"], found["said"][:5]) == ("done", 1, "took ")
    assert commands[0][-1] == str(path)
    after = client.get("/points?map=umap", headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    firsts = [np.frombuffer(answer.content, "<f4")[0] for answer in (before, after)]
    assert (firsts[0] > 0, firsts[1] < 0) == (True, True)


def test_jobs_are_listed_in_one_order_and_done_where_their_columns_are(served, path):
    absent = {"state": "absent", "share": 0, "said": ""}
    names = ["umap", "cluster", "anomalies", "duplicates"]
    assert served().get("/jobs").json() == [{"name": name, **absent} for name in names]
    left = {"umap": ["umap_x", "umap_y"], "cluster": ["cluster"], "anomalies": ["anomaly"]}
    for name, columns in {**left, "duplicates": ["duplicate_of"]}.items():
        for number, column in enumerate(columns, 1):
            value = ["digit/1"] * ROWS if column == "duplicate_of" else np.ones(ROWS)
            open_store(path).write_columns({column: value})
            states = {job["name"]: (job["state"], job["share"]) for job in served().get("/jobs").json()}
            assert states[name] == (("done", 1) if number == len(columns) else ("absent", 0))


@pytest.mark.parametrize("name", ["cluster", "anomalies", "duplicates"])
def test_a_job_that_fails_says_why_in_one_line_and_can_be_started_again(client, name, monkeypatch):
    from salience.errors import UserError

    ends = iter([UserError("store: too\n  few"), ImportError("no module"), None])

    def once(*given, **options):
        assert options == {"progress": False}
        if (problem := next(ends)) is not None:
            raise problem

    monkeypatch.setattr(f"salience.verbs.{name}.{name}", once)
    told = []
    for _ in range(3):
        client.post(f"/jobs/{name}", json={})
        told.append(ended(client, name))
    assert [(job["state"], job["share"]) for job in told] == [("failed", 0), ("failed", 0), ("done", 1)]
    assert [job["said"] for job in told[:2]] == ["store: too few", "no module"]


def test_jobs_of_two_kinds_run_beside_each_other(client, monkeypatch):
    gate, begun = threading.Event(), set()

    def waiting(name):
        def work(*given, **options):
            begun.add(name)
            assert gate.wait(600)

        return work

    for name in ("anomalies", "duplicates"):
        monkeypatch.setattr(f"salience.verbs.{name}.{name}", waiting(name))
        client.post(f"/jobs/{name}", json={})
    until(lambda: len(begun) == 2)
    running = [job["name"] for job in client.get("/jobs").json() if job["state"] == "running"]
    assert running == ["anomalies", "duplicates"]
    gate.set()


@pytest.mark.parametrize("kind", ["anomaly", "duplicate_of"])
def test_24_outliers_are_told_and_equal_ones_in_their_order(client, path, kind):
    value = (
        np.repeat([3.0, 2.0, np.inf], [10, 20, ROWS - 30]) if kind == "anomaly" else [None] + ["digit/0"] * (ROWS - 1)
    )
    open_store(path).write_columns({kind: value})
    client.get("/store")
    found = client.get("/outliers").json()
    shown = found["anomalies" if kind == "anomaly" else "duplicates"]
    assert len(shown) == 24
    assert found["duplicates" if kind == "anomaly" else "anomalies"] is None
    if kind == "anomaly":  # what has no finite score is none
        assert [one["row"] for one in shown] == list(range(24))
    else:
        distances = [one["distance"] for one in shown]
        assert distances == sorted(distances)


def test_a_cluster_tells_its_commonest_label_and_its_most_typical_items(client, path):
    open_store(path).write_columns({"cluster": np.where(np.arange(ROWS) < 300, np.arange(ROWS) % 3, np.nan)})
    client.get("/store")
    found = client.get("/clusters").json()["clusters"]
    assert [(one["cluster"], one["size"], len(one["rows"])) for one in found] == [(n, 100, 8) for n in range(3)]
    labels = [None if row == 5 else name for row, name in enumerate(truth())]
    for one in found:
        own = [labels[row] for row in range(one["cluster"], 300, 3) if labels[row] is not None]
        counts = {name: own.count(name) for name in set(own)}
        assert counts[one["label"]] == max(counts.values())
        assert one["share"] == pytest.approx(max(counts.values()) / len(own))


def without(path, tmp_path, **changed) -> TestClient:
    """A server of the same items, with other columns."""
    table = digits_table(60)
    for name, column in changed.items():
        at = table.column_names.index(name)
        table = table.remove_column(at) if column is None else table.set_column(at, name, column)
    lance.write_dataset(table, str(tmp_path / "other.lance"))
    return TestClient(make_app(Explorer(open_store(tmp_path / "other.lance"))), base_url=BASE)


def test_items_without_labels_are_found_all_the_same(path, tmp_path):
    with without(path, tmp_path, label=None) as client:
        found = client.post("/search", json={"row": 3, "k": 3}).json()["hits"]
        assert [hit["label"] for hit in found] == [None] * 3
        names = [column["name"] for column in client.get("/store").json()["columns"]]
        assert names == ["marked", "predicted", "confidence", "id", "ink", "fold"]
        label(client, "a", [0, 2])
        label(client, "b", [1, 3])
        assert learnt(client)["curve"][-1]["judged"] == "cross-validation"


def test_classes_that_are_numbers_are_called_as_they_are_written(path, tmp_path):
    numbers = np.where(np.arange(60) == 5, np.nan, truth(60).astype(float))
    with without(path, tmp_path, label=pa.array(numbers, from_pandas=True)) as client:
        assert client.get("/columns/label").json()["classes"] == list("0123456789")
        label(client, "0", np.flatnonzero(truth(60) == "0")[:3].tolist())
        label(client, "1", np.flatnonzero(truth(60) == "1")[:3].tolist())
        point = learnt(client)["curve"][-1]
        assert point["judged"] == "source labels"
        others = [row for row in range(60) if row != 5]
        predicted = values(client, "predicted")
        marked = values(client, "marked")
        judged = [row for row in others if marked[row] is None]
        right = [predicted[row] == truth(60)[row] for row in judged]
        assert point["accuracy"] == pytest.approx(np.mean(right))


def test_the_order_of_columns_is_labels_then_what_is_live_then_the_rest(client):
    names = [column["name"] for column in client.get("/store").json()["columns"]]
    assert names == ["label", "marked", "predicted", "confidence", "id", "ink", "fold"]


@pytest.mark.parametrize(
    ("names", "shown", "kind"),
    [
        (256, 256, "category"),
        (257, 256, "category"),
        (300, 256, "category"),
        (301, 256, "text"),
        (600, 256, "text"),
    ],
)
def test_up_to_256_classes_are_shown_and_names_of_items_are_texts(client, path, names, shown, kind):
    open_store(path).write_columns({"name": [f"n{row % names:03}" for row in range(ROWS)]})
    found = client.get("/columns/name").json()
    assert (len(found["classes"]), sum(found["counts"]), found["missing"]) == (shown, ROWS, 0)
    assert ("other" in found["classes"]) is (names > 256)
    if names > 256:
        assert found["classes"][-1] == "other"
        assert found["classes"][:-1] == sorted(found["classes"][:-1])
    kinds = {column["name"]: column["kind"] for column in client.get("/store").json()["columns"]}
    assert kinds["name"] == kind


@pytest.mark.parametrize(
    ("value", "kind", "missing", "ends"),
    [
        (np.arange(ROWS) * 0.5, "number", 0, (0, 299.5)),
        (np.where(np.arange(ROWS) == 0, np.inf, np.arange(ROWS) * 0.5), "number", 1, (0.5, 299.5)),
        (np.where(np.arange(ROWS) == 0, np.inf, 1.0), "category", 1, (None, None)),
        (np.where(np.arange(ROWS) == 0, 7.0, np.nan), "category", ROWS - 1, (None, None)),
        (np.where(np.arange(ROWS) < 3, np.arange(ROWS), np.nan), "number", ROWS - 3, (0, 2)),
        (np.where(np.arange(ROWS) < 4, np.arange(ROWS) // 2, np.nan), "category", ROWS - 4, (None, None)),
        (np.full(ROWS, np.nan), "number", ROWS, (None, None)),
    ],
)
def test_what_a_column_of_numbers_is(client, path, value, kind, missing, ends):
    open_store(path).write_columns({"value": value})
    found = client.get("/columns/value").json()
    assert (found["kind"], found["missing"], (found["low"], found["high"])) == (kind, missing, ends)
    if kind == "category":
        assert sum(found["counts"]) == ROWS - missing
    else:
        np.testing.assert_array_equal(values(client, "value"), np.where(np.isfinite(value), value, np.nan))


def test_the_confidence_has_a_range_once_something_was_learnt(client):
    found = client.get("/columns/confidence").json()
    assert (found["kind"], found["missing"], found["low"], found["high"]) == ("number", ROWS, None, None)
    label(client, "a", [0, 2])
    assert learnt(client)["classes"] == ["a"]
    assert learnt(client)["labelled"] == 2
    label(client, "b", [1, 3])
    learnt(client)
    found = client.get("/columns/confidence").json()
    assert (found["missing"], found["low"], found["high"]) == (0, 0, 1)
    predicted = client.get("/columns/predicted").json()
    assert (predicted["classes"], sum(predicted["counts"]), predicted["missing"]) == (["a", "b"], ROWS, 0)
