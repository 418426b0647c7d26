"""What a page may load and run: of this server alone, and of scripts in its text those alone that we wrote into it.

No code is made of text either: what Gradio's HTML widget would compile, `page.js` has ready. Inline style has to stay:
Svelte writes it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

INLINE = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)


def policy(scripts: Sequence[bytes] = ()) -> str:
    """The Content-Security-Policy under which these inline scripts run, and no other inline script or handler does."""
    hashes = "".join(f" 'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in scripts)
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self'{hashes}",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "worker-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'self'",
        )
    )


DRAWS = "/assets/mermaid"
"""Gradio draws diagrams with labels of HTML: what a model writes would be forms and buttons. They are shown as text."""


class StayHome:
    """Middleware: the browser is told to load nothing from elsewhere, and to tell nobody where it has been.

    Args:
        script: what pages put into their head once they run.
        first: what is put into them here, to run before any other script of theirs.
    """

    def __init__(self, app: ASGIApp, script: str = "", first: str = "") -> None:
        self._app, self._script, self._first = app, script.encode(), f"<head><script>{first}</script>".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and DRAWS in scope["path"]:
            await Response(status_code=404)(scope, receive, send)
            return
        start: Message | None = None
        page = bytearray()

        async def send_with_policy(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = policy()
                headers["Referrer-Policy"] = "same-origin"
                headers["X-Content-Type-Options"] = "nosniff"
                if headers.get("content-type", "").startswith("text/html"):
                    # Its policy names the scripts in its text: that is known once all of it is.
                    start = message
                    return
            elif start is not None and message["type"] == "http.response.body":
                page.extend(message.get("body", b""))
                if message.get("more_body"):
                    return
                whole = bytes(page).replace(b"<head>", self._first, 1)
                headers = MutableHeaders(scope=start)
                headers["Content-Security-Policy"] = policy([*INLINE.findall(whole), self._script])
                if "content-length" in headers:
                    headers["Content-Length"] = str(len(whole))
                await send(start)
                start, message = None, {**message, "body": whole}
            await send(message)

        await self._app(scope, receive, send_with_policy)
