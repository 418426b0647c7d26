"""The HTTP side of a turn: OpenAI's chat shape, ratings, lessons, nights, recall. Any client can rate what it was told.

It knows no SQL and no model: each route is a few lines over `turn`, `feedback` and the ledger.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Generator, Iterator
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as PlainHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from assistant import feedback, wire
from assistant.engine import Sampling
from assistant.nights import request_night
from assistant.turn import Answered, Ask, Assistant, Recalled, Words, clean, scrub, turn
from memory.errors import (
    AlreadyRunning,
    BadInput,
    ModelUnavailable,
    NightschoolError,
    NotFound,
    NotRemembered,
)
from memory.records import BASE, AdapterState, LessonState, Message

STATUS: dict[type[NightschoolError], int] = {
    NotFound: 404,
    BadInput: 400,
    AlreadyRunning: 409,
    ModelUnavailable: 503,
    NotRemembered: 507,
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""The addresses of this machine that no other can reach."""

SERVED = "nightschool"


class Part(BaseModel):
    """A part of a message's content; text is the only kind there is here."""

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One message of the dialogue, as OpenAI writes it."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]

    def message(self) -> Message:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": scrub(text)}


class ChatRequest(BaseModel):
    """`POST /v1/chat/completions`. What would change the answer and is not supported is refused by name.

    `user` is the caller's own label and changes nothing.
    """

    model_config = ConfigDict(extra="forbid")

    messages: list[ChatMessage] = Field(min_length=1)
    model: str = SERVED
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=8192)
    max_completion_tokens: int | None = Field(None, ge=1, le=8192)
    seed: int | None = Field(None, ge=0, lt=2**32)
    n: Literal[1] = 1
    user: str | None = None
    memory: bool = True
    temporary: bool = False


class FeedbackRequest(BaseModel):
    """`POST /v1/feedback`."""

    model_config = ConfigDict(extra="forbid")

    exchange_id: str
    value: Literal[1, -1, 0]
    reasons: list[str] = []
    comment: str = ""
    correction: str | None = None


def create(  # noqa: C901 - one small route after another
    assistant: Assistant, *, ready: Callable[[], str | None]
) -> FastAPI:
    """The HTTP application, for requests from this machine alone.

    Args:
        ready: why the assistant can't answer yet, or None.
    """
    api = FastAPI(title="Nightschool", docs_url=None, redoc_url=None)
    api.add_middleware(SameOrigin)
    # Without a login, a name of somebody else's that resolves to this machine must not reach it (DNS rebinding).
    api.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"])
    api.add_exception_handler(NightschoolError, _known_error)
    api.add_exception_handler(RequestValidationError, _bad_request)
    api.add_exception_handler(PlainHTTPException, _plain_error)
    api.add_exception_handler(Exception, _unforeseen)

    @api.post("/v1/chat/completions", response_model=None)
    def chat(request: ChatRequest) -> Response | dict[str, Any]:
        events = turn(assistant, _ask(assistant, request))
        try:
            first = next(events)
        except NotFound as error:
            # The version: it is all that a request over HTTP names.
            return _error(404, _no_such_model(request.model), type(error).__name__)
        assert isinstance(first, Recalled)  # noqa: S101 - the contract of `turn`
        if request.stream:
            usage = bool((request.stream_options or {}).get("include_usage"))
            lines = _server_sent(assistant, first, events, usage=usage)
            return ServerSent(lines)
        (answered,) = (event for event in events if isinstance(event, Answered))
        return _completion(first, answered)

    @api.get("/v1/models")
    def models() -> dict[str, Any]:
        usable = [a for a in assistant.ledger.adapters() if a.state is not AdapterState.REJECTED]
        names = [SERVED, BASE, *(f"{SERVED}@{a.version}" for a in usable)]
        return {"object": "list", "data": [{"id": n, "object": "model", "owned_by": SERVED} for n in names]}

    @api.post("/v1/feedback")
    def rate(request: FeedbackRequest) -> dict[str, Any]:
        rating = feedback.rate(
            assistant,
            request.exchange_id,
            request.value,
            reasons=request.reasons,
            comment=request.comment,
            correction=request.correction,
        )
        lessons = [x for x in assistant.ledger.lessons() if x.rating_id == rating.id]
        return {
            "rating_id": rating.id,
            "exchange_id": rating.exchange_id,
            "value": rating.value,
            "lesson": wire.lesson(lessons[0]) if lessons else None,
        }

    @api.get("/v1/lessons")
    def lessons(state: LessonState | None = None) -> dict[str, Any]:
        found = assistant.ledger.lessons(states=[state] if state else None, newest_first=True)
        return {"lessons": [wire.lesson(lesson) for lesson in found]}

    @api.get("/v1/adapters")
    def adapters() -> dict[str, Any]:
        active = assistant.ledger.active_adapter()
        return {
            "active": active.version if active else BASE,
            "adapters": [wire.adapter(adapter) for adapter in assistant.ledger.adapters()],
        }

    @api.post("/v1/nights", status_code=202)
    def start_night() -> dict[str, Any]:
        return wire.night(request_night(assistant))

    @api.get("/v1/nights")
    def nights() -> dict[str, Any]:
        assistant.ledger.reap_nights(at=assistant.clock())
        return {"nights": [wire.night(night, report=False) for night in assistant.ledger.nights()]}

    @api.get("/v1/nights/{night_id}")
    def night(night_id: str) -> dict[str, Any]:
        assistant.ledger.reap_nights(at=assistant.clock())
        return wire.night(assistant.ledger.night(night_id))

    @api.get("/v1/memory/search")
    def search(q: str, k: Annotated[int, Query(ge=1, le=100)] = 5) -> dict[str, Any]:
        query = clean(q, limit=assistant.settings.message_chars, what="query")
        return {"results": [wire.found(r) for r in assistant.memory.search(query, k=k)]}

    @api.get("/v1/memory/export", response_model=None)
    def export() -> Response:
        return Response(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _remembered(assistant)),
            media_type="application/x-ndjson",
            headers={"Content-Disposition": 'attachment; filename="nightschool-memory.jsonl"'},
        )

    @api.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/ready")
    def is_ready() -> dict[str, str]:
        why_not = ready()
        if why_not:
            raise HTTPException(503, why_not)
        return {"status": "ready"}

    return api


