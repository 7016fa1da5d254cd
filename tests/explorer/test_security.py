"""Who is let in, and with how much."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

TOKEN = "correct-token"
EVERYTHING = ("/", "/docs", "/openapi.json", "/store", "/static/app.js", "/labels", "/items/1/image", "/nothing")


@pytest.mark.parametrize("url", EVERYTHING)
def test_without_the_token_nothing_is_answered(served, url):
    client = served(token=TOKEN, host="127.0.0.1")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        answer = client.get(url, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"].startswith("token: ")


def test_a_program_sends_the_token_as_a_bearer(served):
    client = served(token=TOKEN, host="127.0.0.1")
    sent = {"Authorization": f"Bearer {TOKEN}"}
    assert client.get("/store", headers=sent).status_code == 200
    labelling = {"rows": [1], "label": "one"}
    assert client.post("/labels", json=labelling, headers=sent).json()["labelled"] == 1
    assert client.post("/labels", json=labelling).status_code == 401


def test_the_printed_address_leaves_a_cookie_and_hides_the_token(served):
    client = served(token=TOKEN, host="127.0.0.1")
    answer = client.get("/", params={"token": TOKEN}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/store").status_code == 200  # the client has kept it
    assert client.get("/store", params={"token": "wrong"}).status_code == 200


@pytest.mark.parametrize("url", ["/store", "/docs", "/labels/export"])
def test_the_token_in_an_address_opens_the_page_alone(served, url):
    client = served(token=TOKEN, host="127.0.0.1")
    assert client.get(url, params={"token": TOKEN}).status_code == 401
    assert client.get("/", params={"token": f"{TOKEN}x"}, follow_redirects=False).status_code == 401


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1:8300", "[::1]:8300", "LOCALHOST:1"])
def test_it_answers_to_the_names_of_this_machine(client, name):
    assert client.get("/store", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example:8300", "localhost.evil.example", "", "::1"])
def test_a_foreign_name_that_points_here_is_refused(client, name):
    answer = client.get("/store", headers={"Host": name})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("host: ")


def test_the_given_host_is_a_name_too_and_everywhere_is_any(served):
    here = served(token=TOKEN, host="192.168.1.5")
    sent = {"Authorization": f"Bearer {TOKEN}"}
    assert here.get("/store", headers={**sent, "Host": "192.168.1.5:80"}).status_code == 200
    assert here.get("/store", headers={**sent, "Host": "192.168.1.6"}).status_code == 400
    everywhere = served(token=TOKEN, host="0.0.0.0")
    assert everywhere.get("/store", headers={**sent, "Host": "192.168.1.6"}).status_code == 200
    assert everywhere.get("/store", headers={"Host": "192.168.1.6"}).status_code == 401


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:8300"])
def test_another_pages_post_changes_nothing(client, origin):
    answer = client.post("/labels", json={"rows": [1], "label": "one"}, headers={"Origin": origin})
    assert answer.status_code == 403
    assert client.get("/labels").json()["labelled"] == 0


def test_the_own_pages_post_is_welcome(client):
    own = {"Origin": "http://127.0.0.1:8300"}
    assert client.post("/labels", json={"rows": [1], "label": "one"}, headers=own).status_code == 200


def test_a_form_of_another_page_is_no_json(client):
    for path in ("/labels", "/search", "/predict", "/jobs/cluster"):
        answer = client.post(path, content=b'{"rows": [1], "label": "x"}', headers={"Content-Type": "text/plain"})
        assert 400 <= answer.status_code < 500
    assert client.get("/labels").json()["labelled"] == 0


def test_a_body_that_is_too_large_is_not_read(client):
    large = b"0" * (32 * 2**20 + 1)
    for path in ("/search", "/labels", "/embed"):
        answer = client.post(path, content=large, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert answer.json() == {"error": "body: more than 32 MB; send less at once"}


def test_nor_is_one_that_does_not_say_how_large_it_is(client):
    def endless():
        for _ in range(40):
            yield b"0" * 2**20

    assert client.post("/search", content=endless(), headers={"Content-Type": "image/png"}).status_code == 413


@pytest.mark.parametrize("url", ["/store", "/nothing", "/static/app.js"])
def test_every_answer_tells_the_browser_to_stay_here(client, url):
    headers = client.get(url).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_no_path_from_a_request_reaches_the_files(client, tmp_path):
    (tmp_path / "secret").write_text("secret")
    for path in (
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/runs/curves?name=../../etc",
        f"/runs/curves?name={tmp_path}",
        f"/columns/{tmp_path}",
        "/points?map=/etc/passwd",
        "/items/..%2f..%2fetc",
    ):
        answer = client.get(path)
        assert 400 <= answer.status_code < 500, path
        assert "root:" not in answer.text


def bomb(width: int, height: int, *, hidden: bool = False) -> bytes:
    """A PNG that says it is large, of a few bytes.  hidden: says first that it is small"""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    sizes = [(9, 9)] * hidden + [(width, height)]
    heads = b"".join(chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)) for size in sizes)
    return b"\x89PNG\r\n\x1a\n" + heads + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def tiff_bomb() -> bytes:
    file = io.BytesIO()
    Image.new("1", (30_000, 9_000)).save(file, "TIFF", compression="group4")
    return file.getvalue()


def test_images_are_looked_at_before_they_are_decoded():
    from salience.errors import UserError
    from salience.explorer.pictures import verify

    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, "PNG")
    good = file.getvalue()
    verify(good)
    wrong = {
        "more (pixels )?than": [bomb(60_000, 60_000), bomb(9_000, 6_000), bomb(9_000, 6_000, hidden=True), tiff_bomb()],
        "not an image": [b"plainly no image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"],
        "damaged": [good[:50] + b"xx" + good[52:]],
        "empty": [b""],
    }
    for reason, files in wrong.items():
        for content in files:
            with pytest.raises(UserError, match=f"^image: .*{reason}"):
                verify(content)
