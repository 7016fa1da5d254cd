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


NEAR = (
    *(
        "",
        TOKEN[:-1],
        TOKEN[1:],
        f"{TOKEN}x",
        f"x{TOKEN}",
        TOKEN.upper(),
        "correct-tokem",
        "corr\u00e9ct-token",
        "None",
    ),
)


@pytest.mark.parametrize("given", NEAR)
def test_what_is_nearly_the_token_is_not_the_token(served, given):
    client = served(token=TOKEN, host="127.0.0.1")
    cookie = client.get("/", params={"token": TOKEN}, follow_redirects=False).headers["set-cookie"].partition("=")[0]
    client.cookies.clear()
    sent = given.encode("latin-1")
    for headers in ({b"Authorization": b"Bearer " + sent}, {b"Cookie": cookie.encode() + b"=" + sent}):
        assert client.get("/store", headers=headers).status_code == 401
        assert client.post("/labels", json={"rows": [1], "label": "x"}, headers=headers).status_code == 401
    assert client.get("/", params={"token": given}, follow_redirects=False).status_code == 401
    assert client.get("/store", headers={"Cookie": f"{cookie}={TOKEN}"}).status_code == 200
    assert client.get("/store", headers={"Cookie": f"{cookie}x={TOKEN}; token={TOKEN}"}).status_code == 401
    assert client.get("/store", headers={"Authorization": TOKEN}).status_code == 401


def test_a_wrong_token_leaves_no_cookie(served):
    client = served(token=TOKEN, host="127.0.0.1")
    assert "set-cookie" not in client.get("/", params={"token": "wrong"}, follow_redirects=False).headers
    assert "set-cookie" not in served().get("/", params={"token": "any"}, follow_redirects=False).headers


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


FOREIGN = (
    *("evil.example", "127.0.0.1.evil.example:8300", "localhost.evil.example", "", "::1", "[::1", "::1]"),
    *(
        "evil-localhost",
        "evil.localhost",
        "localhost.",
        "localhos",
        "xlocalhost:8300",
        "localhost:x",
        "localhost:80:80",
    ),
    *("127.0.0.1.evil", "127.0.0.11", "27.0.0.1", "127.0.0.1@evil.example", "evil.example#127.0.0.1", "0.0.0.0"),
    "localhost:80:80",
)


@pytest.mark.parametrize("name", FOREIGN)
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


ORIGINS = (
    *("http://evil.example", "null", "", "http://127.0.0.1:9999", "http://localhost:8300", "http://127.0.0.1"),
    *("http://[bad", "http://[", "127.0.0.1:8300", "http://127.0.0.1:8300.evil.example", "http://evil-127.0.0.1:8300"),
    *("http://127.0.0.1:83000", "http://127.0.0.1:830", "ftp://127.0.0.1:8300", "http://x@127.0.0.1:8300", "file://"),
    *("http://127.0.0.1:8300/", "http://127.0.0.1:8300 http://evil.example"),
)


@pytest.mark.parametrize("origin", ORIGINS)
def test_another_pages_post_changes_nothing(client, origin):
    client.post("/labels", json={"rows": [2], "label": "two"})
    for path, body in (("/labels", {"rows": [1], "label": "one"}), ("/labels/undo", {}), ("/jobs/anomalies", {})):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            answer = client.request(method, path, json=body, headers={"Origin": origin})
            assert answer.status_code == 403
            assert answer.json()["error"].startswith("origin: ")
    assert client.get("/labels").json()["classes"] == [{"name": "two", "count": 1}]
    assert {job["state"] for job in client.get("/jobs").json()} == {"absent"}


@pytest.mark.parametrize("own", [{}, {"Origin": "http://127.0.0.1:8300"}, {"Origin": "HTTPS://127.0.0.1:8300"}])
def test_the_own_page_and_programs_without_a_page_are_welcome(client, own):
    assert client.post("/labels", json={"rows": [1], "label": "one"}, headers=own).status_code == 200


def test_a_page_of_the_same_machine_under_another_name_is_another_page(client):
    sent = {"Host": "localhost:8300", "Origin": "http://localhost:8300"}
    assert client.post("/labels", json={"rows": [1], "label": "one"}, headers=sent).status_code == 200
    crossed = {"Host": "localhost:8300", "Origin": "http://127.0.0.1:8300"}
    assert client.post("/labels", json={"rows": [1], "label": "one"}, headers=crossed).status_code == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_form_of_another_page_is_no_json(client, kind):
    bodies = {"/labels": b'{"rows": [1], "label": "x"}', "/search": b'{"row": 1}', "/predict": b'{"rows": [1]}'}
    bodies |= {"/embed": b'{"rows": [[1]]}', "/jobs/cluster": b"{}"}
    for path, body in bodies.items():
        answer = client.post(path, content=body, headers={"Content-Type": kind})
        assert answer.status_code in (400, 422), path
        assert "send" in answer.json()["error"], path
    assert client.get("/labels").json()["labelled"] == 0
    assert {job["state"] for job in client.get("/jobs").json()} == {"absent"}


