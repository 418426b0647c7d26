"""The HTTP side, as a program sees it: OpenAI's shape with provenance beside it, one clear line for what is refused.

The last tests go over a real socket, once with OpenAI's own client.
"""

from __future__ import annotations

import inspect
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event, Semaphore
from typing import Any

import httpx
import pytest
import uvicorn
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient

from assistant import api, testing
from assistant.accounts import Accounts
from assistant.engine import AdapterFiles, Piece, Sampling
from assistant.turn import Assistant
from memory import testing as nouns
from memory.accounts import Role
from memory.errors import ModelUnavailable
from memory.ledger import Ledger
from memory.records import AdapterState, Message, NightStatus

HOST = "http://127.0.0.1"
CHAT = "/v1/chat/completions"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def engine() -> testing.ScriptedEngine:
    """It repeats the question."""
    return testing.ScriptedEngine()


@pytest.fixture
def assistant(tmp_path: Path, engine: testing.ScriptedEngine) -> Assistant:
    """The assistant behind the routes."""
    return testing.assistant(tmp_path, engine=engine, ledger=Ledger.in_memory())


@pytest.fixture
def client(assistant: Assistant) -> TestClient:
    """A program on this machine. A bug in a route is raised here, not answered with 500."""
    return TestClient(api.create(assistant, ready=lambda: None), base_url=HOST)


