import hashlib
import io
import os
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from salience.data import open_data
from salience.data.download import fetch
from salience.data.sources import builtin
from salience.data.sources.query import Query
from salience.errors import UserError

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder; knows ranges unless the name says "plain"; breaks off after `limit` bytes where one is set."""

    limit: int | None = None
    ranges: list

    def do_GET(self):
        data = (Path(self.directory) / self.path.lstrip("/")).read_bytes() if self.known() else None
        if data is None:
            return self.send_error(404)
        wanted = self.headers.get("Range")
        start = int(wanted[6:-1]) if wanted and "plain" not in self.path else 0
        self.ranges.append(start)
        if start >= len(data):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:][: self.limit])
        return None

    def known(self):
        return (Path(self.directory) / self.path.lstrip("/")).is_file()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    for name in ("file.bin", "plain.bin"):
        (folder / name).write_bytes(CONTENT)
    handler = type("OneTest", (Handler,), {"ranges": [], "limit": None})
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    http.url, http.folder, http.handler = f"http://127.0.0.1:{http.server_port}", folder, handler
    yield http
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_file_is_downloaded_once(server, tmp_path):
    path = tmp_path / "got" / "file.bin"
    assert fetch(f"{server.url}/file.bin", path, SHA256).read_bytes() == CONTENT
    fetch(f"{server.url}/file.bin", path, SHA256)
    assert server.handler.ranges == [0]
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize(("name", "second"), [("file.bin", 1_000_000), ("plain.bin", 0)])
def test_a_broken_download_is_continued_or_begun_again(server, tmp_path, name, second):
    path = tmp_path / name
    server.handler.limit = 1_000_000
    with pytest.raises(UserError, match="cannot download"):
        fetch(f"{server.url}/{name}", path, SHA256)
    assert not path.exists()
    server.handler.limit = None
    assert fetch(f"{server.url}/{name}", path, SHA256).read_bytes() == CONTENT
    assert server.handler.ranges == [0, second]


def test_wrong_content_is_refused_and_deleted(server, tmp_path):
    path = tmp_path / "file.bin"
    with pytest.raises(UserError, match="expected SHA-256 checksum"):
        fetch(f"{server.url}/file.bin", path, "0" * 64)
    assert not list(tmp_path.glob("file.bin*"))


@pytest.mark.parametrize("leftover", [b"of another file", b"longer than the whole file" * 200_000])
def test_a_wrong_beginning_is_dropped(server, tmp_path, leftover):
    path = tmp_path / "file.bin"
    path.with_name("file.bin.part").write_bytes(leftover)
    assert fetch(f"{server.url}/file.bin", path, SHA256).read_bytes() == CONTENT


def test_of_two_who_download_the_same_one_waits(server, tmp_path, capsys):
    asked, answer = threading.Event(), threading.Event()
    serve = server.handler.do_GET

    def slow(self):
        second = asked.is_set()
        asked.set()
        if second:
            answer.set()
        answer.wait(10)
        return serve(self)

    server.handler.do_GET = slow
    path = tmp_path / "file.bin"
    both = [threading.Thread(target=fetch, args=(f"{server.url}/file.bin", path, SHA256)) for _ in range(2)]
    both[0].start()
    assert asked.wait(10)
    both[1].start()
    answer.wait(0.3)  # that the second asks the server too is what must not happen
    answer.set()
    for thread in both:
        thread.join(10)
    assert server.handler.ranges == [0]
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["file.bin"]
    assert capsys.readouterr().err == "waiting: another process is downloading file.bin\n"


def test_a_download_is_on_the_disk_before_it_takes_its_place(server, tmp_path, monkeypatch):
    path, flushed = tmp_path / "file.bin", []
    monkeypatch.setattr("os.fsync", lambda file: flushed.append((os.fstat(file).st_size, path.exists())))
    fetch(f"{server.url}/file.bin", path, SHA256)
    assert flushed == [(len(CONTENT), False)]


def test_no_server_and_no_file_say_what_to_do(server, tmp_path):
    with pytest.raises(UserError, match=r"cannot download .*put the file at .*here\.bin"):
        fetch("http://127.0.0.1:9/x", tmp_path / "here.bin", SHA256)
    with pytest.raises(UserError, match="Not Found"):
        fetch(f"{server.url}/none.bin", tmp_path / "here.bin", SHA256)


def cifar_archive(folder):
    """Batches of 2 images each, the pixels of which are all their number."""
    with tarfile.open(folder / builtin.CIFAR_FILE, "w:gz") as tar:
        names = [name for names in builtin.CIFAR_PARTS.values() for name in names]
        for number, name in enumerate(reversed(names)):
            records = np.full((2, 3073), 10 * number, np.uint8)
            records[:, 0] = number, 9 - number
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = records.nbytes
            tar.addfile(info, io.BytesIO(records.tobytes()))
    return hashlib.sha256((folder / builtin.CIFAR_FILE).read_bytes()).hexdigest()


def test_cifar10_is_downloaded_checked_and_prepared(server, tmp_path, monkeypatch):
    sha256 = cifar_archive(server.folder)
    monkeypatch.setitem(builtin.NAMES, "cifar10", partial(builtin.cifar10, url=server.url, sha256=sha256))
    train, test = open_data("cifar10"), open_data("cifar10:test")
    assert train.x[:, 0, 0, 0].tolist() == [50, 50, 40, 40, 30, 30, 20, 20, 10, 10]
    assert train.labels.tolist() == [5, 4, 4, 5, 3, 6, 2, 7, 1, 8]
    assert test.labels.tolist() == [0, 9]
    assert train.spec.shape == (3, 32, 32)
    assert train.spec.views == "natural"
    assert train.classes[3] == "cat"
    assert server.handler.ranges == [0]
    (tmp_path / "cache" / "downloads" / builtin.CIFAR_FILE).unlink()
    assert len(open_data("cifar10")) == 10
    assert server.handler.ranges == [0]
    with pytest.raises(UserError, match="cifar10 has no split 'val'; it has: train, test"):
        open_data("cifar10:val")


def test_fashion_mnist_is_downloaded_where_debian_has_not_installed_it(server, tmp_path, monkeypatch):
    from tests.data.test_idx import write_idx

    sums = {}
    for name in builtin.FASHION_SHA256:
        images = "images" in name
        write_idx(server.folder / name, np.arange(20 * 784).reshape(20, 28, 28) % 255 if images else np.arange(20) % 10)
        sums[name] = hashlib.sha256((server.folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(builtin, "FASHION_SHA256", sums)
    source = builtin.fashion_mnist(Query(cache=tmp_path / "c"), server.url, tmp_path / "not installed")
    found = source.read()
    assert found.content.shape == (20, 28, 28)
    assert found.classes[9] == "Ankle boot"
    assert len(server.handler.ranges) == 2


@pytest.mark.skipif(not builtin.DEBIAN.exists(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_as_installed():
    data = open_data("fashion-mnist:test")
    assert data.x.shape == (10_000, 1, 28, 28)
    assert np.bincount(data.labels).tolist() == [1000] * 10
    np.testing.assert_allclose(data.spec.mean, 0.2868, atol=1e-4)
    assert data.spec.views == "grey"


def test_digits():
    from sklearn.datasets import load_digits

    data = open_data("digits")
    raw = load_digits()
    np.testing.assert_allclose(data.x[:, 0], raw.images * 255 / 16, atol=0.5)
    np.testing.assert_array_equal(data.labels, raw.target)
    assert data.spec.views == "glyphs"
    with pytest.raises(UserError, match="labels: digits has built-in labels"):
        open_data("digits", labels="x")
    with pytest.raises(UserError, match="digits has no split 'test'; it has: train"):
        open_data("digits:test")


@pytest.mark.parametrize("found", [True, False])
def test_digits_are_those_of_scikit_learn_whether_its_file_is_found_or_not(monkeypatch, found):
    from sklearn.datasets import load_digits

    if not found:
        monkeypatch.setattr(builtin, "find_spec", lambda name: None)
    rows, known = builtin._digits_file(), load_digits()
    assert np.array_equal(rows[:, :-1].reshape(-1, 8, 8), known.images)
    assert np.array_equal(rows[:, -1], known.target)
    assert np.array_equal(open_data("digits").labels, known.target)
