"""The load test, tested: on a server of ours that is well, and on figures of ones that are not."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import uvicorn

from assistant import api, testing
from memory.errors import NightschoolError
from memory.ledger import Ledger
from training.bench.load import Holds, Load, Seen, load


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server that answers six chats at once, word by word."""
    engine = testing.ScriptedEngine(script=lambda prompt: "word " * 20, pause=0.002)
    made = testing.assistant(tmp_path, engine=engine, ledger=Ledger.in_memory())
    made = replace(made, settings=made.settings.model_copy(update={"chats_max": 6}))
    app = api.create(made, ready=lambda: None)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def test_users_of_a_server_that_is_well(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They finish, stop, hang up, rate, and are told to come back; nothing of them is left."""
    monkeypatch.setattr("training.bench.load.LOOK_EVERY", 0.1)
    found = load(url, users=8, seconds=1.5, seed=0)
    assert found.left.turns == 0
    assert found.seen.errors == {}
    assert found.seen.turns["finished"] > 0
    assert found.seen.turns["stopped"] + found.seen.turns["hung up"] > 0
    assert found.seen.ratings > 0
    assert found.as_json()["answer_tokens_per_s"] > 0


def test_nobody_there() -> None:
    """One line."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(NightschoolError, match=f"http://127.0.0.1:{port} can't be asked"):
        load(f"http://127.0.0.1:{port}", users=1, seconds=1, seed=0)


WELL = Holds(turns=3, threads=40, files=60, memory_mb=1000.0)


GONE = replace(WELL, turns=0)


def run(*, last: Holds = WELL, left: Holds = GONE, **seen: Counter[str]) -> Load:
    """A run of nine seconds, looked at every second."""
    held = [(float(at), last if at > 6 else WELL) for at in range(10)]
    return Load(32, 9.0, Seen(**({"turns": Counter(finished=5)} | seen)), held, left)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (run(), []),
        (run(left=replace(WELL, turns=2)), ["2 turns were left under way"]),
        (
            run(left=replace(WELL, turns=0, threads=72)),
            ["threads: 40 in the second third, 72 when all had gone"],
        ),
        (
            run(left=replace(WELL, turns=0, files=160)),
            ["open files: 60 in the second third, 160 when all had gone"],
        ),
        (
            run(last=replace(WELL, memory_mb=1200.0)),
            ["memory: 1000 MB in the second third, 1200 MB in the last"],
        ),
        (run(errors=Counter({"status 500: oops": 3})), ["3 times: status 500: oops"]),
        (run(turns=Counter()), ["not one answer was finished"]),
    ],
)
def test_what_must_not_be(found: Load, told: list[str]) -> None:
    """Each leak is one line."""
    assert found.failures == told
    assert found.as_json()["failures"] == told