def hello(text: str = "hello there", **fields: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": "nightschool", "messages": [{"role": "user", "content": text}]} | fields


def chunks(body: str) -> list[dict[str, Any]]:
    """The objects of a stream of server-sent events, which must end as OpenAI's does."""
    lines = [line.removeprefix("data: ") for line in body.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def refusal(response: httpx.Response) -> str:
    """The one line of a refused request."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    status = response.status_code
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    assert error["type"] == kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    assert "\n" not in error["message"]
    return str(error["message"])


def publish(assistant: Assistant, state: AdapterState = AdapterState.ACTIVE) -> None:
    """A night that ends with the next version."""
    ledger, at = assistant.ledger, nouns.NOON
    night = ledger.request_night(nouns.night(f"n{len(ledger.nights()) + 1}"))
    ledger.begin_night(night.id, holder="test", at=at, ttl=timedelta(minutes=1))
    made = nouns.adapter(ledger.name_adapter(night.id), night_id=night.id, state=state)
    ledger.end_night(night.id, holder="test", status=NightStatus.PROMOTED, reasons=["so"], at=at, adapter=made)


# ---------------------------------------------------------------------- chat


def test_an_answer_has_the_shape_of_openai(client: TestClient, assistant: Assistant) -> None:
    """With where it came from beside it, and stored under the id that it gives."""
    reply = client.post(CHAT, json=hello()).json()
    exchange_id = reply["nightschool"]["exchange_id"]
    created = reply.pop("created")
    assert reply == {
        "id": f"chatcmpl-{exchange_id}",
        "object": "chat.completion",
        "model": "base",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "You asked: hello there"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 6, "completion_tokens": 4, "total_tokens": 10},
        "nightschool": {"exchange_id": exchange_id, "adapter": "base", "adapter_sha256": None, "recollections": []},
    }
    assert created == int(nouns.NOON.timestamp())
    assert assistant.ledger.exchange(exchange_id).question == "hello there"


def test_a_streamed_answer_has_the_shape_of_openai(client: TestClient, assistant: Assistant) -> None:
    """Role first, then words, then why it ended, then the usage that was asked for; provenance first and last."""
    response = client.post(CHAT, json=hello(stream=True, stream_options={"include_usage": True}))
    assert response.headers["content-type"].startswith("text/event-stream")
    first, *words, last, usage = chunks(response.text)
    assert first["choices"][0] == {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    assert "".join(w["choices"][0]["delta"]["content"] for w in words) == "You asked: hello there"
    assert last["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 10)
    assert {c["object"] for c in (first, *words, last, usage)} == {"chat.completion.chunk"}
    assert len({c["id"] for c in (first, *words, last, usage)}) == 1
    assert first["nightschool"] == last["nightschool"]
    assert assistant.ledger.exchange(first["nightschool"]["exchange_id"]).answer == "You asked: hello there"


def test_usage_is_streamed_only_when_asked_for(client: TestClient) -> None:
    """As OpenAI does it."""
    assert not any("usage" in chunk for chunk in chunks(client.post(CHAT, json=hello(stream=True)).text))


def test_what_was_recalled_is_told(client: TestClient) -> None:
    """With scores and reasons; `memory: false` answers without."""
    first = client.post(CHAT, json=hello("Who wrote Emma?")).json()["nightschool"]
    (found,) = client.post(CHAT, json=hello("Who wrote Emma?")).json()["nightschool"]["recollections"]
    assert (found["exchange_id"], found["kind"], found["score"]) == (first["exchange_id"], "exchange", 1.0)
    assert found["reason"] == "asked on 2026-11-23"
    assert client.post(CHAT, json=hello("Who wrote Emma?", memory=False)).json()["nightschool"]["recollections"] == []


def test_sampling_is_handed_on(client: TestClient, engine: testing.ScriptedEngine, assistant: Assistant) -> None:
    """What is not given is what the settings say."""
    settings = assistant.settings
    client.post(CHAT, json=hello(temperature=0.5, top_p=0.8, max_tokens=7, seed=3))
    client.post(CHAT, json=hello(max_completion_tokens=8, max_tokens=9, temperature=0))
    client.post(CHAT, json=hello())
    assert [call[1] for call in engine.calls] == [
        Sampling(7, 0.5, 0.8, 3),
        Sampling(8, 0, settings.top_p, None),
        Sampling(settings.answer_tokens, settings.temperature, settings.top_p, None),
    ]


def test_an_answer_ends_at_a_stop_text(client: TestClient, engine: testing.ScriptedEngine) -> None:
    """Which is not in it, also where it comes in pieces; the finish reason is `stop`, plain and streamed."""
    engine.script = lambda prompt: "one two three four five"
    for stop, said in [("three", "one two "), (["wo th", "five"], "one t"), ("six", "one two three four five")]:
        reply = client.post(CHAT, json=hello(stop=stop, memory=False)).json()
        assert reply["choices"][0]["message"]["content"] == said
        assert reply["choices"][0]["finish_reason"] == "stop"
        streamed = chunks(client.post(CHAT, json=hello(stop=stop, memory=False, stream=True)).text)
        assert "".join(c["choices"][0]["delta"].get("content", "") for c in streamed) == said
    assert engine.calls[0][1].stop == ("three",)


def test_turns_that_find_no_room_are_told(assistant: Assistant) -> None:
    """The oldest go; the reply says how many, plain and streamed."""
    small = replace(assistant, settings=assistant.settings.model_copy(update={"prompt_tokens": 64}))
    client = TestClient(api.create(small, ready=lambda: None), base_url=HOST)
    said: list[dict[str, str]] = []
    for i in range(6):
        said += [{"role": "user", "content": f"question {i} " + "x " * 8}, {"role": "assistant", "content": "yes " * 8}]
    body = {"messages": [*said, {"role": "user", "content": "and now?"}], "memory": False}
    told = client.post(CHAT, json=body).json()["nightschool"]
    assert told["left_out"] == 5
    line = "its first 5 messages and their answers were left out"
    assert told["warning"] == f"the conversation is longer than the model reads at once: {line}"
    streamed = chunks(client.post(CHAT, json=body | {"stream": True}).text)[-1]["nightschool"]
    assert (streamed["left_out"], streamed["warning"]) == (told["left_out"], told["warning"])


def test_one_message_that_is_too_long_is_refused(assistant: Assistant) -> None:
    """With OpenAI's code for it, by which clients know."""
    small = replace(assistant, settings=assistant.settings.model_copy(update={"prompt_tokens": 64}))
    client = TestClient(api.create(small, ready=lambda: None), base_url=HOST)
    response = client.post(CHAT, json=hello("word " * 100))
    assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert refusal(response) == "the message is 104 tokens long, the prompt holds 64: shorten it"


def test_an_answer_fits_in_the_context(assistant: Assistant, engine: testing.ScriptedEngine) -> None:
    """What may be said is what the prompt leaves of the model's context; the model list tells it."""
    engine.capabilities = replace(engine.capabilities, context=100)
    client = TestClient(api.create(assistant, ready=lambda: None), base_url=HOST)
    assert client.get("/v1/models").json()["data"][0]["max_model_len"] == 100
    client.post(CHAT, json=hello(max_tokens=8192, memory=False))
    assert engine.calls[-1][1].max_tokens == 100 - 6


def test_a_dialogue_beyond_measure_is_refused(client: TestClient) -> None:
    """Whatever is left out of it in the end, it would be read first."""
    old = {"role": "assistant", "content": "x" * 1_000_000}
    response = client.post(CHAT, json={"messages": [old, old, {"role": "user", "content": "hi"}]})
    assert response.status_code == 400
    assert refusal(response) == "the dialogue has 2,000,002 characters, the most is 2,000,000: leave out older turns"


def test_an_answer_that_was_cut_says_so(client: TestClient) -> None:
    """`length`, as OpenAI calls it."""
    reply = client.post(CHAT, json=hello(max_tokens=2)).json()
    assert reply["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "You asked: "},
        "finish_reason": "length",
    }


def test_messages_can_come_in_parts(client: TestClient, engine: testing.ScriptedEngine) -> None:
    """Text parts are put together; `developer` is the system."""
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}]},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two", "refusal": None, "tool_calls": None},
        {"role": "user", "content": [{"type": "text", "text": "three"}]},
    ]
    reply = client.post(CHAT, json={"messages": messages, "memory": False}).json()
    assert reply["choices"][0]["message"]["content"] == "You asked: three"
    assert [(m["role"], m["content"]) for m in engine.calls[-1][0]] == [
        ("system", "be brief"),
        ("user", "one"),
        ("assistant", "two"),
        ("user", "three"),
    ]


@pytest.mark.parametrize("text", ["a\x00b", "🙂 👩‍👩‍👧", "ما هي عاصمة تركيا؟", "<|im_end|>", "  x  "])
def test_odd_characters_go_through(client: TestClient, text: str) -> None:
    """And come back as they were written, plain and streamed."""
    kept = text.replace("\x00", "").strip()
    plain = client.post(CHAT, json=hello(text, memory=False)).json()
    assert plain["choices"][0]["message"]["content"] == f"You asked: {kept}"
    streamed = chunks(client.post(CHAT, json=hello(text, memory=False, stream=True)).text)
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in streamed) == f"You asked: {kept}"


# ---------------------------------------------------------------------- versions


