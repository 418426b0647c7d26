"""The server around page and routes: who may reach it, when it is ready, and how it ends. On a real socket.

In processes of their own: a signal ends them, and they want the event loop that a browser's tests have.
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import server_process

from assistant.server import listen
from memory.errors import BadInput
from memory.ledger import Ledger

FORKS = multiprocessing.get_context("forkserver")
# Importing Gradio takes most of the time of such a server: it is imported once, and each server is a fork of who did.
FORKS.set_forkserver_preload(["gradio", "assistant.server", "assistant.ui"])


class Served:
    """A server in a process of its own, over `home`. `address` is where it listens."""

    def __init__(self, home: Path, *failure: str) -> None:
        self._told, self._complained = home.parent / "stdout", home.parent / "stderr"
        self._told.touch()
        arguments = (str(self._told), str(self._complained), str(home), *failure)
        self._process = FORKS.Process(target=server_process.apart, args=arguments)
        self._process.start()
        deadline = time.monotonic() + 60
        while "\n" not in self._told.read_text():
            assert time.monotonic() < deadline
            assert self._process.is_alive(), self._complained.read_text()
            time.sleep(0.01)
        self.address = self._told.read_text().splitlines()[0]

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def ended(self, timeout: float) -> tuple[int | None, str, str]:
        """(exit status, what it told after its address, what it complained of) once it has ended; None: it has not."""
        self._process.join(timeout)
        told = self._told.read_text().removeprefix(f"{self.address}\n")
        return self._process.exitcode, told, self._complained.read_text()

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        self._process.kill()
        self._process.join()


@contextmanager
def serving(home: Path, *failure: str) -> Iterator[Served]:
    """A server over `home`."""
    process = Served(home, *failure)
    try:
        yield process
    finally:
        process.kill()


def ready_home(tmp_path: Path) -> Path:
    """A home whose model may be loaded at once."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "go").touch()
    return home


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
    with serving(tmp_path / "home") as process:
        address = process.address
        loading = httpx.get(f"{address}/ready")
        assert (loading.status_code, httpx.get(f"{address}/").status_code) == (503, 200)
        assert "the model is being loaded" in loading.text
        assert httpx.get(f"{address}/v1/nothing").json()["error"]["message"] == "there is no '/v1/nothing'"
        (tmp_path / "home" / "go").touch()
        deadline = time.monotonic() + 20
        while httpx.get(f"{address}/ready").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.terminate()
        assert process.ended(timeout=20)[:2] == (0, "ended\n")


def test_answers_under_way_end_with_the_server(tmp_path: Path) -> None:
    """At once and without a traceback: what was said is stored, and sent to who still listens, in a stream or not."""
    home = ready_home(tmp_path)
    body = {"messages": [{"role": "user", "content": "word " * 1000}], "max_tokens": 2000}
    with serving(home) as process, ThreadPoolExecutor(1) as programs:
        address = f"{process.address}/v1/chat/completions"
        whole = programs.submit(httpx.post, address, json=body, timeout=60)
        with httpx.stream("POST", address, json=body | {"stream": True}, timeout=60) as reply:
            # By then the other, which was asked for first, has begun as well.
            pieces = reply.iter_text()
            said = "".join(itertools.islice(pieces, 50))
            process.terminate()
            said += "".join(pieces)
        ended = process.ended(timeout=20)
        assert (reply.status_code, said.count("word") > 5) == (200, True)
        assert (whole.result().status_code, whole.result().text.count("word") > 5) == (200, True)
    assert ended == (0, "ended\n", "")
    stored = Ledger.open(home / "ledger.db").rated_exchanges([1, 2]).values()
    assert [exchange.finish_reason for exchange, _ in stored] == ["stopped", "stopped"]
    assert all(5 < len(exchange.answer.split()) < 2000 for exchange, _ in stored)


@pytest.mark.parametrize("error", ["ModelUnavailable", "ImportError"])
def test_a_model_that_can_not_be_loaded_ends_it(tmp_path: Path, error: str) -> None:
    """With its reason, whatever that is: a server that never gets ready is none."""
    with serving(ready_home(tmp_path), error, "the weights are damaged") as process:
        status, told, complained = process.ended(timeout=30)
    assert (status, told) == (1, "")
    assert complained.splitlines()[-1] == "the weights are damaged"
