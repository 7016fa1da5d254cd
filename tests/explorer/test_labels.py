"""Labels by hand, and the classifier that learns from them."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading

import httpx
import numpy as np
import pandas as pd
import pytest

from salience.explorer.learning import Evaluation
from salience.store import open_store
from tests.explorer.conftest import ROWS, learnt, truth, until, values


def label_some(client, count: int, names: str = "0123456789") -> np.ndarray:
    """The first `count` of each class, by their true name.  -> the rows"""
    rows = [np.flatnonzero(truth() == name)[:count] for name in names]
    for name, some in zip(names, rows, strict=True):
        assert client.post("/labels", json={"rows": some.tolist(), "label": name}).status_code == 200
    return np.concatenate(rows)


def test_labels_are_counted_and_undone_one_action_at_a_time(client):
    first = client.post("/labels", json={"rows": [1, 2, 3], "label": "boot"}).json()
    assert first["classes"] == [{"name": "boot", "count": 3}]
    assert first["undo"] == {"label": "boot", "count": 3}
    second = client.post("/labels", json={"ids": ["digit/2", "digit/9"], "label": " shoe "}).json()
    assert second["classes"] == [{"name": "boot", "count": 2}, {"name": "shoe", "count": 2}]
    assert second["labelled"] == 4
    assert second["version"] > first["version"]
    third = client.post("/labels", json={"rows": [1], "label": None}).json()
    assert (third["labelled"], third["undo"]) == (3, {"label": None, "count": 1})
    assert client.get("/labels").json() == third
    marked = values(client, "marked")
    assert (marked[1], marked[2], marked[3], marked[9], marked[10]) == (None, "shoe", "boot", "shoe", None)
    for labelled in (4, 3, 0):
        assert client.post("/labels/undo").json()["labelled"] == labelled
    answer = client.post("/labels/undo")
    assert (answer.status_code, answer.json()) == (409, {"error": "labels: there is no labelling to undo"})


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"rows": [1]}, 422, "label: "),
        ({"rows": [1], "label": ""}, 400, "label: "),
        ({"rows": [1], "label": "a\nb"}, 400, "label: "),
        ({"rows": [1], "label": "x" * 101}, 400, "label: "),
        ({"rows": [], "label": "x"}, 400, "rows: expected at least one item, got none"),
        ({"label": "x"}, 400, "rows, ids: "),
        ({"rows": [1], "ids": ["digit/1"], "label": "x"}, 400, "rows, ids: "),
        ({"rows": [1, ROWS], "label": "x"}, 404, "row: "),
        ({"rows": [2**60], "label": "x"}, 422, "rows.0: "),
        ({"ids": ["digit/1", "nobody"], "label": "x"}, 404, "id: there is no item 'nobody'"),
        ({"ids": ["\ud800"], "label": "x"}, 404, "id: there is no item"),
        ({"rows": [1], "label": "\ud800"}, 400, "label: "),
    ],
)
def test_a_labelling_that_cannot_be_changes_nothing(client, body, status, said):
    sent = {"content": json.dumps(body), "headers": {"Content-Type": "application/json"}}
    answer = client.post("/labels", **sent)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(said)
    assert client.get("/labels").json()["version"] == 0


def test_a_label_may_have_a_hundred_letters(client):
    assert client.post("/labels", json={"rows": [1], "label": "x" * 100}).json()["classes"][0]["name"] == "x" * 100


def test_labels_are_in_the_store_when_it_answers(client, path):
    client.post("/labels", json={"rows": [1, 2], "label": "boot"})
    assert open_store(path).marks.all() == {"digit/1": "boot", "digit/2": "boot"}


def test_labels_of_another_process_are_seen(client, path):
    client.post("/labels", json={"rows": [1], "label": "boot"})
    open_store(path).marks.mark(["digit/5"], "shoe")
    assert client.get("/labels").json()["labelled"] == 2
    assert client.post("/labels", json={"rows": [6], "label": "shoe"}).json()["labelled"] == 3
    open_store(path).marks.mark(["digit/7"], "shoe")
    assert client.post("/labels", json={"rows": [8], "label": "shoe"}).json()["labelled"] == 5
    assert learnt(client)["classes"] == ["boot", "shoe"]


def test_an_item_tells_the_label_that_another_process_gave_it(client, path):
    client.post("/labels", json={"rows": [1], "label": "boot"})
    open_store(path).marks.mark(["digit/1"], "shoe")
    assert client.get("/items/1").json()["columns"]["marked"] == "shoe"


def test_the_classifier_learns_what_the_source_knows(client):
    rows = label_some(client, 5)
    found = learnt(client)
    assert (found["state"], found["labelled"], found["classes"]) == ("ready", 50, list("0123456789"))
    predicted, others = values(client, "predicted"), np.delete(np.arange(ROWS), rows)
    accuracy = (predicted[others] == truth()[others]).mean()
    assert accuracy > 0.75  # chance: 0.1
    confidence = values(client, "confidence")
    right = predicted == truth()
    assert confidence[right].mean() > confidence[~right].mean() + 0.1
    point = found["curve"][-1]
    assert point["judged"] == "source labels"
    assert abs(point["accuracy"] - accuracy) < 0.01
    assert point["low"] < point["accuracy"] < point["high"]
    assert found["confused"].startswith("Most common mistake: ")


def test_more_labels_are_better_and_the_curve_shows_it(client):
    label_some(client, 1)
    few = learnt(client)["curve"][-1]
    label_some(client, 10)
    curve = learnt(client)["curve"]
    assert curve[-1]["labelled"] == 100
    assert few in curve
    assert curve[-1]["low"] > few["high"]
    client.post("/labels/undo")
    assert [point["labelled"] for point in learnt(client)["curve"]][-1] == 91


def test_names_of_ones_own_are_judged_by_what_is_held_out(client):
    even = np.flatnonzero(np.isin(truth(), list("02468")))[:30]
    odd = np.flatnonzero(np.isin(truth(), list("13579")))[:30]
    client.post("/labels", json={"rows": even[:1].tolist(), "label": "even"})
    client.post("/labels", json={"rows": odd[:1].tolist(), "label": "odd"})
    assert learnt(client)["curve"] == []  # with one of each nothing can be held out
    client.post("/labels", json={"rows": even.tolist(), "label": "even"})
    client.post("/labels", json={"rows": odd.tolist(), "label": "odd"})
    point = learnt(client)["curve"][-1]
    assert (point["labelled"], point["judged"]) == (60, "cross-validation")
    assert 0.6 < point["accuracy"] <= 1


def test_names_of_which_the_source_knows_only_some_are_judged_by_what_is_held_out(client):
    threes, others = (np.flatnonzero((truth() == "3") == known)[:20].tolist() for known in (True, False))
    client.post("/labels", json={"rows": threes, "label": "3"})
    client.post("/labels", json={"rows": others, "label": "no three"})
    point = learnt(client)["curve"][-1]
    assert (point["labelled"], point["judged"]) == (40, "cross-validation")


def test_what_it_asks_for_is_uncertain_unlabelled_and_of_several_kinds(client):
    rows = label_some(client, 4)
    suggestions = learnt(client)["suggestions"]
    asked = [one["row"] for one in suggestions]
    assert len(set(asked)) == 24
    assert not set(asked) & set(rows.tolist())
    confidence = values(client, "confidence")
    assert confidence[asked].mean() < np.median(confidence)
    assert len({one["label"] for one in suggestions}) >= 5
    assert [one["id"] for one in suggestions] == [f"digit/{row}" for row in asked]


def test_what_is_labelled_already_is_not_asked_for_however_uncertain(client):
    for name in (0, 1):
        client.post("/labels", json={"rows": list(range(name, 300, 2)), "label": f"at random {name}"})
    assert min(one["row"] for one in learnt(client)["suggestions"]) >= 300


def test_the_most_common_mistake_is_named_of_classes_that_are():
    truth, said = np.array(list("aaaabbc")), np.array(list("abbaaba"))
    verdict = Evaluation(truth, said, "source labels")
    assert verdict.confused(["a", "b"]) == "Most common mistake: a classified as b, 2 of 4."
    assert verdict.confused(["b"]) == "Most common mistake: b classified as a, 1 of 2."
    assert verdict.confused(["d"]) == ""
    assert verdict.confused(["c"]) == "Most common mistake: c classified as a, 1 of 1."
    assert verdict.point(3).accuracy == pytest.approx(3 / 7)


def test_predictions_of_items_vectors_and_before_there_are_two_classes(client, path):
    client.post("/labels", json={"rows": [0], "label": "0"})
    answer = client.post("/predict", json={"rows": [1]})
    assert answer.status_code == 409
    assert answer.json()["error"].startswith("labels: the classifier needs labelled items of at least two classes")
    assert client.get("/classifier").json()["state"] == "absent"
    label_some(client, 3)
    of_rows = client.post("/predict", json={"rows": [20, 21]}).json()["predictions"]
    vectors = open_store(path).vectors([20, 21]).tolist()
    of_vectors = client.post("/predict", json={"vectors": vectors}).json()["predictions"]
    assert of_rows == of_vectors
    assert [one["label"] for one in of_rows] == values(client, "predicted")[[20, 21]].tolist()
    for one in of_rows:
        assert abs(sum(one["probabilities"].values()) - 1) < 1e-5
        assert one["confidence"] == max(one["probabilities"].values()) == one["probabilities"][one["label"]]
    for body, said in (({}, "rows, vectors: "), ({"vectors": [[1]]}, "vectors: "), ({"rows": [ROWS]}, "row: ")):
        assert client.post("/predict", json=body).json()["error"].startswith(said)


def test_one_vector_of_another_length_among_good_ones_is_refused(client, path):
    label_some(client, 3, "01")
    good = open_store(path).vectors([20])[0].tolist()
    for vectors in ([good, good[:-1]], [good[:-1], good]):
        answer = client.post("/predict", json={"vectors": vectors})
        assert (answer.status_code, answer.json()) == (400, {"error": "vectors: each must have 64 numbers"})


def test_many_quick_labels_do_not_each_start_a_training(client, monkeypatch):
    from salience.explorer.learning import Learner

    learn, trained, gate = Learner.learn, [], threading.Event()

    def slow(self, version, classes, codes):
        trained.append(version)
        assert gate.wait(600)
        return learn(self, version, classes, codes)

    monkeypatch.setattr(Learner, "learn", slow)
    client.post("/labels", json={"rows": [0], "label": "0"})
    until(lambda: trained)
    for row in range(1, 30):
        client.post("/labels", json={"rows": [row], "label": str(row % 2)})
    assert client.get("/classifier").json()["state"] == "training"
    gate.set()
    assert learnt(client)["version"] == 30
    assert trained == [1, 30]


def test_when_labels_are_taken_away_predictions_go_too(client, path):
    label_some(client, 2, "01")
    learnt(client)
    assert values(client, "predicted")[0] is not None
    client.post("/labels/undo")
    assert learnt(client)["state"] == "absent"
    assert set(values(client, "predicted")) == {None}
    assert np.isnan(values(client, "confidence")).all()


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_what_is_exported_can_be_read(client, format):
    def table(what: str) -> pd.DataFrame:
        answer = client.get("/labels/export", params={"what": what, "format": format})
        assert answer.status_code == 200, answer.text
        assert f'attachment; filename="{what}.{format}"' in answer.headers["content-disposition"]
        content = io.BytesIO(answer.content)
        return (
            pd.read_csv(content, dtype={"label": str, "predicted": str})
            if format == "csv"
            else pd.read_parquet(content)
        )

    for what in ("labels", "predictions"):
        assert client.get("/labels/export", params={"what": what}).status_code == 409
    rows = np.sort(label_some(client, 3))
    labels = table("labels")
    assert labels["item"].tolist() == [f"digit/{row}" for row in rows]
    assert labels["label"].tolist() == truth()[rows].tolist()
    predictions = table("predictions")
    assert predictions["item"].tolist() == [f"digit/{row}" for row in range(ROWS)]
    assert predictions["predicted"].tolist() == values(client, "predicted").tolist()
    np.testing.assert_allclose(predictions["confidence"], values(client, "confidence"), atol=1e-4)


def test_a_label_that_a_spreadsheet_would_run_is_exported_as_text(client):
    client.post("/labels", json={"rows": [0], "label": "=cmd|' /C calc'!A0"})
    answer = client.get("/labels/export", params={"what": "labels", "format": "csv"})
    assert answer.text.splitlines()[1].endswith(",'=cmd|' /C calc'!A0")
    content = client.get("/labels/export", params={"what": "labels", "format": "parquet"}).content
    assert pd.read_parquet(io.BytesIO(content))["label"].tolist() == ["=cmd|' /C calc'!A0"]


def test_predictions_are_kept_in_the_store(served, path):
    client = served()
    label_some(client, 3)
    learnt(client)
    expected = values(client, "predicted")
    client.__exit__(None, None, None)  # the server ends
    store = open_store(path)
    np.testing.assert_array_equal(store.column("predicted"), expected)
    assert np.isfinite(store.column("confidence")).all()
    again = served()
    assert learnt(again)["labelled"] == 30
    np.testing.assert_array_equal(values(again, "predicted"), expected)


@pytest.mark.slow  # a process of its own imports torch
def test_a_killed_server_has_kept_what_it_answered(path, tmp_path):
    command = [sys.executable, "-m", "salience", "explore", str(path), "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    url = process.stdout.readline().partition(": ")[2].strip()
    try:
        for row in range(5):
            answer = httpx.post(f"{url}labels", json={"rows": [row], "label": f"l{row}"}, timeout=600)
            assert answer.status_code == 200
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert open_store(path).marks.all() == {f"digit/{row}": f"l{row}" for row in range(5)}


def test_predictions_follow_labels_and_undoing_without_being_asked_for(client):
    def predicted() -> set:
        return set(values(client, "predicted"))

    label_some(client, 2, "01")
    assert until(lambda: predicted() == {"0", "1"})
    assert client.post("/labels/undo").status_code == 200
    assert until(lambda: predicted() == {None})


def test_a_labelling_that_could_not_be_saved_is_not_shown(client, path, monkeypatch):
    from salience.store.marks import Marks

    client.post("/labels", json={"rows": [1], "label": "one"})
    before = client.get("/labels").json()
    for name, asked in (("mark", {"rows": [1, 2], "label": "two"}), ("undo", None)):

        def full(self, *given):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(Marks, name, full)
            answer = client.post("/labels/undo") if asked is None else client.post("/labels", json=asked)
        assert answer.status_code == 500
        assert client.get("/labels").json() == before
        assert set(values(client, "marked")) == {None, "one"}
    assert open_store(path).marks.all() == {"digit/1": "one"}
    assert client.post("/labels", json={"rows": [2], "label": "two"}).json()["labelled"] == 2


def test_a_labelling_that_fails_half_way_leaves_nothing_behind(client, path, monkeypatch):
    from salience.store import marks

    client.post("/labels", json={"rows": [1], "label": "one"})
    before = client.get("/labels").json()
    set_labels = marks._set

    def half(connection, labels):
        set_labels(connection, labels[:1])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(marks, "_set", half)
        assert client.post("/labels", json={"rows": [1, 2, 3], "label": "two"}).status_code == 500
        assert client.post("/labels/undo").status_code == 500
    assert client.get("/labels").json() == before
    assert open_store(path).marks.all() == {"digit/1": "one"}
    assert client.post("/labels/undo").json()["labelled"] == 0
