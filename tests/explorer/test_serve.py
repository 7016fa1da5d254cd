"""From the command line to a server that listens."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import salience
from salience.cli import main
from salience.errors import Stopped, UserError
from salience.explorer import classifier, serve
from salience.store import open_store
from tests.explorer.conftest import until


def test_a_free_port_is_found_and_a_taken_one_refused():
    with serve.open_listener(None, None) as first, serve.open_listener(None, None) as second:
        ports = [one.getsockname()[1] for one in (first, second)]
        assert len(set(ports)) == 2
        assert all(one.getsockname()[0] == "127.0.0.1" for one in (first, second))
        with pytest.raises(UserError, match=rf"^port: {ports[0]} is in use"):
            serve.open_listener(None, ports[0])
    for port in (-1, 70_000):
        with pytest.raises(UserError, match=r"^port: "):
            serve.open_listener(None, port)
    with pytest.raises(UserError, match=r"^host: cannot listen at "):
        serve.open_listener("203.0.113.1", None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.lance"], "nowhere.lance does not exist"),
        (["."], "is not a store of embeddings"),
        (["store.lance", "--run", "nowhere"], "--run: nowhere does not exist"),
        (["store.lance", "--runs", "nowhere"], "--runs: nowhere is not a folder"),
        (["store.lance", "--port", "99999"], "--port: expected 0 (any free port) or 1024 to 65535, got 99999"),
        ([], "STORE|RUN: none given"),
    ],
)
def test_what_cannot_be_explored_is_refused_in_one_line(path, words, said, capsys, monkeypatch):
    monkeypatch.chdir(path.parent)
    path.rename("store.lance")
    assert main(["explore", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_run_is_explored_by_embedding_its_own_source(tmp_path, capsys):
    salience.fit("pca", "digits", out=tmp_path / "run", dim=4, progress=False)
    store = serve.get_or_embed_store(tmp_path / "run")
    assert store == str(tmp_path / "run" / "embeddings.lance")
    assert "embedding digits into" in capsys.readouterr().err
    assert len(serve.open_store(store)) == 1797
    assert serve.get_or_embed_store(tmp_path / "run") == store
    assert capsys.readouterr().err == ""


def test_a_run_of_a_split_is_explored_by_embedding_that_split(tmp_path, monkeypatch):
    import uvicorn

    generator = np.random.default_rng(0)
    for split, count in (("train", 9), ("test", 14)):
        (tmp_path / "images" / split).mkdir(parents=True)
        for number in range(count):
            image = Image.fromarray(generator.integers(0, 255, (8, 8), np.uint8))
            image.save(tmp_path / "images" / split / f"{number}.png")
    salience.fit("pca", f"{tmp_path / 'images'}:test", out=tmp_path / "run", dim=2, progress=False)
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    assert main(["explore", str(tmp_path / "run"), "--port", "0"]) == 0
    store = open_store(tmp_path / "run" / "embeddings.lance")
    assert (len(store), [source["split"] for source in store.about["sources"]]) == (14, ["test"])


@pytest.mark.parametrize("host", [None, "127.0.0.1", "localhost", "0.0.0.0"])
def test_a_server_on_a_named_host_asks_for_the_token_that_it_prints(path, host, monkeypatch, capsys):
    import uvicorn

    answered = []

    def run(self, sockets):
        with TestClient(self.config.app, base_url="http://localhost") as client:
            answered.append(client.get("/store").status_code)

    monkeypatch.setattr(uvicorn.Server, "run", run)
    assert main(["explore", str(path), "--port", "0", *([] if host is None else ["--host", host])]) == 0
    assert answered == [200 if host is None else 401]
    assert ("?token=" in capsys.readouterr().out) == (host is not None)


def test_the_run_and_the_runs_that_are_named_are_those_that_are_shown(path, tmp_path, monkeypatch):
    import uvicorn

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # without a folder of runs
    salience.fit("pca", np.eye(9, 3), out=tmp_path / "mine" / "one", dim=2, progress=False)
    moved, found = shutil.copytree(tmp_path / "mine" / "one", tmp_path / "moved"), []

    def run(self, sockets):
        with TestClient(self.config.app, base_url="http://localhost") as client:
            found.append([(Path(run["name"]).name, run["this"]) for run in client.get("/runs").json()["runs"]])

    monkeypatch.setattr(uvicorn.Server, "run", run)
    salience.explore(path, port=0, run=moved, runs=tmp_path / "mine")
    words = ["--port", "0", "--run", str(moved), "--runs", str(tmp_path / "mine")]
    assert main(["explore", str(path), *words]) == 0
    assert found == [[("moved", True), ("one", False)]] * 2


def started(path: Path, *words: str) -> tuple[subprocess.Popen[str], str]:
    """A server of its own, and the address it prints."""
    command = [sys.executable, "-m", "salience", "explore", str(path), "--port", "0", *words]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=path.parent, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    return process, process.stdout.readline().partition(": ")[2].strip()


@pytest.mark.slow  # a process of its own imports torch
def test_with_a_host_a_token_is_printed_and_ctrl_c_ends_it(path):
    process, url = started(path, "--host", "127.0.0.1")
    try:
        place, _, token = url.partition("?token=")
        assert len(token) > 30
        with httpx.Client(base_url=place, timeout=600, follow_redirects=True) as browser:
            assert browser.get("/").status_code == 401
            assert browser.get("/", params={"token": token}).status_code == 200
            assert browser.get("/store").json()["rows"] == 600
        process.send_signal(signal.SIGINT)
        assert process.wait(600) in (130, -signal.SIGALRM)  # the latter where the machine is too busy to end in time
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.slow  # numba
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_what_runs_in_the_background_ends_with_the_server(path, ending):
    process, url = started(path)
    try:
        assert httpx.post(f"{url}jobs/umap", timeout=600).json()["state"] == "running"
        child = until(lambda: children(process.pid))[0]
        process.send_signal(ending)
        process.wait(600)
        until(lambda: not Path(f"/proc/{child}").exists() or state(child) == "Z")
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


STUCK = """
import sys, threading, time
from salience.explorer.app import a
from salience.explorer.learning import Learner
from salience.explorer.state import Explorer
def stuck(*given):
    print("stuck", flush=True)
    while True:
        time.sleep(3600)
