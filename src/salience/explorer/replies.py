"""Responses that are not JSON, and errors as one plain line."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from salience.errors import UserError
from salience.explorer.refusals import status_of

BINARY = "application/octet-stream"
log = logging.getLogger(__name__)


def binary(request: Request, values: np.ndarray, tag: str) -> Response:
    """Return numbers as little-endian bytes; an empty response if the browser has this version."""

    def content() -> bytes:
        return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()

    if request.headers.get("if-none-match") == f'"{tag}"':
        return Response(status_code=304, headers=cacheable(tag))
    return Response(content(), media_type=BINARY, headers=cacheable(tag))


def file(request: Request, content: bytes, media_type: str) -> Response:
    tag = f"{zlib.crc32(content):08x}-{len(content)}"
    if request.headers.get("if-none-match") == f'"{tag}"':
        return Response(status_code=304, headers=cacheable(tag))
    return Response(content, media_type=media_type, headers=cacheable(tag))


def cacheable(tag: str) -> dict[str, str]:
    """Return a response that the browser caches and revalidates: another server may use this address later."""
    return {"Cache-Control": "private, no-cache", "ETag": f'"{tag}"'}


def problem(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": " ".join(message.split())}, status)


def describe_errors(errors: Sequence[Any]) -> str:
    """Describe a validation error as "where: what": "body.k: Input should be greater than or equal to 1"."""
    told = []
    for error in errors[:3]:
        place = ".".join(str(part) for part in error["loc"] if part not in ("body", "query", "path"))
        is_text = error["type"] in ("model_attributes_type", "dict_type") and not place
        said = "send JSON, as Content-Type: application/json" if is_text else error["msg"]
        told.append(f"{place or 'body'}: {said}")
    return "; ".join(told)


def handle_problems(app: FastAPI) -> None:
    """Return every error as {"error": "one plain line"}; write the traceback of an internal error to the log."""

    @app.exception_handler(UserError)
    def user_error(request: Request, found: UserError) -> Response:
        return problem(status_of(found), str(found))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, found: RequestValidationError) -> Response:
        return problem(422, describe_errors(found.errors()))

    @app.exception_handler(ValidationError)
    def invalid_body(request: Request, found: ValidationError) -> Response:
        return problem(422, describe_errors(found.errors()))

    @app.exception_handler(HTTPException)
    def http(request: Request, found: HTTPException) -> Response:
        answer = problem(found.status_code, f"{request.method} {request.url.path}: {found.detail}")
        answer.headers.update(found.headers or {})
        return answer

    @app.exception_handler(Exception)
    def internal(request: Request, found: Exception) -> Response:
        return problem(500, "internal error; see the server's log")
