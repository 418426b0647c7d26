"""OpenAI's shape of a turn: chat, plain and streamed, and the versions as models.

What would change the answer and is not supported is refused by name; what says "as ever" is taken, for clients send it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from threading import Event
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from starlette.types import Receive, Scope, Send

from assistant import wire
from assistant.door import Me
from assistant.engine import Sampling
from assistant.live import live
from assistant.queueing import Turns, stopped_when_gone
from assistant.routes.errors import refusal, told
from assistant.turn import Answered, Ask, Assistant, Recalled, TurnEvent, Waiting, Words
from memory.accounts import Account
from memory.errors import BadInput, NightschoolError, NotFound
from memory.records import BASE, AdapterState, Message
from memory.scrubbing import scrub

SERVED = "nightschool"

LONGEST = 8192
"""Tokens of an answer that may be asked for."""

DIALOGUE_CHARS = 2_000_000
"""Of all messages together, far more than a model reads: what is beyond would be left out, and costs time before."""

BEGINS_WITHIN = 10.0
"""Seconds until a stream begins that has no word yet: proxies give up on who says nothing for a minute."""

STOPS = 16
"""Stop texts that may be given; OpenAI takes four, vLLM any number."""

AS_EVER: Mapping[str, tuple[Any, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "functions": (),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "moderation": (),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "presence_penalty": (0,),
    "prompt_cache_options": (),
    "prompt_cache_retention": (),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "tool_choice": ("none", "auto"),
    "tools": (),
    "top_logprobs": (0,),
    "verbosity": (),
    "web_search_options": (),
}
"""Fields of OpenAI's that are not supported → values that ask for nothing else than what is done. So does null."""

Name = Annotated[str, AfterValidator(lambda name: name.encode("utf-8", "replace").decode())]
"""What names something in the ledger. No name has half of a surrogate pair: the ledger could not even be asked."""

Stop = Annotated[str, StringConstraints(min_length=1, max_length=200)]


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


class StreamOptions(BaseModel):
    """How a stream ends. Obfuscation is for networks that others listen to, and changes no answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool = False
    include_obfuscation: bool = False


class ChatRequest(BaseModel):
    """`POST /v1/chat/completions`. `user`, `metadata` and the two keys are the caller's own labels."""

    model_config = ConfigDict(extra="forbid", strict=True)

    messages: list[ChatMessage] = Field(min_length=1)
    model: Name = SERVED
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=LONGEST)
    max_completion_tokens: int | None = Field(None, ge=1, le=LONGEST)
    stop: Stop | Annotated[list[Stop], Field(max_length=STOPS)] | None = None
    seed: int | None = Field(None, ge=0, lt=2**32)
    n: int | None = Field(1, ge=1, le=1)
    user: str | None = None
    metadata: dict[str, Any] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    memory: bool = True
    temporary: bool = False

    @model_validator(mode="before")
    @classmethod
    def _as_ever(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if not _asks_for_nothing(name, value)}

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


def _asks_for_nothing(name: str, value: Any) -> bool:
    if name not in AS_EVER:
        return False
    # True is 1 in Python, and no number in JSON.
    alike = [usual for usual in AS_EVER[name] if isinstance(usual, bool) == isinstance(value, bool)]
    return value is None or value in alike


def routes(assistant: Assistant) -> APIRouter:
    """The routes over `assistant`."""
    router = APIRouter()
    turns = Turns(most=assistant.settings.chats_max, meter=assistant.meter)

    @router.post("/v1/chat/completions", response_model=None)
    async def chat(request: ChatRequest, who: Me, http: Request) -> Response | dict[str, Any]:
        now = live(assistant)
        ask = _ask(now, request, who)
        async with stopped_when_gone(http, ask.stop):
            events = turns.begin(now, ask)
            try:
                first = await anext(events)
            except NotFound:
                # The version: it is all that a request over HTTP names.
                return _no_such_model(request.model)
            assert isinstance(first, Recalled)  # noqa: S101 - the contract of `turn`
            if request.stream:
                events = await _begun(events)
                usage = request.stream_options is not None and request.stream_options.include_usage
                return ServerSent(_server_sent(assistant, first, events, usage=usage), ask.stop)
            return await _completion(first, events)

    @router.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": _models(assistant)}

    @router.get("/v1/models/{name}", response_model=None)
    def model(name: str) -> Response | dict[str, Any]:
        found = next((one for one in _models(assistant) if one["id"] == name), None)
        return found or _no_such_model(name)

    return router