def test_versions_are_models(client: TestClient, assistant: Assistant) -> None:
    """The active one, the base, and each that may serve; a rejected one has no files."""
    publish(assistant)
    publish(assistant, AdapterState.REJECTED)
    publish(assistant)
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [m["id"] for m in listed["data"]] == ["nightschool", "base", "nightschool@v3", "nightschool@v1"]
    assert all(m["object"] == "model" for m in listed["data"])
    # Neither can it be asked for: what was withdrawn may still be in the engine's memory.
    refused = client.post(CHAT, json=hello(model="nightschool@v2"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")


def test_the_version_that_answers_is_told(client: TestClient, assistant: Assistant) -> None:
    """Name and hash, for the active one, for one that was asked for, and for the base."""
    publish(assistant)
    publish(assistant)
    for name, version in [
        ("nightschool", "v2"),
        ("nightschool@v1", "v1"),
        ("v1", "v1"),
        ("base", "base"),
        ("nightschool@base", "base"),
    ]:
        reply = client.post(CHAT, json=hello(model=name)).json()
        sha256 = None if version == "base" else assistant.ledger.adapter(version).sha256
        assert (reply["nightschool"]["adapter"], reply["nightschool"]["adapter_sha256"]) == (version, sha256)
        assert reply["model"] == ("base" if version == "base" else f"nightschool@{version}")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["gpt-9", "nightschool@v9", "v9", "", "nightschool@"])
def test_an_unknown_model_is_refused(client: TestClient, model: str, stream: bool) -> None:
    """With a status, in a stream too: nothing has been sent yet. The line says which names there are."""
    response = client.post(CHAT, json=hello(model=model, stream=stream))
    assert response.status_code == 404
    assert (response.json()["error"]["code"], response.json()["error"]["param"]) == ("model_not_found", "model")
    assert refusal(response) == (
        f"there is no model {model!r}: name 'nightschool' (the version that serves), 'nightschool@vN' or 'vN'"
        " (that one), or 'base' (none); GET /v1/models lists them"
    )


def test_adapters_are_listed(client: TestClient, assistant: Assistant) -> None:
    """The newest first, each with its exam, and which one is active."""
    assert client.get("/v1/adapters").json() == {"active": "base", "adapters": []}
    publish(assistant)
    publish(assistant)
    listed = client.get("/v1/adapters").json()
    assert listed["active"] == "v2"
    assert [(a["version"], a["state"]) for a in listed["adapters"]] == [("v2", "active"), ("v1", "retired")]
    assert len(listed["adapters"][0]["sha256"]) == 64


# ---------------------------------------------------------------------- refused


@pytest.mark.parametrize("field", ["tools", "logprobs", "functions", "response_format", "nonsense"])
def test_what_is_not_supported_is_refused_by_name(client: TestClient, field: str) -> None:
    """Never ignored: the client would believe that it was heeded."""
    response = client.post(CHAT, json=hello(**{field: []}))
    assert response.status_code == 400
    assert refusal(response) == f"'{field}' is not supported"
    error = response.json()["error"]
    assert (error["param"], error["code"]) == (field, "unsupported_parameter")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("logprobs", True),
        ("top_logprobs", 3),
        ("frequency_penalty", 0.5),
        ("presence_penalty", True),
        ("logit_bias", {"50256": -100}),
        ("response_format", {"type": "json_object"}),
        ("tool_choice", "required"),
        ("store", True),
    ],
)
def test_what_would_change_the_answer_is_refused(client: TestClient, field: str, value: Any) -> None:
    """Fields of OpenAI's that nothing here heeds."""
    response = client.post(CHAT, json=hello(**{field: value}))
    assert (response.status_code, refusal(response)) == (400, f"'{field}' is not supported")


