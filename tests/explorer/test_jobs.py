"""What runs in the background leaves its columns, and a failure in words."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from salience.errors import UserError
from salience.explorer import jobs
from salience.store import open_store
from tests.explorer.conftest import ROWS, until

FAKE = """
import sys
import numpy as np
print('{"share": 0.5, "said": "half"}', flush=True)
points = np.stack([np.arange(600), -2.0 * np.arange(600)], 1)
print('{"points": 600}', flush=True)
sys.stdout.buffer.write(points.astype("<f4").tobytes())
"""


def ended(client, name: str) -> dict:
    def found() -> dict | None:
        job = next(job for job in client.get("/jobs").json() if job["name"] == name)
        return None if job["state"] == "running" else job

    return until(found)


def test_the_points_of_umap_become_its_two_columns_in_their_order(client, path, monkeypatch):
    popen = subprocess.Popen
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda command, **pipes: popen([sys.executable, "-c", FAKE], **pipes))
    client.get("/store")
    assert client.post("/jobs/umap", json={}).json()["state"] == "running"
    assert ended(client, "umap")["state"] == "done"
    store = open_store(path)
    np.testing.assert_array_equal(store.column("umap_x"), np.arange(ROWS))
    np.testing.assert_array_equal(store.column("umap_y"), -2.0 * np.arange(ROWS))
    assert client.get("/store").json()["maps"] == ["pca", "umap"]


def test_a_job_that_runs_is_not_started_again_and_one_that_has_ended_is(client, monkeypatch):
    gate, begun = threading.Event(), []

    def waiting(*given, **options):
        begun.append(given)
        assert gate.wait(600)

    monkeypatch.setattr("salience.verbs.duplicates.duplicates", waiting)
    client.post("/jobs/duplicates", json={})
    until(lambda: begun)
    for _ in range(3):
        assert client.post("/jobs/duplicates", json={}).json()["state"] == "running"
    gate.set()
    assert ended(client, "duplicates")["state"] == "done"
    assert len(begun) == 1
    client.post("/jobs/duplicates", json={})
    ended(client, "duplicates")
    assert len(begun) == 2


@pytest.mark.parametrize("points", [ROWS - 1, ROWS + 1])
def test_a_map_of_other_items_than_are_explored_is_not_written(client, path, monkeypatch, points):
    popen, code = subprocess.Popen, FAKE.replace("600", str(points))
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda command, **pipes: popen([sys.executable, "-c", code], **pipes))
    client.post("/jobs/umap", json={})
    found = ended(client, "umap")
    said = f"umap: the store has {points} items now; restart salience explore"
    assert (found["state"], found["said"]) == ("failed", said)
    assert "umap_x" not in open_store(path).columns


@pytest.mark.parametrize("name", ["anomalies", "duplicates"])
def test_a_mistake_of_ours_ends_a_job_as_failed(client, name, monkeypatch):
    def broken(*given, **options):
        raise RuntimeError("a bug")

    monkeypatch.setattr(f"salience.verbs.{name}.{name}", broken)
    client.post(f"/jobs/{name}", json={})
    found = ended(client, name)
    assert (found["state"], found["said"]) == ("failed", "failed: RuntimeError")


def test_outliers_are_told_anew_after_each_of_their_jobs(client):
    assert client.get("/outliers").json() == {"anomalies": None, "duplicates": None}
    for name, there in (("anomalies", (True, False)), ("duplicates", (True, True))):
        client.post(f"/jobs/{name}", json={})
        assert ended(client, name)["state"] == "done"
        found = client.get("/outliers").json()
        assert (found["anomalies"] is not None, found["duplicates"] is not None) == there


def test_the_end_of_the_server_ends_its_jobs(served, monkeypatch):
    closed = []
    client = served()
    monkeypatch.setattr(jobs.Jobs, "close", lambda self: closed.append(self))
    client.__exit__(None, None, None)
    assert closed


def test_a_process_that_ends_early_is_a_failure_in_words():
    def ending(code: str) -> str:
        with (
            subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process,
            pytest.raises(UserError) as problem,
        ):
            jobs.follow(process, lambda share, said: None, 5)
        return str(problem.value)

    assert ending("").startswith("umap: the process ended too early")
    assert ending("""print('{"failed": "no memory"}')""") == "umap: no memory"
    too_few = """import sys; print('{"points": 1}', flush=True); sys.stdout.buffer.write(bytes(8))"""
    assert ending(too_few).startswith("umap: the store has 1 item now")
    cut = """print('{"points": 5}')"""
    assert ending(cut).startswith("umap: the process ended too early")
