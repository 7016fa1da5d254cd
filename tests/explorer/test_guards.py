"""Each guard's nearest wrong thing, and what lies just inside it: tokens, origins, sizes, ports, images, runs."""

from __future__ import annotations

import errno
import io
import json
import shutil
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from salience.errors import UserError
from salience.explorer import serve
from salience.explorer.learning import Learner
from salience.explorer.pictures import verify
from salience.store import open_store
from salience.training import fit
from tests.explorer.conftest import ROWS, learnt, truth, values

TOKEN = "correct-token"
FOREIGN = {"Origin": "http://evil.example"}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
@pytest.mark.parametrize("space", [" ", "  "])
def test_a_bearer_is_one_however_it_is_written(served, scheme, space):
    client = served(token=TOKEN, host="127.0.0.1")
    assert client.get("/store", headers={"Authorization": f"{scheme}{space}{TOKEN}"}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "OPTIONS"])
def test_only_opening_the_page_takes_the_token_from_the_address(served, method):
    client = served(token=TOKEN, host="127.0.0.1")
    answer = client.request(method, "/", params={"token": TOKEN}, follow_redirects=False)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_a_cookie_is_of_one_server_and_of_all_its_pages(served):
    names = []
    for token in (TOKEN, "another-token"):
        answer = served(token=token, host="127.0.0.1").get("/", params={"token": token}, follow_redirects=False)
        cookie = answer.headers["set-cookie"]
        assert "path=/" in cookie.lower().replace(" ", "").split(";")
        names.append(cookie.partition("=")[0])
    assert len(set(names)) == 2


def test_without_a_token_the_page_opens_whatever_its_address_holds(client):
    for address in ("/", "/?token=any", "/?from=elsewhere"):
        answer = client.get(address, follow_redirects=False)
        assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)


@pytest.mark.parametrize(
    ("host", "asked", "status"),
    [
        ("::1", "[::1]:9", 200),
        ("fe80::2", "[fe80::2]:8300", 200),
        ("[fe80::2]", "[fe80::2]:8300", 200),
        ("fe80::2", "fe80::2", 400),
        ("My-Machine", "my-machine:80", 200),
        ("my-machine", "MY-MACHINE", 200),
        ("my-machine", "my-machine.evil.example", 400),
        ("my-machine", "localhost:1", 200),
        ("::", "any.example", 200),
        ("[::]", "any.example", 200),
    ],
)
def test_a_server_is_called_by_the_host_it_was_given(served, host, asked, status):
    client = served(token=TOKEN, host=host)
    sent = {"Authorization": f"Bearer {TOKEN}", "Host": asked}
    assert client.get("/store", headers=sent).status_code == status


def test_pages_elsewhere_may_look_as_a_link_does_and_change_nothing(client):
    assert client.get("/store", headers=FOREIGN).status_code == 200
    assert client.head("/store", headers=FOREIGN).status_code == 405  # there is no such route, but it is no change
    assert client.options("/labels", headers=FOREIGN).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Content-Length": "-1"}, 413),
        ({"Content-Length": "1e3"}, 413),
        ({"Content-Length": "9" * 21}, 413),
        ({"Content-Length": str(32 * 2**20 + 1)}, 413),
        ({"Content-Length": str(32 * 2**20)}, 200),
    ],
)
def test_what_a_body_says_of_its_length(client, headers, status):
    sent = {"Content-Type": "application/json", **headers}
    answer = client.post("/search", content=b'{"row": 1}', headers=sent)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    if status == 413:
        assert answer.json() == {"error": "body: expected at most 32 MB; send less at once"}