def test_what_asks_for_nothing_is_taken(client: TestClient) -> None:
    """Clients send every field they know, at what it is without it, and labels of their own."""
    as_ever = {
        "logprobs": False,
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "logit_bias": {},
        "n": 1,
        "response_format": {"type": "text"},
        "store": False,
        "tools": None,
        "tool_choice": "auto",
        "stop": None,
        "seed": None,
        "max_tokens": None,
        "stream": None,
        "user": "somebody",
        "metadata": {"of": "mine"},
    }
    assert client.post(CHAT, json=hello(**as_ever)).status_code == 200


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"messages": []}, "messages: "),
        ({"messages": "hello"}, "messages: "),
        ({"messages": [{"role": "user"}]}, "messages.0.content: "),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role: "),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content: Input should be a valid string"),
        ({"messages": [{"role": "user", "content": ["hi"]}]}, "messages.0.content.0: "),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": None}]}]}, "messages.0.content.0.text: "),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0.type: "),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text: Field required"),
        ({"messages": [{"content": "hi"}]}, "messages.0.role: Field required"),
        ({"temperature": 3}, "temperature: "),
        ({"temperature": "0.5"}, "temperature: "),
        ({"temperature": float("1e999")}, "temperature: "),
        ({"n": 2}, "n: Input should be less than or equal to 1"),
        ({"n": 0}, "n: Input should be greater than or equal to 1"),
        ({"n": True}, "n: Input should be a valid integer"),
        ({"temperature": -1}, "temperature: "),
        ({"temperature": float("nan")}, "temperature: "),
        ({"top_p": 0}, "top_p: Input should be greater than 0"),
        ({"top_p": float("nan")}, "top_p: "),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": 10**9}, "max_tokens: Input should be less than or equal to 8192"),
        ({"max_completion_tokens": 0}, "max_completion_tokens: "),
        ({"max_tokens": 1.5}, "max_tokens: "),
        ({"max_tokens": True}, "max_tokens: "),
        ({"seed": -1}, "seed: "),
        ({"seed": 2**70}, "seed: Input should be less than 4294967296"),
        ({"stop": ""}, "stop: String should have at least 1 character"),
        ({"stop": 7}, "stop: "),
        ({"stop": ["x"] * 17}, "stop: List should have at most 16 items"),
        ({"stop": ["x", 7]}, "stop.1: Input should be a valid string"),
        ({"stream": "yes"}, "stream: "),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage: "),
        ({"model": 7}, "model: "),
        ({"messages": [None]}, "messages.0: "),
    ],
)
def test_what_is_ill_typed_is_refused_by_name(client: TestClient, fields: dict[str, Any], named: str) -> None:
    """The line says which field, and what it should be."""
    response = client.post(CHAT, content=json.dumps(hello() | fields), headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert refusal(response).startswith(named)
    error = response.json()["error"]
    assert (error["param"], error["code"]) == (refusal(response).partition(": ")[0], "invalid_value")


def test_another_kind_of_part_is_named(client: TestClient) -> None:
    """A picture is refused for being none of text, not for being no string."""
    parts = [{"type": "image_url", "image_url": {"url": "data:"}}]
    response = client.post(CHAT, json={"messages": [{"role": "user", "content": parts}]})
    assert refusal(response) == "messages.0.content.0.type: Input should be 'text'"


@pytest.mark.parametrize("role", ["assistant", "system"])
def test_the_last_message_must_be_the_users(client: TestClient, role: str) -> None:
    """There is nothing to answer."""
    response = client.post(CHAT, json={"messages": [{"role": role, "content": "hi"}]})
    assert (response.status_code, refusal(response)) == (400, "the last message must be the user's")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "the request is no JSON: Expecting property name enclosed in double quotes"),
        (b"hello", "the request is no JSON: Expecting value"),
        (b"\xff", "the request is no JSON: UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0"),
        (b'{"messages": ' + b"[" * 100_000, "the request is no JSON: RecursionError: maximum recursion depth exceeded"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "the request is no JSON: ValueError: Exceeds the limit (4300 digits)"),
        (b"", "the request must be a JSON object, sent as application/json"),
        (b"[1]", "the request must be a JSON object, sent as application/json"),
        (b'"x"', "the request must be a JSON object, sent as application/json"),
        (b'{"messages": "\\ud800"}', "messages: Input should be a valid list"),
        (b'{"messages": [], "\\ud800": 1}', "the name of a field has half of a surrogate pair"),
    ],
)
def test_a_body_that_is_no_request_is_refused(client: TestClient, body: bytes, told: str) -> None:
    """Whatever the bytes are, with what is amiss."""
    response = client.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert refusal(response).startswith(told)
    assert response.json()["error"]["code"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "the message is empty"),
        (" \n ", "the message is empty"),
        ("x" * 200_000, "the message has 200,000 characters, the most is 20,000: shorten it"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_messages_are_refused(
    client: TestClient, assistant: Assistant, text: str, line: str, *, stream: bool
) -> None:
    """With 400 and one line, plain or streamed; nothing is stored."""
    response = client.post(CHAT, json=hello(text, stream=stream))
    assert (response.status_code, refusal(response)) == (400, line)
    assert assistant.ledger.count_exchanges() == 0


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.0.1:7860", ""])
def test_another_hosts_name_is_refused(client: TestClient, host: str) -> None:
    """A name of somebody else's that resolves to this machine must not reach it."""
    assert client.get("/v1/lessons", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST", "[::1]:7860"])
def test_the_names_of_this_machine_are_taken(client: TestClient, host: str) -> None:
    """With any port, and its pages' requests too."""
    headers = {"host": host, "origin": f"http://{host}"}
    assert client.get("/health", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1.evil.example", "http://[", "x"]
)
def test_pages_of_other_sites_are_refused(client: TestClient, assistant: Assistant, origin: str) -> None:
    """A page in the same browser can't make it ask, rate or learn."""
    for path, body in ((CHAT, hello()), ("/v1/nights", {})):
        response = client.post(path, json=body, headers={"origin": origin})
        assert response.status_code == 403
        assert refusal(response) == "requests from pages of another origin are refused"
    assert assistant.ledger.count_exchanges() == 0
    assert assistant.ledger.nights() == []


# ---------------------------------------------------------------------- feedback and lessons


def test_an_answer_is_rated_and_its_lesson_followed(client: TestClient) -> None:
    """The reply carries the lesson that the rating became; the list has it with its life so far."""
    exchange_id = client.post(CHAT, json=hello("Who wrote Emma?")).json()["nightschool"]["exchange_id"]
    body = {"exchange_id": exchange_id, "value": -1, "reasons": ["inaccurate"], "correction": "Jane Austen."}
    rated = client.post("/v1/feedback", json=body).json()
    assert (rated["exchange_id"], rated["value"]) == (exchange_id, -1)
    assert (rated["lesson"]["state"], rated["lesson"]["wanted"]) == ("queued", "Jane Austen.")
    (lesson,) = client.get("/v1/lessons").json()["lessons"]
    assert lesson == rated["lesson"]
    assert [event["state"] for event in lesson["events"]] == ["queued"]
    found = client.get("/v1/memory/search", params={"q": "Who wrote Emma?"}).json()["results"]
    assert [(r["text"], r["kind"]) for r in found] == [("Who wrote Emma?\nJane Austen.", "correction")]


def test_a_rating_is_taken_back(client: TestClient) -> None:
    """Its lesson is undone; lessons can be listed by state."""
    exchange_id = client.post(CHAT, json=hello()).json()["nightschool"]["exchange_id"]
    client.post("/v1/feedback", json={"exchange_id": exchange_id, "value": 1})
    assert client.post("/v1/feedback", json={"exchange_id": exchange_id, "value": 0}).json()["lesson"] is None
    assert [x["state"] for x in client.get("/v1/lessons").json()["lessons"]] == ["undone"]
    assert client.get("/v1/lessons", params={"state": "queued"}).json() == {"lessons": []}
    assert client.get("/v1/lessons", params={"state": "nonsense"}).status_code == 400


def test_taking_back_what_was_never_given_names_no_rating(client: TestClient) -> None:
    """An id that is stored nowhere would lead nowhere."""
    exchange_id = client.post(CHAT, json=hello()).json()["nightschool"]["exchange_id"]
    taken = client.post("/v1/feedback", json={"exchange_id": exchange_id, "value": 0})
    assert taken.status_code == 200
    assert taken.json() == {"rating_id": None, "exchange_id": exchange_id, "value": 0, "lesson": None}


def test_names_that_no_text_can_hold_name_nothing(client: TestClient) -> None:
    """Half of a surrogate pair in a name: 404, as for any other name that nobody has."""
    headers = {"content-type": "application/json"}
    body = b'{"messages": [{"role": "user", "content": "hi"}], "model": "\\ud800"}'
    response = client.post(CHAT, content=body, headers=headers)
    assert (response.status_code, refusal(response)[:25]) == (404, "there is no model '?': na")
    response = client.post("/v1/feedback", content=b'{"exchange_id": "\\udfff", "value": 1}', headers=headers)
    assert (response.status_code, refusal(response)) == (404, "there is no exchange '?'")


@pytest.mark.parametrize(
    ("method", "path", "status", "told"),
    [
        ("GET", "/v1/nothing", 404, "there is no '/v1/nothing'"),
        ("POST", "/v1", 404, "there is no '/v1'"),
        ("GET", CHAT, 405, "'/v1/chat/completions' takes POST, not GET"),
        ("DELETE", "/v1/nights", 405, "'/v1/nights' takes GET, POST, not DELETE"),
        ("PUT", "/v1/nights/n1", 405, "'/v1/nights/n1' takes GET, not PUT"),
        ("POST", "/health", 405, "'/health' takes GET, HEAD, not POST"),
        ("OPTIONS", CHAT, 405, "'/v1/chat/completions' takes POST, not OPTIONS"),
        ("POST", "/metrics", 405, "'/metrics' takes GET, not POST"),
    ],
)
def test_what_no_route_takes_is_refused_before_the_page(
    assistant: Assistant, method: str, path: str, status: int, told: str
) -> None:
    """In the shape of all errors, with what would be taken; what is not ours is the page's."""
    made = api.create(assistant, ready=lambda: None)
    api.close_off(made)
    made.mount("/", PlainTextResponse("the page"))
    client = TestClient(made, base_url=HOST)
    response = client.request(method, path)
    assert (response.status_code, refusal(response)) == (status, told)
    assert ("allow" in response.headers) is (status == 405)
    assert client.get("/elsewhere").text == "the page"
    assert client.head(CHAT).status_code == 405
    assert client.get("/health").json() == {"status": "ok"}


def test_whether_it_lives_is_told_without_a_body(client: TestClient) -> None:
    """To what only looks (HEAD); another method is told which there are, also where no page is mounted."""
    for path in ("/health", "/ready"):
        response = client.head(path)
        assert (response.status_code, response.content) == (200, b"")
    assert client.post("/metrics").headers["allow"] == "GET"


def test_feedback_on_what_was_never_said_is_refused(client: TestClient) -> None:
    """404 and one line."""
    response = client.post("/v1/feedback", json={"exchange_id": "e9", "value": 1})
    assert (response.status_code, refusal(response)) == (404, "there is no exchange 'e9'")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"value": 2}, 400),
        ({"value": "up"}, 400),
        ({"reasons": ["ugly"]}, 400),
        ({"reasons": "inaccurate"}, 400),
        ({"correction": "You asked: hello there"}, 400),
        ({"correction": "x" * 200_000}, 400),
        ({"rating": 1}, 400),
        ({"value": True}, 400),
        ({"correction": "\u200b"}, 400),
        ({"value": 0, "correction": "Hello, and good morning."}, 400),
        ({"value": 0, "reasons": ["inaccurate"]}, 400),
        ({"value": 0, "comment": "no"}, 400),
    ],
)
def test_bad_feedback_is_refused(client: TestClient, fields: dict[str, Any], status: int) -> None:
    """One line, and nothing is stored."""
    exchange_id = client.post(CHAT, json=hello()).json()["nightschool"]["exchange_id"]
    response = client.post("/v1/feedback", json={"exchange_id": exchange_id, "value": -1} | fields)
    assert response.status_code == status
    assert refusal(response)
    assert client.get("/v1/lessons").json() == {"lessons": []}


