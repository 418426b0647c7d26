"""Fakes for anyone's tests: an engine that says what it is told to, an assistant around it that needs no model, and a
real small HTTP server in the shape of OpenAI's, which fails as it is told to.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, Literal

from assistant.engine import AdapterFiles, Capabilities, FinishReason, Piece, Sampling
from assistant.local import check_adapter
from assistant.settings import Settings
from assistant.turn import Assistant
from memory.ledger import Ledger
from memory.recall import Memory
from memory.records import Message
from memory.testing import Clock, HashingEmbedder, ids

KEY = b"a key for tests, 32 bytes long.."
CAPABLE = Capabilities(adapters=True, seeds=True, counts_exactly=True, context=None, at_once=1000)


def _set() -> Event:
    event = Event()
    event.set()
    return event


@dataclass
class ScriptedEngine:
    """An `Engine` that answers from `script` (a function of the prompt), word by word, and records its calls.

    Args:
        script: prompt → answer; by default it repeats the question.
        pause: seconds between two words.
        go_on: while it is cleared, no word follows the first.
    """

    script: Callable[[Sequence[Message]], str] = lambda prompt: f"You asked: {prompt[-1]['content']}"
    pause: float = 0.0
    go_on: Event = field(default_factory=_set)
    model_id: str = "test-model"
    calls: list[tuple[tuple[Message, ...], Sampling, str | None]] = field(default_factory=list)
    capabilities: Capabilities = CAPABLE

    def admit(self, adapter: AdapterFiles) -> None:
        """Any version whose files are whole."""
        check_adapter(adapter)

    def generate(
        self, prompt: Sequence[Message], sampling: Sampling, *, adapter: AdapterFiles | None, stop: Event
    ) -> Iterator[Piece]:
        self.calls.append((tuple(prompt), sampling, adapter.version if adapter else None))
        words = re.findall(r"\S+\s*|\s+", self.script(prompt))
        said = 0
        for word in words[: sampling.max_tokens]:
            if stop.is_set():
                break
            said += 1
            yield Piece(word)
            while not (stop.is_set() or self.go_on.wait(0.01)):
                pass
            if self.pause:
                time.sleep(self.pause)
        finish: FinishReason = "stopped" if stop.is_set() else "stop" if said == len(words) else "length"
        yield Piece("", finish, self.count_tokens(prompt), said)

    def complete(
        self, prompts: Sequence[Sequence[Message]], *, max_tokens: int, adapter: AdapterFiles | None
    ) -> Iterator[tuple[int, str]]:
        """The same answers, the shortest prompt first as a real engine has it."""
        for place in sorted(range(len(prompts)), key=lambda i: self.count_tokens(prompts[i])):
            pieces = self.generate(prompts[place], Sampling(max_tokens), adapter=adapter, stop=Event())
            yield place, "".join(piece.text for piece in pieces).strip()

    def count_tokens(self, prompt: Sequence[Message]) -> int:
        """One a word, and four a message."""
        return sum(4 + len(message["content"].split()) for message in prompt)


def assistant(
    home: Path, *, engine: ScriptedEngine | None = None, ledger: Ledger | None = None, clock: Clock | None = None
) -> Assistant:
    """An assistant in `home` over a scripted engine and a hashing embedder; the ledger is a real file there."""
    ledger = ledger or Ledger.open(home / "ledger.db")
    return Assistant(
        settings=Settings(home=home),
        ledger=ledger,
        memory=Memory(ledger, HashingEmbedder(), home / "index", min_score=0.5),
        engine=engine or ScriptedEngine(),
        key=KEY,
        clock=clock or Clock(),
        new_id=ids("id"),
    )


# ---------------------------------------------------------------------- a server like OpenAI's

Fault = Literal[
    "html",
    "drop",
    "hang",
    "keeps open",
    "hangs loading",
    "other model",
    "broken json",
    "error event",
    "no choice",
    "no text",
    "no counts",
    "no reason",
    "no end",
    "cut end",
    "holds on",
    "500",
    "429",
    "401",
]
"""What a `ScriptedServer` can do wrong with an answer. `drop`, `hang` and `keeps open` (it sends what is no word) come
after its first two words; of `no end`, `cut end` and `holds on` the answer
itself is whole.
"""


ODD_CHUNKS: Mapping[Fault | None, Any] = {
    "no choice": {"choices": ["x"]},
    "no text": {"choices": [{"delta": {"content": ["x"]}}]},
    "no counts": {"choices": [], "usage": "lots"},
}


@dataclass
class ScriptedServer:
    """What an OpenAI-like server says, in vLLM's way: it loads adapters while it runs. `running` gives it a socket.

    Args:
        script: (model, messages) → answer; by default the model's name and the question.
        models: names of the base, under which it is listed.
        loads_adapters: whether it has vLLM's routes for that.
        unknown_route: status and JSON of the answer on a route that it has not.
        max_rank: an adapter whose config has a larger `r` is refused, as vLLM does.
        fault: what goes wrong with every answer from now on; None: nothing.
        pause: seconds before each word.
        requests: the chat requests so far, filled by the server.
        adapters: name → folder of what is loaded now, filled by the server.
        loads: how often it was asked to load one.
        hung_up: set when a client went away in the middle of an answer.
    """

    script: Callable[[str, Sequence[Message]], str] = lambda model, messages: f"{model} heard {messages[-1]['content']}"
    models: list[str] = field(default_factory=lambda: ["base"])
    max_rank: int = 32
    loads_adapters: bool = True
    unknown_route: tuple[int, Any] = (404, {"detail": "Not Found"})
    fault: Fault | None = None
    pause: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    adapters: dict[str, str] = field(default_factory=dict)
    loads: int = 0
    hung_up: Event = field(default_factory=Event)
    _let_go: Event = field(default_factory=Event)

    @contextmanager
    def running(self, port: int = 0) -> Iterator[str]:
        """It listens on loopback for as long as the context lasts, at the address that is yielded."""
        script = self

        class Handler(_OpenAIHandler):
            said = script

        with ThreadingHTTPServer(("127.0.0.1", port), Handler) as http:
            http.daemon_threads = True
            Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
            try:
                yield f"http://127.0.0.1:{http.server_address[1]}/v1"
            finally:
                self._let_go.set()
                http.shutdown()
                self._let_go.clear()


class _OpenAIHandler(BaseHTTPRequestHandler):
    """The routes of a `ScriptedServer`."""

    said: ScriptedServer

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        if self.said.fault == "html":
            self._send(200, b"<html>Welcome to nginx!</html>", "text/html")
            return
        listed = [*self.said.models, *self.said.adapters]
        self._json(200, {"data": [{"id": name, "object": "model", "max_model_len": 4096} for name in listed]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path = self.path.removeprefix("/v1")
        if path == "/load_lora_adapter" and self.said.loads_adapters:
            self._load(body)
        elif path == "/unload_lora_adapter" and self.said.loads_adapters:
            self.said.adapters.pop(body["lora_name"], None)
            self._send(200, b"Success", "text/plain")
        elif path == "/chat/completions":
            self.said.requests.append(body)
            self._chat(body)
        else:
            self._json(*self.said.unknown_route)

    def _load(self, body: Mapping[str, Any]) -> None:
        name, config = body["lora_name"], Path(body["lora_path"], "adapter_config.json")
        self.said.loads += 1
        if self.said.fault == "hangs loading":
            self.said._let_go.wait(30)
        rank = json.loads(config.read_text())["r"] if config.is_file() else 0
        if name in self.said.adapters:
            self._error(400, f"The lora adapter '{name}' has already been loaded.")
        elif rank > self.said.max_rank:
            self._error(400, f"LoRA rank {rank} is greater than max_lora_rank {self.said.max_rank}.")
        else:
            self.said.adapters[name] = body["lora_path"]
            self._send(200, b"Success", "text/plain")

    def _chat(self, body: Mapping[str, Any]) -> None:
        fault, model = self.said.fault, body["model"]
        if fault == "html":
            self._send(200, b"<html>Welcome to nginx!</html>", "text/html")
        elif fault in ("500", "429", "401"):
            self._error(int(fault), f"so it is: {fault}")
        elif model not in (*self.said.models, *self.said.adapters):
            self._error(404, f"The model `{model}` does not exist.")
        else:
            with suppress(ConnectionError):
                self._stream(body, fault)
                return
            self.said.hung_up.set()

    def _stream(self, body: Mapping[str, Any], fault: Fault | None) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        words = re.findall(r"\S+\s*|\s+", self.said.script(body["model"], body["messages"]))
        most = body.get("max_tokens") or len(words)
        for place, word in enumerate(words[:most]):
            if place == 2 and fault == "drop":
                return
            if place == 2 and fault == "hang":
                self.said._let_go.wait(30)
                return
            while place == 2 and fault == "keeps open" and not self.said._let_go.wait(0.05):
                self.wfile.write(b": working\n\n")
                self._event(self._chunk(body, fault, {"role": "assistant", "content": ""}))
            if place == 2 and fault == "broken json":
                self.wfile.write(b"data: {oops\n\n")
                return
            if place == 2 and fault in ODD_CHUNKS:
                self._event(ODD_CHUNKS[fault])
            if place == 2 and fault == "error event":
                self._event({"error": {"message": "the engine died", "code": 500}})
                return
            time.sleep(self.said.pause)
            self._event(self._chunk(body, fault, {"content": word}))
        if fault != "no reason":
            self._event(self._chunk(body, fault, {}, "length" if most < len(words) else "stop"))
            usage = {"prompt_tokens": 7, "completion_tokens": min(most, len(words))}
            self._event({"model": body["model"], "choices": [], "usage": usage})
        self._end(fault)

    def _end(self, fault: Fault | None) -> None:
        if fault == "holds on":
            self.said._let_go.wait(30)
        if fault != "no end":
            self.wfile.write(b"data: [DONE]" if fault == "cut end" else b"data: [DONE]\n\n")

    @staticmethod
    def _chunk(body: Mapping[str, Any], fault: Fault | None, delta: Any, finish: str | None = None) -> dict[str, Any]:
        model = "somebody-else" if fault == "other model" else body["model"]
        return {"model": model, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    def _event(self, content: Mapping[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(content)}\n\n".encode())

    def _error(self, status: int, message: str) -> None:
        self._json(status, {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}})

    def _json(self, status: int, content: Any) -> None:
        self._send(status, json.dumps(content).encode(), "application/json")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
