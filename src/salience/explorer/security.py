"""Access control and size limits. It handles every request first, including static files and documentation.

Without a token the server accepts connections from this machine only. It then has to block other pages in the user's
browser. It checks the host name of each request (against DNS rebinding) and the origin of each POST (against cross-site
requests).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 32 * 2**20  # maximum size of a request body
MOST_DIGITS = 20  # maximum number of digits of a content length
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
EVERYWHERE = ("0.0.0.0", "::", "[::]")  # reachable by any host name; access requires the token
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
READING = ("GET", "HEAD")


def allowed_hosts(host: str | None) -> frozenset[str] | None:
    """Return the host names that requests may use; None, meaning any, if the server listens everywhere."""
    if host in EVERYWHERE:
        return None
    given = () if host is None else (f"[{host}]" if ":" in host and host[0] != "[" else host,)
    return frozenset(name.lower() for name in (*LOOPBACK, *given))


class Guard:
    """Middleware that controls access to an application.

    token: required in every request, as `Authorization: Bearer`, cookie, or ?token= of the page; None: not required
    hosts: the result of allowed_hosts
    """

    def __init__(self, app: ASGIApp, *, token: str | None, hosts: frozenset[str] | None, most_bytes: int = MOST_BYTES):
        self.app = app
        self.token = token
        self.hosts = hosts
        self.most_bytes = most_bytes
        self.cookie = f"salience-{hashlib.sha256((token or '').encode()).hexdigest()[:8]}"  # one cookie per server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        request = Request(scope)
        answer = self._refusal(request) or self._welcome(request)
        if answer is not None:
            await answer(scope, receive, sending)
        elif request.method in READING:
            await self.app(scope, receive, sending)
        elif (body := await self._body(request, receive)) is None:
            too_large = f"body: expected at most {self.most_bytes // 2**20} MB; send less at once"
            await refused(413, too_large)(scope, receive, sending)
        else:
            await self.app(scope, replay_body(body, receive), sending)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if self.hosts is not None and name_of(host) not in self.hosts:
            return refused(400, f"host: '{host[:80]}' is not a name of this server; open the printed address")
        if self.token is not None and not any(self._is_token(given) for given in self._given(request)):
            return refused(401, "token: missing or wrong; open the printed address, with its token")
        origin = request.headers.get("origin")
        own = (f"http://{host}".lower(), f"https://{host}".lower())  # compared whole: no parser to mislead
        if request.method not in READING and origin is not None and origin.lower() not in own:
            return refused(403, f"origin: requests from {origin[:80]} cannot change this server; use its own page")
        return None

    def _given(self, request: Request) -> Iterable[str]:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            yield bearer.strip()
        yield request.cookies.get(self.cookie, "")
        if self._is_entrance(request):
            yield request.query_params["token"]

    def _is_token(self, given: str) -> bool:
        return self.token is not None and secrets.compare_digest(given.encode(), self.token.encode())

    def _welcome(self, request: Request) -> Response | None:
        """Store the token of the printed address as a cookie, and remove it from the address."""
        if self.token is None or not self._is_entrance(request) or not self._is_token(request.query_params["token"]):
            return None
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self.cookie, self.token, httponly=True, samesite="strict", path="/")
        return answer

    @staticmethod
    def _is_entrance(request: Request) -> bool:
        return request.method == "GET" and request.url.path == "/" and "token" in request.query_params

    async def _body(self, request: Request, receive: Receive) -> bytes | None:
        """Read the complete body; None if it is too large, regardless of the stated length."""
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > MOST_DIGITS or int(length) > self.most_bytes:
            return None
        body, more = bytearray(), True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self.most_bytes:
                return None
        return bytes(body)


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Return a receive function that replays a body that has been read."""
    waiting: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> Message:
        return waiting.pop() if waiting else await receive()

    return receiving


def name_of(host: str) -> str:
    """Return a Host header without the port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


def refused(status: int, message: str) -> Response:
    return JSONResponse({"error": " ".join(message.split())}, status)