# ---------------------------------------------------------------------- nights


def test_a_night_is_started_and_followed(client: TestClient) -> None:
    """Starting answers as asking for it does; a second start while it waits is the same night."""
    started = client.post("/v1/nights")
    assert started.status_code == 202
    night = started.json()
    assert (night["status"], night["stage"], night["progress"], night["report"]) == ("queued", "", 0.0, None)
    assert {"id", "status", "stage", "progress", "reasons", "adapter", "report"} <= set(night)
    assert client.post("/v1/nights").json()["id"] == night["id"]
    assert client.get(f"/v1/nights/{night['id']}").json() == night
    assert [n["id"] for n in client.get("/v1/nights").json()["nights"]] == [night["id"]]


def test_a_second_night_is_refused_while_one_runs(client: TestClient, assistant: Assistant) -> None:
    """409 and who holds the lease, until that holder is dead."""
    night_id = client.post("/v1/nights").json()["id"]
    at = assistant.clock()
    assistant.ledger.begin_night(night_id, holder="desk (process 7)", at=at, ttl=timedelta(seconds=30))
    assistant.ledger.night_progress(night_id, stage="train", progress=0.4)
    response = client.post("/v1/nights")
    assert response.status_code == 409
    assert f"night {night_id} is running, held by desk (process 7)" in refusal(response)
    running = client.get(f"/v1/nights/{night_id}").json()
    assert (running["status"], running["stage"], running["progress"]) == ("running", "train", 0.4)
    assistant.clock.tick(31)  # type: ignore[attr-defined]
    assert client.get(f"/v1/nights/{night_id}").json()["status"] == "failed"
    assert client.post("/v1/nights").json() | {"status": "queued"} == client.get(f"/v1/nights/{night_id}").json()


