"""The server: the page and the HTTP routes on one socket, and the model that is loaded behind them.

The page is up before the model is; `/ready` says when it can answer. It runs no nights: whoever runs the server may.
"""

from __future__ import annotations

import errno
import signal
import socket
import threading
from typing import Protocol

import uvicorn

from assistant import api, ui
from assistant.accounts import Accounts
from assistant.door import LOOPBACK
from assistant.stops import Stops
from assistant.titles import Titles
from assistant.turn import Assistant
from memory.errors import BadInput, NightschoolError


class Loading(Protocol):
    """An engine whose weights come while the page is up already."""

    @property
    def ready(self) -> bool:
        """Whether it can answer."""
        ...

    def load(self) -> None:
        """Get ready; seconds. Raises: ModelUnavailable."""
        ...


def listen(host: str, port: int, *, accounts: bool = False) -> socket.socket:
    """A socket that listens; port 0 takes any free one.

    Args:
        accounts: whether there are any, so that who comes must log in.

    Raises: BadInput when others could reach it and nobody need log in, or the port can't be had.
    """
    if host not in LOOPBACK and not accounts:
        raise BadInput(
            f"listening on {host} would let anybody in, and there is no account yet:"
            " make one with `nightschool users add NAME`, or keep to 127.0.0.1"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        why = "is in use" if error.errno == errno.EADDRINUSE else f"can't be opened ({error.strerror})"
        raise BadInput(f"port {port} on {host} {why}: choose another with --port, or --port 0 for any") from error
    return listener


def url(host: str, listener: socket.socket) -> str:
    """Where a browser finds what `listen` opened on `host`."""
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


class _Http(uvicorn.Server):
    """Before it waits for the answers under way it stops them: each ends with its next word, and is stored."""

    def __init__(self, config: uvicorn.Config, stops: Stops) -> None:
        super().__init__(config)
        self._stops = stops

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stops.end()
        await super().shutdown(sockets)


class Server:
    """The page and the routes over `assistant`, whose engine is `engine`. Making one builds the page: seconds."""

    def __init__(self, assistant: Assistant, engine: Loading, accounts: Accounts | None = None) -> None:
        self._assistant, self._engine = assistant, engine
        self._failure: str | None = None
        accounts = accounts or Accounts(assistant.ledger, assistant.clock, assistant.new_id)
        web = api.create(assistant, ready=self._why_not_ready, accounts=accounts)
        api.close_off(web)
        self._titles = Titles(assistant)
        ui.mount(web, assistant, accounts, self._titles)
        self._http = _Http(uvicorn.Config(web, log_level="warning", timeout_graceful_shutdown=5), assistant.stops)

    def run(self, listener: socket.socket) -> None:
        """Serve until a signal, in the main thread. Raises: NightschoolError when the model can't be loaded."""
        # uvicorn shuts down, and then raises the signal again: SIGTERM must not kill before the caller's nights are
        # stopped.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        threading.Thread(target=self._warm_up, name="warm up", daemon=True).start()
        self._titles.start()
        try:
            self._http.run(sockets=[listener])
        except KeyboardInterrupt:
            pass
        finally:
            self._titles.stop()
            self._assistant.memory.save()
        if self._failure:
            raise NightschoolError(self._failure)

    def _warm_up(self) -> None:
        try:
            self._engine.load()
            self._assistant.memory.recall("warm up", k=1)
            self._assistant.memory.refresh()
        except Exception as error:
            # Also what no one foresaw (a library that can't be imported): a server that never gets ready says why.
            self._failure = str(error) or type(error).__name__
            self._http.should_exit = True

    def _why_not_ready(self) -> str | None:
        if self._failure:
            return self._failure
        if self._engine.ready:
            return None
        # An engine over another program knows what is amiss there.
        return getattr(self._engine, "trouble", None) or "the model is being loaded"
