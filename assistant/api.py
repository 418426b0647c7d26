"""The HTTP side of a turn: OpenAI's chat shape, ratings, lessons, nights, recall. Any client can rate what it was told.

It knows no SQL and no model: each route is a few lines over `turn`, `feedback` and the ledger.
"""

from __future__ import annotations

import itertools
import json
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from threading import Event
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as PlainHTTPException
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from assistant import door, exports, feedback, metrics, wire
from assistant.accounts import Accounts, allowed
from assistant.door import Door, SameOrigin, me, refusal
from assistant.engine import Sampling
from assistant.live import live
from assistant.nights import request_night
from assistant.queueing import Turns, stopped_when_gone
from assistant.turn import Answered, Ask, Assistant, Recalled, Words, clean, scrub
from memory.accounts import Account, Role
from memory.errors import (
    AlreadyRunning,
    BadInput,
    Busy,
    ModelUnavailable,
    NightschoolError,
    NotAllowed,
    NotFound,
    NotRemembered,
)
from memory.records import BASE, AdapterState, LessonState, Message

STATUS: dict[type[NightschoolError], int] = {
    NotFound: 404,
    BadInput: 400,
    AlreadyRunning: 409,
    Busy: 429,
    ModelUnavailable: 503,
    NotRemembered: 507,
}
Me = Annotated[Account, Depends(me)]
"""Who asks; the door has found out."""

SERVED = "nightschool"

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


Name = Annotated[str, AfterValidator(lambda name: name.encode("utf-8", "replace").decode())]
"""What names something in the ledger. No name has half of a surrogate pair: the ledger could not even be asked."""


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
    model: Name = SERVED
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

    exchange_id: Name
    value: Literal[1, -1, 0]
    reasons: list[str] = []
    comment: str = ""
    correction: str | None = None


def create(  # noqa: C901 - one small route after another
    assistant: Assistant,
    *,
    ready: Callable[[], str | None],
    accounts: Accounts | None = None,
    registry: CollectorRegistry | None = None,
) -> FastAPI:
    """The HTTP application: for requests from this machine alone as long as there is no account.

    Args:
        ready: why the assistant can't answer yet, or None.
        accounts: who may come in; by default those of the ledger, or everybody on this machine.
        registry: what `/metrics` tells; None: what the ledger does, see `assistant.metrics`.
    """
    accounts = accounts or Accounts(assistant.ledger, assistant.clock, assistant.new_id)
    api = FastAPI(title="Nightschool", docs_url=None, redoc_url=None)
    api.add_middleware(Door, accounts=accounts)
    api.add_middleware(SameOrigin)
    api.include_router(door.routes(accounts, start=uuid.uuid4().hex))
    api.include_router(exports.routes(assistant))
    api.add_exception_handler(NightschoolError, _known_error)
    api.add_exception_handler(RequestValidationError, _bad_request)
    api.add_exception_handler(PlainHTTPException, _plain_error)
    api.add_exception_handler(Exception, _unforeseen)

    turns = Turns(most=assistant.settings.chats_max)

    @api.post("/v1/chat/completions", response_model=None)
    async def chat(request: ChatRequest, who: Me, http: Request) -> Response | dict[str, Any]:
        now = live(assistant)
        ask = _ask(now, request, who)
        async with stopped_when_gone(http, ask.stop):
            events = turns.begin(now, ask)
            try:
                first = await anext(events)
            except NotFound as error:
                # The version: it is all that a request over HTTP names.
                return _error(404, _no_such_model(request.model), type(error).__name__)
            assert isinstance(first, Recalled)  # noqa: S101 - the contract of `turn`
            if request.stream:
                usage = bool((request.stream_options or {}).get("include_usage"))
                return ServerSent(_server_sent(assistant, first, events, usage=usage), ask.stop)
            (answered,) = [event async for event in events if isinstance(event, Answered)]
            return _completion(first, answered)

    @api.get("/v1/models")
    def models() -> dict[str, Any]:
        usable = [a for a in assistant.ledger.adapters() if a.state is not AdapterState.REJECTED]
        names = [SERVED, BASE, *(f"{SERVED}@{a.version}" for a in usable)]
        return {"object": "list", "data": [{"id": n, "object": "model", "owned_by": SERVED} for n in names]}

    @api.post("/v1/feedback")
    def rate(request: FeedbackRequest, who: Me) -> dict[str, Any]:
        rating = feedback.rate(
            live(assistant),
            request.exchange_id,
            request.value,
            reasons=request.reasons,
            comment=request.comment,
            correction=request.correction,
            user=who.id,
            trusted=who.role.may(Role.TEACHER),
        )
        lessons = [x for x in assistant.ledger.lessons() if rating and x.rating_id == rating.id]
        return {
            "rating_id": rating.id if rating else None,
            "exchange_id": request.exchange_id,
            "value": request.value,
            "lesson": wire.lesson(lessons[0]) if lessons else None,
        }

    @api.get("/v1/lessons")
    def lessons(who: Me, state: LessonState | None = None) -> dict[str, Any]:
        found = assistant.ledger.lessons(states=[state] if state else None, newest_first=True)
        seen = [lesson for lesson in found if lesson.user == who.id or who.role.may(Role.TEACHER)]
        return {"lessons": [wire.lesson(lesson) for lesson in seen]}

    @api.get("/v1/adapters")
    def adapters() -> dict[str, Any]:
        active = assistant.ledger.active_adapter()
        return {
            "active": active.version if active else BASE,
            "adapters": [wire.adapter(adapter) for adapter in assistant.ledger.adapters()],
        }

    @api.post("/v1/nights", status_code=202)
    def start_night(who: Me) -> dict[str, Any]:
        allowed(who, Role.TEACHER)
        return wire.night(request_night(assistant))

    @api.get("/v1/nights")
    def nights() -> dict[str, Any]:
        assistant.ledger.reap_nights(at=assistant.clock())
        return {"nights": [wire.night(night, report=False) for night in assistant.ledger.nights()]}

    @api.get("/v1/nights/{night_id}")
    def night(night_id: str, who: Me) -> dict[str, Any]:
        assistant.ledger.reap_nights(at=assistant.clock())
        # A report has everybody's questions in it.
        return wire.night(assistant.ledger.night(night_id), report=who.role.may(Role.TEACHER))

    @api.get("/v1/memory/search")
    def search(q: str, who: Me, k: Annotated[int, Query(ge=1, le=100)] = 5) -> dict[str, Any]:
        query = clean(q, limit=assistant.settings.message_chars, what="query")
        return {"results": [wire.found(r) for r in assistant.memory.search(query, k=k, user=who.id)]}

    @api.get("/v1/memory/export", response_model=None)
    def export(who: Me) -> Response:
        return Response(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _remembered(assistant, who.id)),
            media_type="application/x-ndjson",
            headers={"Content-Disposition": 'attachment; filename="nightschool-memory.jsonl"'},
        )

    told = registry or metrics.registry(assistant.ledger)

    @api.get("/metrics")
    def scrape(who: Me) -> Response:
        allowed(who, Role.ADMIN)
        return Response(generate_latest(told), media_type=CONTENT_TYPE_LATEST)

    # These two need no thread: they answer, whatever the others wait for.
    @api.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/ready")
    async def is_ready() -> dict[str, str]:
        why_not = ready()
        if why_not:
            raise HTTPException(503, why_not)
        return {"status": "ready"}

    return api