def _models(assistant: Assistant) -> list[dict[str, Any]]:
    """What can be asked for by name: whatever serves, the base, and every version that passed its exam."""
    usable = [a for a in assistant.ledger.adapters() if a.state is not AdapterState.REJECTED]
    made = {SERVED: 0, BASE: 0} | {f"{SERVED}@{a.version}": int(a.created_at.timestamp()) for a in usable}
    settings, context = live(assistant).settings, assistant.engine.capabilities.context
    # What is taken, and not what the model could: clients cut their prompts by it.
    taken = settings.prompt_tokens + settings.answer_tokens
    most = min(taken, context or taken)
    about = {"owned_by": SERVED, "max_model_len": most}
    return [{"id": name, "object": "model", "created": at, **about} for name, at in made.items()]


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
    chars = sum(len(message["content"]) for message in messages)
    if chars > DIALOGUE_CHARS:
        raise BadInput(f"the dialogue has {chars:,} characters, the most is {DIALOGUE_CHARS:,}: leave out older turns")
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
            stop=request.stops,
        ),
    )


def _no_such_model(name: str) -> Response:
    told = (
        f"there is no model {name[:80]!r}: name {SERVED!r} (the version that serves), '{SERVED}@vN' or 'vN' (that one),"
        f" or {BASE!r} (none); GET /v1/models lists them"
    )
    return refusal(404, told, "model_not_found", param="model")


def _provenance(recalled: Recalled) -> dict[str, Any]:
    return {
        "exchange_id": recalled.exchange_id,
        "adapter": recalled.adapter,
        "adapter_sha256": recalled.adapter_sha256,
        "recollections": [wire.recollection(r) for r in recalled.recollections],
        **({"left_out": recalled.left_out} if recalled.left_out else {}),
    }


FINISH = {"stop": "stop", "length": "length", "stopped": "stop", "content_filter": "content_filter"}
"""Our finish reason → OpenAI's."""


async def _completion(recalled: Recalled, events: AsyncIterator[TurnEvent]) -> dict[str, Any]:
    """The whole answer: the text that is streamed, with its outer space, which the ledger does not keep."""
    told = [event async for event in events]
    said = "".join(event.text for event in told if isinstance(event, Words))
    (answered,) = (event for event in told if isinstance(event, Answered))
    if answered.broke:
        # It is kept; but a program must not take half an answer for a whole one.
        raise answered.broke
    exchange = answered.exchange
    return {
        "id": f"chatcmpl-{exchange.id}",
        "object": "chat.completion",
        "created": int(exchange.created_at.timestamp()),
        "model": _served(recalled),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": said},
                "finish_reason": FINISH[exchange.finish_reason],
            }
        ],
        "usage": _usage(answered),
        "nightschool": _provenance(recalled) | ({"warning": answered.warning} if answered.warning else {}),
    }


async def _begun(events: AsyncIterator[TurnEvent]) -> AsyncIterator[TurnEvent]:
    """The same events, once the first is there, or after `BEGINS_WITHIN`: what fails before has a status of its own, as
    in an answer that is not streamed. Raises: what it fails with.
    """
    first = asyncio.ensure_future(anext(events))
    if (await asyncio.wait({first}, timeout=BEGINS_WITHIN))[0]:
        first.result()

    async def all_of_them() -> AsyncIterator[TurnEvent]:
        yield await first
        async for event in events:
            yield event

    return all_of_them()


async def _server_sent(
    assistant: Assistant, recalled: Recalled, events: AsyncIterator[Any], *, usage: bool
) -> AsyncIterator[str]:
    head = {
        "id": f"chatcmpl-{recalled.exchange_id}",
        "object": "chat.completion.chunk",
        "created": int(assistant.clock().timestamp()),
        "model": _served(recalled),
    }
    no_usage = {"usage": None} if usage else {}

    def line(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        return _event(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} | no_usage | more)

    yield line({"role": "assistant", "content": ""}, nightschool=_provenance(recalled))
    try:
        async for event in events:
            if isinstance(event, Waiting):
                # A comment, which clients of server-sent events pass over.
                yield f": {event.before} before this one\n\n"
            elif isinstance(event, Words):
                yield line({"content": event.text})
            elif isinstance(event, Answered) and event.broke:
                yield _event(told(event.broke)[1])
            elif isinstance(event, Answered):
                warning = {"warning": event.warning} if event.warning else {}
                yield line({}, FINISH[event.exchange.finish_reason], nightschool=_provenance(recalled) | warning)
                if usage:
                    yield _event(head | {"choices": [], "usage": _usage(event)})
    except NightschoolError as error:
        yield _event(told(error)[1])
    except Exception as error:
        # Out of memory, or what no one foresaw: a stream that merely ends would look like an answer.
        logging.getLogger(__name__).exception("an answer broke off")
        yield _event(told(error)[1])
    yield "data: [DONE]\n\n"


def _event(content: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"


def _usage(answered: Answered) -> dict[str, int]:
    asked, said = answered.prompt_tokens, answered.answer_tokens
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _served(recalled: Recalled) -> str:
    return BASE if recalled.adapter == BASE else f"{SERVED}@{recalled.adapter}"
