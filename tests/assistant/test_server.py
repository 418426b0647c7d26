"""The server around page and routes: who may reach it, when it is ready, and how it ends. On a real socket.

In processes of their own: a signal ends them, and they want the event loop that a browser's tests have.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from assistant.server import listen
from memory.errors import BadInput
from memory.ledger import Ledger


@contextmanager
def serving(home: Path, *failure: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server over `home`, and where it listens."""
    root = Path(__file__).parents[2]
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("server_process.py")), str(home), *failure],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.2", "example.org"])  # noqa: S104 - it is refused
def test_nobody_else_is_listened_to(host: str) -> None:
    """There is no account yet."""
    with pytest.raises(BadInput, match="would let anybody in"):
        listen(host, 0)


def test_others_are_listened_to_once_there_are_accounts() -> None:
    """Whoever comes must log in then."""
    listener = listen("0.0.0.0", 0, accounts=True)  # noqa: S104 - that is what is tested
    assert listener.getsockname()[0] == "0.0.0.0"  # noqa: S104 - the same
    listener.close()


def test_it_is_ready_once_the_model_is(tmp_path: Path) -> None:
    """The page is there before; SIGTERM ends it, and comes back to whom it serves for instead of killing."""
    with serving(tmp_path) as (process, address):
        loading = httpx.get(f"{address}/ready")
        assert (loading.status_code, httpx.get(f"{address}/").status_code) == (503, 200)
        assert "the model is being loaded" in loading.text
        assert httpx.get(f"{address}/v1/nothing").json()["error"]["message"] == "there is no '/v1/nothing'"
        (tmp_path / "go").touch()
        deadline = time.monotonic() + 20
        while httpx.get(f"{address}/ready").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=20)
    assert (process.returncode, told) == (0, "ended\n")


@pytest.mark.parametrize("stream", [True, False])
def test_answers_under_way_end_with_the_server(tmp_path: Path, stream: bool) -> None:
    """At once and without a traceback: what was said is stored, and sent to who still listens."""
    (tmp_path / "go").touch()
    body = {"messages": [{"role": "user", "content": "word " * 1000}], "max_tokens": 2000, "stream": stream}
    with serving(tmp_path) as (process, address), ThreadPoolExecutor(1) as program:
        reply = program.submit(httpx.post, f"{address}/v1/chat/completions", json=body, timeout=60)
        time.sleep(1.5)
        process.send_signal(signal.SIGTERM)
        told, complained = process.communicate(timeout=20)
        assert (reply.result().status_code, reply.result().text.count("word") > 5) == (200, True)
    assert (process.returncode, told, complained) == (0, "ended\n", "")
    ((exchange, _),) = Ledger.open(tmp_path / "ledger.db").rated_exchanges([1]).values()
    assert exchange.finish_reason == "stopped"
    assert 5 < len(exchange.answer.split()) < 2000


@pytest.mark.parametrize("error", ["ModelUnavailable", "ImportError"])
def test_a_model_that_can_not_be_loaded_ends_it(tmp_path: Path, error: str) -> None:
    """With its reason, whatever that is: a server that never gets ready is none."""
    (tmp_path / "go").touch()
    with serving(tmp_path, error, "the weights are damaged") as (process, _):
        told, complained = process.communicate(timeout=30)
    assert (process.returncode, told) == (1, "")
    assert complained.splitlines()[-1] == "the weights are damaged"
