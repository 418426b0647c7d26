"""The one shape of everything that is refused over HTTP: OpenAI's, so that its clients raise their own errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from assistant.turn import one_line
from memory.errors import (
    AlreadyRunning,
    BadInput,
    Busy,
    ModelUnavailable,
    NightschoolError,
    NotAllowed,
    NotFound,
    NotRemembered,
    Studying,
    TooLong,
)

KINDS: dict[type[NightschoolError], tuple[int, str]] = {
    NotFound: (404, "not_found"),
    TooLong: (400, "context_length_exceeded"),
    BadInput: (400, "bad_input"),
    AlreadyRunning: (409, "already_running"),
    Busy: (429, "rate_limit_exceeded"),
    Studying: (503, "studying"),
    ModelUnavailable: (503, "model_unavailable"),
    NotRemembered: (507, "not_remembered"),
}
"""Status and code of each error of ours; the first that fits counts."""

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
"""OpenAI's name for what is amiss, by status; other statuses from 500 on are the server's, the rest the request's."""


def error(message: str, status: int, code: str | None, param: str | None = None) -> dict[str, Any]:
    """`{"error": …}` as OpenAI writes it."""
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refusal(
    status: int,
    message: str,
    code: str | None,
    *,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """The response for what is refused."""
    return JSONResponse(error(message, status, code, param), status, headers)


def told(raised: Exception) -> tuple[int, dict[str, Any]]:
    """Status and body of whatever was raised: of what nobody foresaw its first line, the traceback is in the log."""
    status, code = next((kind for of, kind in KINDS.items() if isinstance(raised, of)), (500, "server_error"))
    if isinstance(raised, NotAllowed):
        status, code = raised.status, "invalid_api_key" if raised.status == 401 else "not_allowed"
    return status, error(one_line(raised), status, code)


def handle(api: FastAPI) -> None:
    """Answer every error of `api` in that shape."""
    for kind in (NightschoolError, Exception):
        api.add_exception_handler(kind, _raised)
    api.add_exception_handler(RequestValidationError, _bad_request)
    api.add_exception_handler(HTTPException, _plain)


def _raised(_request: Request, raised: Exception) -> JSONResponse:
    status, body = told(raised)
    wait = raised.seconds if isinstance(raised, Busy | Studying) else None
    return JSONResponse(body, status, {"Retry-After": str(wait)} if wait else None)


def _plain(_request: Request, raised: Exception) -> JSONResponse:
    assert isinstance(raised, HTTPException)  # noqa: S101 - what it is registered for
    if raised.status_code == 400 and isinstance(raised.__cause__, ValueError | RecursionError):
        # What JSON's own reader stumbles over before it could say where: bytes, depth, digits.
        return refusal(400, f"the request is no JSON: {one_line(raised.__cause__)}", "bad_json")
    return refusal(raised.status_code, str(raised.detail), None, headers=dict(raised.headers or {}))


def _place(found: Any, body: Any) -> Iterator[str | int]:
    """Where it is, as the client wrote it: without pydantic's names for the kinds that a field may have."""
    kind, *parts = found["loc"]
    for number, part in enumerate(parts, start=1):
        if kind != "body" or (isinstance(body, dict) and part in body):
            body = body[part] if kind == "body" else None
            yield part
        elif isinstance(body, list) and isinstance(part, int):
            body = body[part]
            yield part
        elif found["type"] == "missing" and number == len(parts):
            yield part


def _bad_request(_request: Request, raised: Exception) -> JSONResponse:
    assert isinstance(raised, RequestValidationError)  # noqa: S101 - what it is registered for
    # Of the kinds that a content may have, what goes deepest is what the client meant, and of those what is not amiss
    # with the kind itself.
    first: Any = max(raised.errors(), key=lambda found: (len(found["loc"]), not found["type"].endswith("_type")))
    if first["type"] == "json_invalid":
        return refusal(400, f"the request is no JSON: {first['ctx']['error']}", "bad_json")
    where = ".".join(map(str, _place(first, raised.body)))
    if first["type"] == "extra_forbidden":
        return refusal(400, f"{where!r} is not supported", "unsupported_parameter", param=where)
    if not where and first["type"] == "string_unicode":
        return refusal(400, "the name of a field has half of a surrogate pair", "unsupported_parameter")
    if not where:
        return refusal(400, "the request must be a JSON object, sent as application/json", "bad_json")
    what = first["msg"].removeprefix("Value error, ")
    return refusal(400, f"{where}: {what}", "invalid_value", param=where)