Learner.learn = stuck
Explorer.search = stuck
from salience.explorer.jobs import Jobs
Jobs.anomalies = lambda self: self._start("anomalies", stuck)
from salience.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow  # a process of its own imports torch
@pytest.mark.parametrize(("ending", "codes"), [(signal.SIGINT, (130, -14)), (signal.SIGTERM, (143, -15, -14))])
def test_a_signal_ends_the_server_whatever_runs(path, ending, codes):
    command = [sys.executable, "-c", STUCK, "explore", str(path), "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().partition(": ")[2].strip()
        process.stdout.readline()  # press Ctrl-C to stop
        httpx.post(f"{url}labels", json={"rows": [1], "label": "one"}, timeout=600)
        httpx.post(f"{url}jobs/anomalies", json={}, timeout=600)
        asking = socket.create_connection(("127.0.0.1", int(url.rstrip("/").rpartition(":")[2])))
        lines = ("POST /search HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", "Content-Length: 2")
        asking.sendall("\r\n".join([*lines, "", "{}"]).encode())
        assert [process.stdout.readline() for _ in range(3)] == ["stuck\n"] * 3
        process.send_signal(ending)
        assert process.wait(600) in codes  # it would never end by itself
        asking.close()
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    assert open_store(path).marks.all() == {"digit/1": "one"}


def test_what_the_end_may_take_adds_up_to_less_than_two_seconds():
    assert serve.GRACE + classifier.CLOSING < serve.LATEST < 2 - 0.3


@pytest.mark.parametrize("ends", [True, False])
def test_only_a_process_that_does_nothing_else_is_ended(path, ends, monkeypatch):
    import uvicorn

    ended, heeded, left = [], [], []

    def run(self, sockets):
        self.handle_exit(signal.SIGTERM, None)

    monkeypatch.setattr(uvicorn.Server, "run", run)
    monkeypatch.setattr(uvicorn.Server, "handle_exit", lambda self, number, frame: heeded.append(number))
    monkeypatch.setattr(serve, "exit_later", ended.append)
    monkeypatch.setattr(serve, "exit_now", left.append)
    serve.serve(path, port=0, ends_process=ends)
    assert heeded == [signal.SIGTERM]
    assert ended == left == [signal.SIGTERM] * ends


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a signal of POSIX")
@pytest.mark.parametrize("ignored", [(), (signal.SIGINT,), (signal.SIGINT, signal.SIGHUP), (signal.SIGTERM,)])
def test_signals_that_were_ignored_stay_so_and_the_others_end_the_server(path, ignored, monkeypatch):
    import uvicorn

    numbers = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
    ended, left, heeded = [], [], [number for number in numbers if number not in ignored]

    def run(self, sockets):
        with self.capture_signals():
            for number in numbers:
                os.kill(os.getpid(), number)
        raise AssertionError("the first that is heeded is raised again")

    monkeypatch.setattr(uvicorn.Server, "run", run)
    monkeypatch.setattr(serve, "exit_later", ended.append)
    monkeypatch.setattr(serve, "exit_now", left.append)
    before = {number: signal.signal(number, raising) for number in numbers}
    try:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        with pytest.raises(Stopped):
            serve.serve(path, port=0, ends_process=True)
        assert {number: signal.getsignal(number) for number in numbers} == {
            number: signal.SIG_IGN if number in ignored else raising for number in numbers
        }
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert list(dict.fromkeys(ended)) == heeded
    assert left == [heeded[0]]


def raising(number, frame):
    raise Stopped(number=number)


@pytest.mark.slow  # a process of its own imports torch
@pytest.mark.parametrize(("ending", "said"), [(signal.SIGTERM, "terminated\n"), (signal.SIGHUP, "hung up\n")])
def test_a_job_in_the_background_goes_on_after_ctrl_c_and_ends_by_other_signals(path, ending, said):
    """A shell without job control, as of a script, has its background jobs ignore SIGINT."""
    script = 'trap "" INT; exec "$@"'
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "salience", "explore", str(path), "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            url = process.stdout.readline().partition(": ")[2].strip()
            with httpx.Client(base_url=url, timeout=600) as browser:
                for _ in range(3):
                    assert browser.get("/store").json()["rows"] == 600
                    process.send_signal(signal.SIGINT)
            process.send_signal(ending)
            assert process.wait(600) == 128 + ending
            assert process.stderr.read() == said
        finally:
            process.kill()


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_the_address_names_the_machine_and_the_token(capsys):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        serve.print_address("a.lance", listener, None, None)
        assert f"http://127.0.0.1:{port}/\n" in capsys.readouterr().out
        serve.print_address("a.lance", listener, "::1", "secret")
        assert f"http://[::1]:{port}/?token=secret\n" in capsys.readouterr().out
        for everywhere in ("0.0.0.0", "::", "[::]"):
            serve.print_address("a.lance", listener, everywhere, "secret")
            assert f"http://{socket.gethostname()}:{port}/?token=secret\n" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["vae", "digits"], ["moco", "digits", "--dim", "8"]])
def test_commands_are_read_alike_where_the_server_has_loaded_pydantic(words, tmp_path, capsys):
    import pydantic  # noqa: F401 - with it cyclopts checks values of its own accord, defaults too

    assert main(["fit", *words, "--out", str(tmp_path)]) == 2
    assert f"--out: {tmp_path} exists" in capsys.readouterr().err
