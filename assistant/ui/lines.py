"""Each page keeps a line to the server, which tells when the page is gone: its answer is stopped, its state let go.

Gradio keeps it as a request that never ends, and of those a browser has six to one server: a seventh tab would wait for
ever. So the page's script (`line.js`) says every few seconds that it is there, and says when it goes; this keeps the
request for it that Gradio waits for. Who may have one, and what happens at its end, is decided where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEARTBEAT = "/gradio_api/heartbeat/"
GONE = b"gone"
"""What a page that goes says behind the address of its line."""

SILENT_SECONDS = 900.0
"""After which a page that said nothing is gone: in a tab that nobody sees, browsers let a script run once a minute, and
may put it to sleep for longer.
"""


class Lines:
    """Middleware: POST to Gradio's heartbeat keeps the GET that Gradio wants, until the page is gone or silent.

    Args:
        opened: is told the session of each line that begins, for a page that comes back is the same one.
        silent: seconds after which a page is gone that said nothing.
    """

    def __init__(
        self, app: ASGIApp, *, opened: Callable[[str], None] = lambda session: None, silent: float = SILENT_SECONDS
    ) -> None:
        self._app, self._opened, self._silent = app, opened, silent
        self._lines: dict[str, _Line] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, self._until_shutdown(receive), send)
        elif scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith(HEARTBEAT):
            await Response(status_code=await self._heard(scope))(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _heard(self, scope: Scope) -> int:
        """The status that the GET got, as 204 where it goes on."""
        name = scope["path"]
        if scope["query_string"] == GONE:
            if name in self._lines:
                self._lines[name].gone.set()
            return 204
        while (line := self._lines.get(name)) and line.gone.is_set() and line.task:
            # The one before is just ending.
            await asyncio.wait([line.task])
        if line is None:
            line = self._lines[name] = _Line()
            # Held by the line, or nobody would hold it.
            line.task = asyncio.create_task(self._keep(name, line, scope))
        line.heard = asyncio.get_running_loop().time()
        status = await asyncio.shield(line.status)
        return 204 if status == 200 else status

    async def _keep(self, name: str, line: _Line, scope: Scope) -> None:
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await line.over(self._silent)
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start" and not line.status.done():
                line.status.set_result(int(message["status"]))
                if message["status"] == 200:
                    self._opened(name.removeprefix(HEARTBEAT))

        # As of version 2.3 whoever streams listens for the other end to be gone, and does not wait for a send to fail.
        asgi = {**scope.get("asgi", {}), "spec_version": "2.3"}
        try:
            await self._app({**scope, "method": "GET", "query_string": b"", "asgi": asgi}, receive, send)
        finally:
            del self._lines[name]
            if not line.status.done():
                line.status.set_result(500)

    def _until_shutdown(self, receive: Receive) -> Callable[[], Awaitable[Message]]:
        async def received() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                for line in self._lines.values():
                    line.gone.set()
            return message

        return received


class _Line:
    """Of one page."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.heard = 0.0
        self.task: asyncio.Task[None] | None = None

    async def over(self, silent: float) -> None:
        """Return once the page is gone, or was silent for so many seconds."""
        now = asyncio.get_running_loop().time
        while not self.gone.is_set() and (left := self.heard + silent - now()) > 0:
            try:
                await asyncio.wait_for(self.gone.wait(), left)
            except TimeoutError:
                continue
        self.gone.set()
