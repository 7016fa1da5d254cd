"""The folder of runs may hold anything: a bad run is listed as bad and hides no other."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from salience.explorer import runs as listing
from salience.explorer.runs import UNREADABLE, Runs
from salience.training import fit
from tests.test_untrusted import BAD_YAML


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("listed") / "good"
    fit("autoencoder", np.eye(40, 3, dtype=np.float32), out=folder, epochs=2, dim=2, progress=False)
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """Of runs: a good one, and one to be spoilt, which is looked at first."""
    for name in ("good", "a-bad"):
        shutil.copytree(trained, tmp_path / "runs" / name)
    return tmp_path / "runs"


def listed(served, folder: Path) -> dict[str, dict]:
    client: TestClient = served(runs=folder)
    answer = client.get("/runs")
    assert answer.status_code == 200, answer.text
    found = {Path(run["name"]).name: run for run in answer.json()["runs"]}
    good = found["good"]
    assert (good["method"], good["finished"]) == ("autoencoder", True)
    assert good["verdict"] not in (None, UNREADABLE)
    assert client.get("/store").status_code == 200
    curves = client.get("/runs/curves", params={"name": good["name"]}).json()["curves"]
    assert "loss" in curves
    return found


@pytest.mark.parametrize("what", BAD_YAML)
def test_a_config_that_cannot_be_read_is_listed_with_the_reason(served, folder, what):
    content, _ = BAD_YAML[what]
    (folder / "a-bad" / "config.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    bad = listed(served, folder)["a-bad"]
    assert (bad["verdict"], bad["can"], bad["finished"]) == (UNREADABLE, [], False)
    (finding,) = bad["findings"]
    assert "config.yaml is damaged" in finding["why"]
    assert len(finding["why"]) < 300 + len(str(folder))


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors", "health.json", "metrics.csv"])
def test_a_pipe_in_a_run_is_listed_and_not_waited_for(served, folder, name):
    (folder / "a-bad" / name).unlink()
    os.mkfifo(folder / "a-bad" / name)
    bad = listed(served, folder)["a-bad"]
    assert "is not a plain file" in bad["findings"][0]["why"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("health.json", "{"),
        ("health.json", '{"probes": 3}'),
        ("cost.json", '{"seconds": NaN}'),
        ("report.json", "{"),
        ("report.json", '{"representation": {"knn": {"accuracy": {"value": NaN, "interval": [0, 1]}}}}'),
        ("report.json", '{"representation": {"knn": {"accuracy": {"value": "x", "interval": [0, 1]}}}}'),
        ("report.json", '{"representation": {"knn": 3}}'),
    ],
)
def test_another_damaged_file_is_named_and_the_rest_is_told(served, folder, name, content):
    (folder / "a-bad" / name).write_text(content)
    bad = listed(served, folder)["a-bad"]
    assert (bad["method"], bad["finished"], bad["verdict"]) == ("autoencoder", True, UNREADABLE)
    assert f"{name} is damaged" in bad["findings"][0]["why"]
    if name != "cost.json":
        assert bad["seconds"] > 0


def test_an_unfinished_run_offers_nothing_yet(served, folder):
    (folder / "a-bad" / "model.safetensors").unlink()
    found = listed(served, folder)
    assert (found["a-bad"]["finished"], found["a-bad"]["can"]) == (False, [])
    assert found["good"]["can"] == ["decode"]


def test_the_folder_runs_is_shown_where_no_other_is_named(served, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "others").mkdir()
    assert [Path(run["name"]).name for run in served().get("/runs").json()["runs"]] == ["a-bad", "good"]
    assert served(runs=tmp_path / "others").get("/runs").json()["runs"] == []
    monkeypatch.chdir(tmp_path / "others")
    assert served().get("/runs").json()["runs"] == []


def test_the_run_of_the_store_is_listed_once_by_whatever_path_it_is_named(served, folder, tmp_path):
    (tmp_path / "link").symlink_to(folder / "good")
    found = served(runs=folder, run=tmp_path / "link").get("/runs").json()["runs"]
    assert [(Path(run["name"]).name, run["this"]) for run in found] == [("link", True), ("a-bad", False)]


def test_curves_are_of_what_was_measured_and_not_of_the_epoch(served, folder):
    (folder / "a-bad" / "metrics.csv").write_text("step,epoch,loss\n0,0,2.0\n5,1,1.5\n")
    name = listed(served, folder)["a-bad"]["name"]
    found = served(runs=folder).get("/runs/curves", params={"name": name}).json()
    assert found == {"curves": {"loss": {"step": [0, 5], "value": [2.0, 1.5]}}}


def test_odd_names_and_odd_folders_hide_nothing(served, folder):
    (folder / "a-bad").rename(folder / os.fsdecode(b"caf\xe9\n"))
    (folder / "no-run").mkdir()
    (folder / "file").write_text("x")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "config-is-a-folder" / "config.yaml").mkdir(parents=True)
    report = {"representation": {"\ud800": {"accuracy": {"value": 0.5, "interval": [None, 1]}}}}
    (folder / "good" / "report.json").write_text(json.dumps(report))
    found = listed(served, folder)
    assert set(found) == {"good", "caf\\udce9\\n", "config-is-a-folder"}
    assert found["config-is-a-folder"]["verdict"] == UNREADABLE
    assert list(found["good"]["figures"].values()) == [[0.5, None, 1]]


def test_a_mistake_of_ours_in_one_run_hides_no_other(folder, monkeypatch):
    described = listing.read_run

    def failing(name, run, this):
        return 1 / 0 if run.path.name == "a-bad" else described(name, run, this)

    monkeypatch.setattr(listing, "read_run", failing)
    bad, good = Runs(folder, None).all()
    assert (bad.verdict, bad.findings[0].why) == (UNREADABLE, "run: it cannot be read (ZeroDivisionError)")
    assert good.method == "autoencoder"


def test_garbage_in_the_metrics_is_refused_in_one_line(served, folder):
    (folder / "a-bad" / "metrics.csv").write_bytes(b"\xff\xfe\x00")
    found = listed(served, folder)
    answer = served(runs=folder).get("/runs/curves", params={"name": found["a-bad"]["name"]})
    assert answer.status_code == 400
    assert "metrics.csv is damaged" in answer.json()["error"]
