"""Each page keeps a line to the server, which tells when the page is gone: its answer is stopped, its state let go.

Gradio keeps it as a request that never ends, and of those a browser has six to one server: a seventh tab would wait
for ever. So the page's script (`line.js`) opens it as a WebSocket, of which there may be hundreds, and this makes the
same request of it for everybody behind: who may ask for it, and what happens at its end, is decided where it was.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEARTBEAT = "/gradio_api/heartbeat/"


class Lines:
    """Middleware: what is asked of Gradio's heartbeat by WebSocket is asked by GET, and what it says is sent on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket" or not scope["path"].startswith(HEARTBEAT):
            await self._app(scope, receive, send)
            return
        await receive()  # That it wants to be opened.
        asked = False

        async def receive_request() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            while (await receive())["type"] != "websocket.disconnect":
                pass
            return {"type": "http.disconnect"}

        opened = False

        async def send_response(message: Message) -> None:
            nonlocal opened
            if message["type"] == "http.response.start":
                opened = message["status"] == 200
                await send({"type": "websocket.accept"} if opened else {"type": "websocket.close"})
            elif opened and message.get("body"):
                await send({"type": "websocket.send", "text": message["body"].decode()})
            elif opened and not message.get("more_body"):
                await send({"type": "websocket.close"})

        secure = scope["scheme"] == "wss"
        # As of version 2.3 whoever streams listens for the other end to be gone, and does not wait for a send to fail.
        asgi = {**scope.get("asgi", {}), "spec_version": "2.3"}
        request = {**scope, "type": "http", "method": "GET", "scheme": "https" if secure else "http", "asgi": asgi}
        await self._app(request, receive_request, send_response)