class ServerSent(StreamingResponse):
    """Server-sent events out of a generator, which is closed as soon as the client hangs up.

    Left to the garbage collector, the answer would be computed to its end, and not be stored until then.
    """

    def __init__(self, lines: Generator[str]) -> None:
        super().__init__(lines, media_type="text/event-stream")
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # In a thread, for closing waits for the token under way; to the end, also when the server is shut down.
            await asyncio.shield(run_in_threadpool(self._lines.close))


class SameOrigin:
    """Refuses what a page of another origin makes a browser send; programs send no `Origin` and pass."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = dict(scope["headers"])
            origin = headers.get(b"origin", b"").decode("latin-1")
            if origin and origin.partition("://")[2] != headers.get(b"host", b"").decode("latin-1"):
                refused = _error(403, "requests from pages of another origin are refused", "forbidden")
                await refused(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _ask(assistant: Assistant, request: ChatRequest) -> Ask:
    messages = [message.message() for message in request.messages]
    if messages[-1]["role"] != "user":
        raise BadInput("the last message must be the user's")
    name = request.model.removeprefix(f"{SERVED}@")
    settings = assistant.settings
    tokens = request.max_completion_tokens or request.max_tokens
    return Ask(
        question=messages[-1]["content"],
        history=messages[:-1],
        memory=request.memory,
        temporary=request.temporary,
        adapter=None if name == SERVED else name,
        sampling=Sampling(
            max_tokens=tokens or settings.answer_tokens,
            temperature=settings.temperature if request.temperature is None else request.temperature,
            top_p=request.top_p or settings.top_p,
            seed=request.seed,
        ),
    )


def _no_such_model(name: str) -> str:
    return (
        f"there is no model {name[:80]!r}: name {SERVED!r} (the version that serves), '{SERVED}@vN' or 'vN' (that one),"
        f" or {BASE!r} (none); GET /v1/models lists them"
    )


def _provenance(recalled: Recalled) -> dict[str, Any]:
    return {
        "exchange_id": recalled.exchange_id,
        "adapter": recalled.adapter,
        "adapter_sha256": recalled.adapter_sha256,
        "recollections": [wire.recollection(r) for r in recalled.recollections],
    }


def _remembered(assistant: Assistant) -> Iterator[dict[str, Any]]:
    """Everything that is remembered, the oldest first, with the answers that hold now."""
    ledger = assistant.ledger
    for first in range(1, ledger.last_seq() + 1, 500):
        for _, (exchange, rating) in sorted(ledger.rated_exchanges(range(first, first + 500)).items()):
            yield {
                "exchange_id": exchange.id,
                "conversation_id": exchange.conversation_id,
                "created_at": exchange.created_at.isoformat(),
                "question": exchange.question,
                "answer": exchange.answer,
                "rating": rating.value if rating else None,
                "correction": rating.correction if rating else None,
            }


FINISH = {"stop": "stop", "length": "length", "stopped": "stop"}
"""Our finish reason → OpenAI's."""


