"""The server around page and routes: who may reach it, when it is ready, and how it ends. On a real socket."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from assistant import testing
from assistant.server import Server, listen, url
from memory.errors import BadInput, ModelUnavailable, NightschoolError


@dataclass
class SlowEngine(testing.ScriptedEngine):
    """An engine that is loaded once a test lets it, or can't be."""

    loadable: threading.Event = field(default_factory=threading.Event)
    failure: Exception | None = None
    ready: bool = False

    def load(self) -> None:
        assert self.loadable.wait(10)
        if self.failure:
            raise self.failure
        self.ready = True


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """SIGTERM means afterwards what it meant before."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.2", "example.org"])  # noqa: S104 - it is refused
def test_nobody_else_is_listened_to(host: str) -> None:
    """There is no account yet."""
    with pytest.raises(BadInput, match="would let anybody in"):
        listen(host, 0)


def test_it_is_ready_once_the_model_is(tmp_path: Path) -> None:
    """The page is there before; SIGTERM ends it, and comes back to whom it serves for instead of killing."""
    engine = SlowEngine()
    assistant = testing.assistant(tmp_path, engine=engine)
    server = Server(assistant, engine)

    def visit(address: str) -> list[int]:
        try:
            while True:
                try:
                    loading = httpx.get(f"{address}/ready")
                    break
                except httpx.ConnectError:
                    time.sleep(0.02)
            assert "the model is being loaded" in loading.text
            codes = [httpx.get(f"{address}/").status_code, loading.status_code]
            engine.loadable.set()
            deadline = time.monotonic() + 10
            while httpx.get(f"{address}/ready").status_code != 200:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            return codes
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    with listen("127.0.0.1", 0) as listener, ThreadPoolExecutor(1) as pool:
        visited = pool.submit(visit, url("127.0.0.1", listener))
        server.run(listener)
    assert visited.result() == [200, 503]
    assistant.ledger.close()


@pytest.mark.parametrize(
    "failure", [ModelUnavailable("the weights are damaged"), ImportError("the weights are damaged")]
)
def test_a_model_that_can_not_be_loaded_ends_it(tmp_path: Path, failure: Exception) -> None:
    """With its reason, whatever that is: a server that never gets ready is none."""
    engine = SlowEngine(failure=failure)
    engine.loadable.set()
    assistant = testing.assistant(tmp_path, engine=engine)
    with listen("127.0.0.1", 0) as listener, pytest.raises(NightschoolError, match=r"^the weights are damaged$"):
        Server(assistant, engine).run(listener)
    assistant.ledger.close()