def test_an_ended_night_carries_its_report(client: TestClient, assistant: Assistant, tmp_path: Path) -> None:
    """As the night wrote it; in the list it stays away."""
    night_id = client.post("/v1/nights").json()["id"]
    (tmp_path / "report.json").write_text('{"lessons": 5}')
    at = assistant.clock()
    assistant.ledger.begin_night(night_id, holder="test", at=at, ttl=timedelta(seconds=30))
    ended = NightStatus.REJECTED
    assistant.ledger.end_night(night_id, holder="test", status=ended, reasons=["worse"], at=at, report=str(tmp_path))
    night = client.get(f"/v1/nights/{night_id}").json()
    assert (night["status"], night["reasons"], night["report"]) == ("rejected", ["worse"], {"lessons": 5})
    assert client.get("/v1/nights").json()["nights"][0]["report"] is None


def test_an_unknown_night_is_refused(client: TestClient) -> None:
    """404 and one line."""
    response = client.get("/v1/nights/%ff%00")
    assert response.status_code == 404
    assert refusal(response).startswith("there is no night")


# ---------------------------------------------------------------------- memory and health


def test_memory_is_searched(client: TestClient) -> None:
    """The best of both rankings first, no more than asked for, in the very shape that is documented."""
    assert client.get("/v1/memory/search", params={"q": "whales"}).json() == {"results": []}
    for text in ("tell me about whales", "tell me about blue whales", "what is a fugue"):
        client.post(CHAT, json=hello(text, memory=False))
    found = client.get("/v1/memory/search", params={"q": "tell me about whales", "k": 2}).json()["results"]
    assert [r["text"].splitlines()[0] for r in found] == ["tell me about whales", "tell me about blue whales"]
    assert found[0]["text"] == "tell me about whales\nYou asked: tell me about whales"
    assert list(found[0]) == ["text", "score", "dense", "lexical", "reason", "kind", "exchange_id", "created_at"]
    assert found[0]["dense"] == pytest.approx(1)
    assert found[0]["lexical"] >= found[1]["lexical"] >= 0
    assert found[0]["score"] > found[1]["score"]


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({}, 400),
        ({"q": "x", "k": 0}, 400),
        ({"q": "x", "k": 10**9}, 400),
        ({"q": " "}, 400),
        ({"q": "x" * 60_000}, 400),
    ],
)
def test_a_bad_search_is_refused(client: TestClient, params: dict[str, Any], status: int) -> None:
    """One line names what is missing."""
    response = client.get("/v1/memory/search", params=params)
    assert response.status_code == status
    assert refusal(response)


def test_health_is_always_there_and_readiness_has_a_reason(assistant: Assistant) -> None:
    """503 while the model is being loaded, with why; the process is healthy all the same."""
    why: list[str | None] = ["the model is being loaded"]
    client = TestClient(api.create(assistant, ready=lambda: why[0]), base_url=HOST)
    assert client.get("/health").json() == {"status": "ok"}
    response = client.get("/ready")
    assert (response.status_code, refusal(response)) == (503, "the model is being loaded")
    why[0] = None
    assert client.get("/ready").json() == {"status": "ready"}


# ---------------------------------------------------------------------- what fails


class Damaged(testing.ScriptedEngine):
    """Its adapter's files are not the ones that were published."""

    def generate(
        self, prompt: Sequence[Message], sampling: Sampling, *, adapter: AdapterFiles | None, stop: Event
    ) -> Iterator[Piece]:
        raise ModelUnavailable("adapter v1 is damaged: roll back")
        yield


def test_an_engine_that_fails_is_told_in_one_line(tmp_path: Path) -> None:
    """As an error's status, of a stream too, as long as nothing was said."""
    client = TestClient(api.create(testing.assistant(tmp_path, engine=Damaged()), ready=lambda: None), base_url=HOST)
    for streams in (False, True):
        response = client.post(CHAT, json=hello(stream=streams))
        assert (response.status_code, refusal(response)) == (503, "adapter v1 is damaged: roll back")


def test_a_stream_begins_though_no_word_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong later is the stream's last event."""
    monkeypatch.setattr("assistant.routes.chat.BEGINS_WITHIN", 0.05)

    class Slow(testing.ScriptedEngine):
        """It thinks before its first word."""

        def generate(self, *args: Any, **more: Any) -> Iterator[Piece]:
            time.sleep(0.3)
            yield from super().generate(*args, **more)

    class SlowToFail(Slow, Damaged):
        """And then it has none."""

    for engine in (Slow(), SlowToFail()):
        client = TestClient(api.create(testing.assistant(tmp_path, engine=engine), ready=lambda: None), base_url=HOST)
        response = client.post(CHAT, json=hello("hi", stream=True))
        *_, last = chunks(response.text)
        assert response.status_code == 200
        assert ("error" in last) is isinstance(engine, Damaged)