def test_a_body_of_just_32_mb_is_read(client):
    body = b'{"row": 1}' + b" " * (32 * 2**20 - 10)
    for content in (body, iter([body[:99], body[99:]])):
        answer = client.post("/search", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200
    answer = client.post("/search", content=iter([body, b" "]), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


@pytest.mark.parametrize(("port", "fits"), [(-1, False), (0, True), (65536, False), (65535, True)])
def test_both_ends_of_the_ports(port, fits):
    if not fits:
        with pytest.raises(UserError, match=f"^port: expected .*, got {port}$"):
            serve.open_listener(None, port)
        return
    try:
        with serve.open_listener(None, port) as listener:
            found = listener.getsockname()[1]
            assert found == port or (port == 0 and found > 0)
            socket.create_connection(("127.0.0.1", found), 60).close()  # it can be reached from now on
    except UserError as taken:
        assert "in use" in str(taken)  # noqa: PT017 - by somebody else on this machine


def test_the_first_of_a_hundred_ports_that_is_free_is_taken(monkeypatch):
    tried = []

    def bound(address, port):
        tried.append((address, port))
        raise OSError(errno.EADDRINUSE, "in use")

    monkeypatch.setattr(serve, "bind_socket", bound)
    with pytest.raises(UserError, match=r"^port: 8300 to 8399 are all in use; choose another one with --port"):
        serve.open_listener(None, None)
    assert tried == [("127.0.0.1", port) for port in range(8300, 8400)]
    tried.clear()
    with pytest.raises(UserError, match=r"^port: 9000 is in use; choose another one with --port"):
        serve.open_listener("0.0.0.0", 9000)
    assert tried == [("0.0.0.0", 9000)]


def jpeg(width: int, height: int) -> bytes:
    """A photograph that says it has this size."""
    file = io.BytesIO()
    Image.new("L", (16, 16)).save(file, "JPEG")
    found = file.getvalue()
    at = found.index(b"\xff\xc0") + 5
    return found[:at] + struct.pack(">HH", height, width) + found[at + 4 :]


@pytest.mark.parametrize(
    ("width", "height", "fits"), [(10_000, 5_000, True), (10_001, 5_000, False), (5_000, 10_001, False)]
)
def test_both_sides_of_the_largest_photograph(width, height, fits):
    if fits:
        verify(jpeg(width, height))
    else:
        with pytest.raises(
            UserError,
            match=rf"^image: expected at most 50,000,000 pixels, got {width}x{height}",
        ):
            verify(jpeg(width, height))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_images_of_every_common_kind_are_let_in(format):
    file = io.BytesIO()
    Image.new("RGB", (5, 4), "red").save(file, format)
    verify(file.getvalue())  # would raise
    with pytest.raises(UserError, match=r"^image: "):
        verify(file.getvalue()[:3])  # its first bytes alone are no image


@pytest.mark.parametrize("format", ["ICO", "PCX", "TGA", "PDF"])
def test_images_of_other_kinds_are_not(format):
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(file, format)
    with pytest.raises(UserError, match=r"^image: .*; send JPEG or PNG"):
        verify(file.getvalue())


# --- the live classifier --------------------------------------------------------------------------------------------


def label(client, name: str, rows: list[int]) -> None:
    assert client.post("/labels", json={"rows": rows, "label": name}).status_code == 200


def test_a_training_that_fails_is_passed_over_and_the_next_labels_are_learnt(client, monkeypatch):
    learn, failing = Learner.learn, []

    def once(self, version, classes, codes):
        if not failing:
            failing.append(version)
            raise RuntimeError("a bug")
        return learn(self, version, classes, codes)

    monkeypatch.setattr(Learner, "learn", once)
    label(client, "a", [0, 2])
    found = learnt(client)
    assert (found["state"], found["version"], found["classes"], found["curve"]) == ("absent", 1, [], [])
    assert failing == [1]
    label(client, "b", [1, 3])
    found = learnt(client)
    assert (found["state"], found["classes"], found["labelled"]) == ("ready", ["a", "b"], 4)


def test_the_curve_is_in_the_order_of_the_labels_and_forgets_what_was_taken_back(client):
    labels = truth()
    for count in (1, 2, 3):
        for name in "01":
            label(client, name, np.flatnonzero(labels == name)[:count].tolist())
        learnt(client)
    counts = [point["labelled"] for point in learnt(client)["curve"]]
    assert counts == sorted(set(counts))
    assert counts[-1] == 6
    for _ in range(2):
        client.post("/labels/undo")
    assert learnt(client)["curve"][-1]["labelled"] == 4


def test_the_least_certain_is_asked_for_first_and_told_as_predicted(client):
    labels = truth()
    for name in "0123":
        label(client, name, np.flatnonzero(labels == name)[:4].tolist())
    suggestions = learnt(client)["suggestions"]
    predicted, confidence = values(client, "predicted"), values(client, "confidence")
    asked = [one["row"] for one in suggestions]
    assert [one["label"] for one in suggestions] == predicted[asked].tolist()
    assert [one["confidence"] for one in suggestions] == pytest.approx(confidence[asked].tolist())
    probabilities = client.post("/predict", json={"rows": asked}).json()["predictions"]
    ahead = [np.diff(np.sort(list(one["probabilities"].values()))[-2:])[0] for one in probabilities]
    assert ahead == sorted(ahead)
    others = client.post("/predict", json={"rows": list(range(ROWS))}).json()["predictions"]
    margins = [np.diff(np.sort(list(one["probabilities"].values()))[-2:])[0] for one in others]
    assert min(margins[row] for row in range(ROWS) if labels[row] not in "0123" or row > 50) >= ahead[0] - 1e-6


def test_without_a_label_nothing_is_written_to_the_store(served, path):
    client = served()
    before = set(open_store(path).columns)
    client.get("/classifier")
    client.__exit__(None, None, None)
    assert set(open_store(path).columns) == before


def test_predictions_of_labels_that_are_gone_are_taken_from_the_store(served, path):
    client = served()
    for name in "01":
        label(client, name, np.flatnonzero(truth() == name)[:3].tolist())
    learnt(client)
    client.__exit__(None, None, None)
    assert None not in open_store(path).column("predicted")
    again = served()
    for _ in range(2):
        again.post("/labels/undo")
    learnt(again)
    again.__exit__(None, None, None)
    store = open_store(path)
    assert set(store.column("predicted")) == {None}
    assert np.isnan(store.column("confidence")).all()


def test_probabilities_are_of_the_classes_in_their_order(client):
    for name in "210":
        label(client, name, np.flatnonzero(truth() == name)[:4].tolist())
    found = client.post("/predict", json={"rows": np.flatnonzero(truth() == "2")[10:13].tolist()}).json()["predictions"]
    assert [list(one["probabilities"]) for one in found] == [["0", "1", "2"]] * 3
    assert [one["label"] for one in found] == ["2"] * 3


# --- runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("listed") / "good"
    fit("autoencoder", np.eye(40, 3, dtype=np.float32), out=folder, epochs=2, dim=2, progress=False)
    return folder


def figure(value: float) -> dict:
    return {"value": value, "interval": [value - 0.1, value + 0.1]}


def test_figures_are_called_as_in_the_report_and_a_hundred_at_most(served, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "runs" / "good")
    measures = {
        "knn": {"accuracy": figure(0.5), "balanced_accuracy": figure(0.4)},
        "linear": {"accuracy": figure(0.6)},
        "regression": {"r2": figure(0.3)},
        "few_label": {"1": {"accuracy": figure(0.2)}, "10": {"accuracy": figure(0.7)}},
        "clustering": {"nmi": figure(0.1)},
        "retrieval": {"precision_at_1": figure(0.8)},
        "another": {"thing": figure(0.9)},
    }
    report = tmp_path / "runs" / "good" / "report.json"
    report.write_text(json.dumps({"representation": measures}))
    client = served(runs=tmp_path / "runs")
    (run,) = client.get("/runs").json()["runs"]
    assert {name: found[0] for name, found in run["figures"].items()} == {
        "kNN accuracy": 0.5,
        "kNN balanced accuracy": 0.4,
        "linear probe accuracy": 0.6,
        "ridge regression R²": 0.3,
        "1 label per class": 0.2,
        "10 labels per class": 0.7,
        "clusters NMI": 0.1,
        "retrieval P@1": 0.8,
        "another thing": 0.9,
    }
    assert run["figures"]["kNN accuracy"] == pytest.approx([0.5, 0.4, 0.6])
    report.write_text(json.dumps({"representation": {"knn": {f"m{n}": figure(n) for n in range(101)}}}))
    (run,) = client.get("/runs").json()["runs"]
    assert list(run["figures"]) == [f"kNN m{n}" for n in range(100)]


@pytest.mark.parametrize(("rows", "kept"), [(1, 1), (499, 499), (500, 500), (501, 500), (5000, 500)])
def test_a_curve_has_up_to_500_points_both_ends_among_them(served, trained, tmp_path, rows, kept):
    shutil.copytree(trained, tmp_path / "runs" / "good")
    lines = ["step,epoch,loss", *(f"{7 * row},{row},{row / 2}" for row in range(rows))]
    (tmp_path / "runs" / "good" / "metrics.csv").write_text("\n".join(lines) + "\n")
    client = served(runs=tmp_path / "runs")
    name = client.get("/runs").json()["runs"][0]["name"]
    loss = client.get("/runs/curves", params={"name": name}).json()["curves"]["loss"]
    assert len(loss["step"]) == len(loss["value"]) == kept
    assert (loss["step"][0], loss["step"][-1]) == (0, 7 * (rows - 1))
    assert (np.array(loss["value"]) * 14 == loss["step"]).all()
    assert (np.diff(loss["step"]) > 0).all()


def test_what_a_damaged_run_of_the_store_is_told_as(served, trained, tmp_path):
    for name in ("b", "a", "c"):
        shutil.copytree(trained, tmp_path / "runs" / name)
    (tmp_path / "runs" / "b" / "config.yaml").write_text("{")
    found = served(runs=tmp_path / "runs", run=tmp_path / "runs" / "b").get("/runs").json()["runs"]
    assert [(Path(run["name"]).name, run["this"], run["verdict"] == "unreadable") for run in found] == [
        ("b", True, True),
        ("a", False, False),
        ("c", False, False),
    ]
    assert (found[0]["method"], found[0]["figures"], found[0]["seconds"]) == ("", {}, None)
    assert found[0]["findings"][0]["what"] == "the run cannot be read"
    assert found[0]["findings"][0]["change"] == "restore the file, or move the folder away"
    assert found[1]["figures"] == {}


def test_what_the_doctor_finds_is_told_in_its_words(served, trained, tmp_path):
    import salience

    shutil.copytree(trained, tmp_path / "runs" / "good")
    (run,) = served(runs=tmp_path / "runs").get("/runs").json()["runs"]
    expected = salience.doctor(tmp_path / "runs" / "good")
    assert run["verdict"] == expected.verdict
    assert [(one["what"], one["why"], one["change"]) for one in run["findings"]] == [
        (one.what, one.why, one.change) for one in expected.findings
    ]
    assert run["findings"]