def _completion(recalled: Recalled, answered: Answered) -> dict[str, Any]:
    exchange = answered.exchange
    return {
        "id": f"chatcmpl-{exchange.id}",
        "object": "chat.completion",
        "created": int(exchange.created_at.timestamp()),
        "model": _served(recalled),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": exchange.answer},
                "finish_reason": FINISH[exchange.finish_reason],
            }
        ],
        "usage": _usage(answered),
        "nightschool": _provenance(recalled) | ({"warning": answered.warning} if answered.warning else {}),
    }


def _server_sent(assistant: Assistant, recalled: Recalled, events: Iterator[Any], *, usage: bool) -> Generator[str]:
    head = {
        "id": f"chatcmpl-{recalled.exchange_id}",
        "object": "chat.completion.chunk",
        "created": int(assistant.clock().timestamp()),
        "model": _served(recalled),
    }

    def line(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        chunk = head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} | more
        return f"data: {json.dumps(chunk)}\n\n"

    yield line({"role": "assistant", "content": ""}, nightschool=_provenance(recalled))
    try:
        for event in events:
            if isinstance(event, Words):
                yield line({"content": event.text})
            elif isinstance(event, Answered):
                warning = {"warning": event.warning} if event.warning else {}
                yield line({}, FINISH[event.exchange.finish_reason], nightschool=_provenance(recalled) | warning)
                if usage:
                    yield f"data: {json.dumps(head | {'choices': [], 'usage': _usage(event)})}\n\n"
    except NightschoolError as error:
        yield f"data: {json.dumps({'error': {'message': str(error), 'type': type(error).__name__}})}\n\n"
    except Exception as error:
        # Out of memory, or what no one foresaw: a stream that merely ends would look like an answer.
        logging.getLogger(__name__).exception("an answer broke off")
        yield f"data: {json.dumps({'error': {'message': _told(error), 'type': 'ServerError'}})}\n\n"
    yield "data: [DONE]\n\n"


def _usage(answered: Answered) -> dict[str, int]:
    asked, said = answered.prompt_tokens, answered.answer_tokens
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _served(recalled: Recalled) -> str:
    return BASE if recalled.adapter == BASE else f"{SERVED}@{recalled.adapter}"


def _known_error(_request: Request, error: Exception) -> JSONResponse:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    return _error(status, str(error), type(error).__name__)


def _unforeseen(_request: Request, error: Exception) -> JSONResponse:
    # The traceback is in the server's log; who asked gets one line in the shape of all others.
    return _error(500, _told(error), "ServerError")


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _plain_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PlainHTTPException)  # noqa: S101 - what it is registered for
    return _error(error.status_code, str(error.detail), "HTTPException")


def _bad_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
    # Of the kinds that a content may have, what goes deepest is what the client meant.
    first: Any = max(error.errors(), key=lambda found: len(found["loc"]))
    if first["type"] == "json_invalid":
        return _error(400, f"the request is no JSON: {first['ctx']['error']}", "BadInput")
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    if first["type"] == "extra_forbidden":
        return _error(400, f"{where!r} is not supported", "BadInput")
    return _error(422, f"{where or 'the request'}: {first['msg']}", "BadInput")


def _error(status: int, message: str, kind: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": kind, "code": status}}, status)
