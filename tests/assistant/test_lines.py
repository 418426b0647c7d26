"""The line of a page to the server: what the page says now and then, in front of a request that never ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message

from assistant.ui.lines import Lines

MINE = "/gradio_api/heartbeat/mine"


class Pages:
    """A server that has such a heartbeat: who asked for it, and who is gone, in order."""

    def __init__(self, *, silent: float = 60) -> None:
        self.asked: list[str] = []
        self.gone: list[str] = []
        route = Route("/gradio_api/heartbeat/{name}", self._heartbeat)
        self.opened: list[str] = []
        self.lines = Lines(Starlette(routes=[route]), opened=self.opened.append, silent=silent)

    async def _heartbeat(self, request: Request) -> Response:
        """As Gradio's: it goes on until it is cancelled, which says that the page is gone."""
        name = request.path_params["name"]
        self.asked.append(f"{request.method} {name} {request.headers.get('cookie')}")
        if name == "others":
            return Response(status_code=403)

        async def alive() -> AsyncIterator[str]:
            try:
                while True:
                    yield "data: ALIVE\n\n"
                    await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.gone.append(name)
                raise

        return StreamingResponse(alive(), media_type="text/event-stream")

    async def until_gone(self, name: str) -> None:
        """Wait for it, for two seconds."""
        async with asyncio.timeout(2):
            while name not in self.gone:
                await asyncio.sleep(0.005)


def run(pages: Pages, visit: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    """Have a browser visit the server."""

    async def visited() -> None:
        transport = httpx.ASGITransport(pages.lines)
        async with httpx.AsyncClient(transport=transport, base_url="http://here", cookies={"who": "me"}) as browser:
            await visit(browser)

    # In a thread: Playwright leaves its loop in that of tests that ran before.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, visited()).result()


def test_a_page_that_goes_ends_its_line() -> None:
    """However often it says that it is there, it is asked for once, as who it is; another page's goes on."""
    pages = Pages()

    async def visit(browser: httpx.AsyncClient) -> None:
        for _ in range(3):
            assert (await browser.post(MINE)).status_code == 204
        assert (await browser.post("/gradio_api/heartbeat/other")).status_code == 204
        assert (pages.asked, pages.gone) == (["GET mine who=me", "GET other who=me"], [])
        assert (await browser.post(f"{MINE}?gone")).status_code == 204
        await pages.until_gone("mine")
        assert pages.gone == ["mine"]
        # Back again, as from a browser's memory of pages.
        assert (await browser.post(MINE)).status_code == 204
        assert pages.asked[-1] == "GET mine who=me"
        assert pages.opened == ["mine", "other", "mine"]

    run(pages, visit)


def test_a_page_that_is_silent_is_gone() -> None:
    """A browser that was killed says nothing; one that speaks in time stays."""
    pages = Pages(silent=0.3)

    async def visit(browser: httpx.AsyncClient) -> None:
        await browser.post(MINE)
        await browser.post("/gradio_api/heartbeat/other")
        for _ in range(10):
            await asyncio.sleep(0.05)
            await browser.post(MINE)
        assert pages.gone == ["other"]
        await pages.until_gone("mine")

    run(pages, visit)


def test_who_is_refused_has_no_line() -> None:
    """By whoever it would be by GET, with the same status."""
    pages = Pages()

    async def visit(browser: httpx.AsyncClient) -> None:
        assert (await browser.post("/gradio_api/heartbeat/others")).status_code == 403
        assert (await browser.post("/gradio_api/heartbeat/others?gone")).status_code == 204
        assert pages.opened == []
        assert (await browser.post("/gradio_api/queue/join")).status_code == 404

    run(pages, visit)


def test_lines_end_with_the_server() -> None:
    """Whoever waits for its requests to end waits for no page to go."""
    pages = Pages()

    async def visit(browser: httpx.AsyncClient) -> None:
        await browser.post(MINE)
        told = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive() -> Message:
            return next(told)

        async def send(message: Message) -> None:
            assert message["type"].endswith("complete")

        await pages.lines({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
        await pages.until_gone("mine")

    run(pages, visit)