def test_a_body_that_is_too_large_is_not_read(client):
    large = b"0" * (32 * 2**20 + 1)
    for path in ("/search", "/labels", "/embed"):
        answer = client.post(path, content=large, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert answer.json() == {"error": "body: expected at most 32 MB; send less at once"}


def test_nor_is_one_that_does_not_say_how_large_it_is(client):
    def endless():
        for _ in range(40):
            yield b"0" * 2**20

    assert client.post("/search", content=endless(), headers={"Content-Type": "image/png"}).status_code == 413


@pytest.mark.parametrize("url", ["/store", "/nothing", "/static/app.js"])
def test_every_answer_tells_the_browser_to_stay_here(client, url):
    headers = client.get(url).headers
    policy = headers["content-security-policy"]
    assert {one.strip() for one in policy.split(";")} == {
        "default-src 'self'", "img-src 'self' data: blob:", "style-src 'self'", "object-src 'none'", "base-uri 'none'",
        "form-action 'self'", "frame-ancestors 'none'",
    }  # fmt: skip
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == headers["cross-origin-opener-policy"] == "same-origin"


TRAVERSALS = ("..", "%2e%2e", "..%2f..", "%2e%2e%2f%2e%2e", "....//..", "..%5c..", "%252e%252e")


def test_no_path_from_a_request_reaches_the_files(served, path, tmp_path):
    """What must not be reached is there and would be read: a secret beside the page, beside the store and in a run."""
    static = tmp_path / "package" / "static"
    static.mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "package", tmp_path / "runs", tmp_path / "elsewhere"):
        folder.mkdir(exist_ok=True)
        (folder / "secret").write_text("the secret")
        (folder / "metrics.csv").write_text("step,the secret\n1,2\n2,3\n")
    (static / "app.js").write_text("the page")
    (static / "link").symlink_to(tmp_path / "secret")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("salience.explorer.app.STATIC", static)
        client = served(runs=tmp_path / "runs")
    assert client.get("/static/app.js").text == "the page"
    paths = [f"/static/{way}/{rest}" for way in TRAVERSALS for rest in ("secret", "package/secret")]
    paths += [f"/static/{tmp_path}/secret", f"/static//{tmp_path}/secret", "/static/link", "/static/"]
    paths += [f"/items/{way}/image" for way in TRAVERSALS] + [f"/columns/{way}/values" for way in TRAVERSALS]
    names = ("../elsewhere", "..", ".", "", "runs/../elsewhere", str(tmp_path / "elsewhere"), str(tmp_path), "/etc")
    paths += [f"/runs/curves?name={name}" for name in names]
    paths += [f"/columns/{tmp_path}", f"/points?map={tmp_path}/secret", "/points?map=/etc/passwd"]
    for asked in paths:
        answer = client.get(asked)
        assert answer.status_code in (404, 422), asked
        assert "the secret" not in answer.text, asked


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


def webp_bomb(width: int, height: int) -> bytes:
    """A lossless WebP of one colour, of 34 bytes."""
    head = (width - 1 | (height - 1) << 14).to_bytes(4, "little")
    content = b"\x2f" + head + b"\x07\x10\x11\x11\x88\x88\xfe\x07\x00"
    body = b"WEBPVP8L" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_a_large_photograph_is_let_in_as_it_is_shrunk_while_it_is_decoded():
    from salience.errors import UserError
    from salience.explorer.pictures import verify

    def photograph(width: int, height: int) -> bytes:
        file = io.BytesIO()
        Image.new("L", (16, 16)).save(file, "JPEG")
        found = file.getvalue()
        at = found.index(b"\xff\xc0") + 5  # the frame header says the size
        return found[:at] + struct.pack(">HH", height, width) + found[at + 4 :]

    verify(photograph(8_000, 6_000))
    with pytest.raises(UserError, match="expected at most 50,000,000"):
        verify(photograph(8_000, 7_000))


def test_images_are_looked_at_before_they_are_decoded():
    from salience.errors import UserError
    from salience.explorer.pictures import verify

    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, "PNG")
    good = file.getvalue()
    verify(good)
    sizes = [bomb(60_000, 60_000), bomb(9_000, 6_000), bomb(9_000, 6_000, hidden=True), bomb(3_600, 3_600)]
    others = [tiff_bomb(), webp_bomb(7_000, 7_000), webp_bomb(3_600, 3_600)]
    wrong = {
        "(more (pixels )?than|expected at most|pixels exceed)": [*sizes, *others],
        "not an image": [b"plainly no image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"],
        "damaged": [good[:50] + b"xx" + good[52:]],
        "empty": [b""],
    }
    for reason, files in wrong.items():
        for content in files:
            with pytest.raises(UserError, match=f"^image: .*{reason}"):
                verify(content)