class OutOfMemory(testing.ScriptedEngine):
    """An engine that breaks after its first word, in a way that nobody foresaw."""

    def generate(self, *_: Any, **__: Any) -> Iterator[Piece]:
        yield Piece("One ")
        raise RuntimeError("CUDA out of memory\nand a long story")


def test_what_nobody_foresaw_is_told_in_the_same_shape(tmp_path: Path) -> None:
    """One line, as an error's status or as the stream's last words; the traceback is the server's."""
    made = api.create(testing.assistant(tmp_path, engine=OutOfMemory()), ready=lambda: None)
    client = TestClient(made, base_url=HOST, raise_server_exceptions=False)
    body = {"messages": [{"role": "user", "content": "hi"}]}
    answered = client.post("/v1/chat/completions", json=body)
    told = {"message": "RuntimeError: CUDA out of memory", "type": "server_error", "param": None}
    assert (answered.status_code, answered.json()) == (500, {"error": told | {"code": "server_error"}})
    *_, error, end = client.post("/v1/chat/completions", json=body | {"stream": True}).text.strip().split("\n\n")
    assert json.loads(error.removeprefix("data: ")) == {"error": told | {"code": "server_error"}}
    assert end == "data: [DONE]"


def test_where_nothing_can_be_written_the_answer_carries_the_warning(tmp_path: Path) -> None:
    """Chat goes on; what needs the ledger is refused in one line."""
    (tmp_path / "file").write_text("")
    ledger = Ledger.open(tmp_path / "file" / "ledger.db")
    assistant = testing.assistant(tmp_path, ledger=ledger)
    client = TestClient(api.create(assistant, ready=lambda: None), base_url=HOST)
    reply = client.post(CHAT, json=hello()).json()
    assert reply["choices"][0]["message"]["content"] == "You asked: hello there"
    assert reply["nightschool"]["warning"].startswith("nothing is being remembered: ")
    *_, last = chunks(client.post(CHAT, json=hello(stream=True)).text)
    assert last["nightschool"]["warning"] == reply["nightschool"]["warning"]
    response = client.post("/v1/nights")
    assert response.status_code == 507
    assert refusal(response).startswith("nothing is being remembered: ")