def close_off(api: FastAPI) -> None:
    """What no route takes is refused in the shape of all errors, rather than by the page that is mounted under them.

    To be called when all routes are there, and before the page is.
    """
    known = list(api.routes)

    async def refused(request: Request) -> Response:
        path, methods = request.url.path[:80], set[str]()
        for route in known:
            if route.matches(request.scope)[0] is Match.PARTIAL:
                methods |= getattr(route, "methods", None) or set()
        if not methods:
            return _error(404, f"there is no {path!r}", "HTTPException")
        allowed = ", ".join(sorted(methods))
        return _error(405, f"{path!r} takes {allowed}, not {request.method}", "HTTPException", {"Allow": allowed})

    for path in ("/v1", "/v1/{rest:path}", "/health", "/ready"):
        api.add_route(path, refused, methods=METHODS, include_in_schema=False)


class ServerSent(StreamingResponse):
    """Server-sent events of a turn, which is stopped as soon as the client hangs up, and stores what was said."""

    def __init__(self, lines: AsyncIterator[str], stop: Event) -> None:
        super().__init__(lines, media_type="text/event-stream")
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stop.set()


def _ask(assistant: Assistant, request: ChatRequest, who: Account) -> Ask:
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
        user=who.id,
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


def _remembered(assistant: Assistant, user: str) -> Iterator[dict[str, Any]]:
    """Everything of `user` that is remembered, the oldest first, with the answers that hold now; then the documents."""
    ledger = assistant.ledger
    for first in range(1, ledger.last_seq() + 1, 500):
        for _, (exchange, rating) in sorted(ledger.rated_exchanges(range(first, first + 500), user=user).items()):
            yield {
                "exchange_id": exchange.id,
                "conversation_id": exchange.conversation_id,
                "created_at": exchange.created_at.isoformat(),
                "question": exchange.question,
                "answer": exchange.answer,
                "rating": rating.value if rating else None,
                "correction": rating.correction if rating else None,
            }
    for skip in itertools.count(step=500):
        pieces = ledger.newest_passages(user=user, limit=500, skip=skip)
        for document, passage in pieces:
            yield {
                "document_id": document.id,
                "document": document.name,
                "created_at": document.created_at.isoformat(),
                "page": passage.page,
                "question": passage.question or None,
                "text": passage.text,
            }
        if len(pieces) < 500:
            return


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


async def _server_sent(
    assistant: Assistant, recalled: Recalled, events: AsyncIterator[Any], *, usage: bool
) -> AsyncIterator[str]:
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
        async for event in events:
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
    if isinstance(error, NotAllowed):
        status = error.status
    headers = {"Retry-After": str(error.seconds)} if isinstance(error, Busy) else None
    return _error(status, str(error), type(error).__name__, headers)


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


_error = refusal