# ---------------------------------------------------------------------- over a socket


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """A real server on a free port."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def address(assistant: Assistant) -> Iterator[str]:
    """A real server over the routes."""
    with served(api.create(assistant, ready=lambda: None)) as where:
        yield where


def test_the_client_of_openai_gets_on_with_it(address: str, assistant: Assistant) -> None:
    """Chat, stream, models, and an error, with nothing but another base URL."""
    # Slow to import, and wanted by this test alone.
    import openai

    publish(assistant)
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "hello there"}]

        reply = client.chat.completions.create(model="nightschool", messages=messages, extra_body={"memory": False})
        assert reply.choices[0].message.content == "You asked: hello there"
        assert reply.usage is not None
        assert reply.usage.total_tokens == 10
        provenance = (reply.model_extra or {})["nightschool"]
        assert provenance["adapter"] == "v1"
        assert assistant.ledger.exchange(provenance["exchange_id"]).adapter == "v1"

        said = [*messages, reply.choices[0].message.model_dump(), {"role": "user", "content": "again"}]
        stream = client.chat.completions.create(
            model="nightschool@v1", messages=said, stream=True, stream_options={"include_usage": True}
        )
        received = list(stream)
        assert "".join(c.choices[0].delta.content or "" for c in received if c.choices) == "You asked: again"
        assert received[-1].usage is not None

        assert [model.id for model in client.models.list()] == ["nightschool", "base", "nightschool@v1"]
        assert client.models.retrieve("nightschool@v1").created == int(nouns.NOON.timestamp())
        cut = client.chat.completions.create(
            model="base", messages=messages, stop=["there"], max_tokens=20, seed=1, extra_body={"memory": False}
        )
        assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("You asked: hello ", "stop")
        with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-9': name 'nightschool' "):
            client.chat.completions.create(model="gpt-9", messages=messages)
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="base", messages=messages, max_tokens=0)
        assert (refused.value.param, refused.value.code) == ("max_tokens", "invalid_value")
        assert refused.value.type == "invalid_request_error"
        with pytest.raises(openai.BadRequestError, match="'logprobs' is not supported"):
            client.chat.completions.create(model="nightschool", messages=messages, logprobs=True)
        with pytest.raises(openai.BadRequestError, match="n: Input should be less than or equal to 1"):
            client.chat.completions.create(model="nightschool", messages=messages, n=2)


def test_every_field_of_openais_client_is_known(client: TestClient) -> None:
    """Supported, or taken where it asks for nothing: null does, in all of them but the messages and the model."""
    import openai

    ours = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
    fields = set(inspect.signature(openai.resources.chat.Completions.create).parameters) - ours
    nothing = dict.fromkeys(fields - {"messages", "model"})
    assert len(nothing) > 30
    assert client.post(CHAT, json=hello(**nothing)).status_code == 200


def test_a_client_that_hangs_up_stops_the_answer(
    address: str, assistant: Assistant, engine: testing.ScriptedEngine
) -> None:
    """What was said by then is stored, and the machine is free for the next."""
    engine.pause = 0.02
    body = hello("word " * 400, stream=True)
    with httpx.Client() as client, client.stream("POST", address + CHAT, json=body) as response:
        for i, _ in enumerate(response.iter_lines()):
            if i == 20:
                break
    deadline = time.monotonic() + 5
    while assistant.ledger.count_exchanges() == 0:
        assert time.monotonic() < deadline, "the answer went on"
        time.sleep(0.02)
    ((_, (exchange, _)),) = assistant.ledger.rated_exchanges([1]).items()
    assert exchange.finish_reason == "stopped"
    assert 5 <= len(exchange.answer.split()) < 300


def test_a_client_that_hangs_up_while_it_waits_for_the_whole_stops_the_answer(
    address: str, assistant: Assistant, engine: testing.ScriptedEngine
) -> None:
    """Also where nothing is streamed: what was said by then is stored, and the machine is free for the next."""
    engine.pause = 0.02
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(address + CHAT, json=hello("word " * 400), timeout=0.5)
    deadline = time.monotonic() + 5
    while assistant.ledger.count_exchanges() == 0:
        assert time.monotonic() < deadline, "the answer went on"
        time.sleep(0.02)
    ((_, (exchange, _)),) = assistant.ledger.rated_exchanges([1]).items()
    assert exchange.finish_reason == "stopped"
    assert 5 <= len(exchange.answer.split()) < 300


def test_a_program_whose_turn_fails_after_it_hung_up_harms_nobody(
    address: str, engine: testing.ScriptedEngine, assistant: Assistant
) -> None:
    """The next one is answered."""
    engine.pause = 0.3
    engine.script = lambda prompt: 1 // 0 if "zero" in prompt[-1]["content"] else "fine, thank you"  # type: ignore[return-value]
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(address + CHAT, json=hello("hello"), timeout=0.1)
    assert httpx.post(address + CHAT, json=hello("zero")).status_code == 500
    assert httpx.post(address + CHAT, json=hello("hello")).status_code == 200


class Held(testing.ScriptedEngine):
    """An engine that answers when it is let, and until then holds who asks in a thread, as a real one does."""

    def __init__(self) -> None:
        super().__init__()
        self.let = Event()
        self.asked = Semaphore(0)

    def generate(
        self, prompt: Sequence[Message], sampling: Sampling, *, adapter: AdapterFiles | None, stop: Event
    ) -> Iterator[Piece]:
        self.asked.release()
        while not self.let.wait(0.02) and not stop.is_set():
            pass
        yield from super().generate(prompt, sampling, adapter=adapter, stop=stop)


def test_chats_that_wait_hold_up_nobody_else_and_are_not_too_many(tmp_path: Path) -> None:
    """More than any pool has threads: other routes answer at once, one chat too many is told when to come back, and
    all that were let in are answered.
    """
    engine = Held()
    made = testing.assistant(tmp_path, engine=engine)
    most = 48
    made = replace(made, settings=made.settings.model_copy(update={"chats_max": most}))
    with (
        served(api.create(made, ready=lambda: None)) as address,
        # One for all, with a connection each: a client reads the certificates of the world first, every time.
        httpx.Client(base_url=address, timeout=120, limits=httpx.Limits(max_keepalive_connections=0)) as program,
        ThreadPoolExecutor(most) as programs,
    ):
        asked = [programs.submit(program.post, CHAT, json=hello(f"hello {i}")) for i in range(most)]
        assert all(engine.asked.acquire(timeout=60) for _ in asked)
        refused = program.post(CHAT, json=hello("one more"))
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refusal(refused) == f"{most} chats are being answered or wait already: try again in 1 s"
        for path in ("/health", "/ready", "/v1/models", "/v1/lessons"):
            assert program.get(path, timeout=30).status_code == 200
        engine.let.set()
        assert {future.result().status_code for future in asked} == {200}
        assert program.post(CHAT, json=hello()).status_code == 200
    ended = [x.finish_reason for x, _ in made.ledger.rated_exchanges(range(1, 200)).values()]
    assert ended.count("stop") == most + 1


def test_a_user_with_many_chats_leaves_room_for_the_others(tmp_path: Path) -> None:
    """Of eight places two are for who has none: one user's seventh is told to come back, another's first is not."""
    engine = Held()
    made = testing.assistant(tmp_path, engine=engine)
    made = replace(made, settings=made.settings.model_copy(update={"chats_max": 8}))
    accounts = Accounts(made.ledger, made.clock, made.new_id, hasher=CHEAP)
    keys = {}
    for name, role in (("Ada", Role.ADMIN), ("Bob", Role.USER), ("Cy", Role.USER), ("Di", Role.USER)):
        account = accounts.add(name, "a long password", role, by="test")
        keys[name] = {"authorization": f"Bearer {accounts.add_key(account.id, name, by='test')}"}
    with served(api.create(made, ready=lambda: None, accounts=accounts)) as address, ThreadPoolExecutor(8) as programs:

        def ask(name: str) -> httpx.Response:
            return httpx.post(address + CHAT, json=hello(f"hello {name}"), headers=keys[name], timeout=60)

        asked = [programs.submit(ask, "Bob") for _ in range(6)]
        assert all(engine.asked.acquire(timeout=60) for _ in asked)
        refused = ask("Bob")
        assert refusal(refused) == "6 chats are being answered or wait already, 6 of them yours: try again in 1 s"
        assert refused.headers["retry-after"] == "1"
        for name in ("Ada", "Cy"):
            asked.append(programs.submit(ask, name))
            assert engine.asked.acquire(timeout=60)
        assert ask("Di").status_code == 429, "all places are taken"
        engine.let.set()
        assert {future.result().status_code for future in asked} == {200}
        assert ask("Bob").status_code == 200
