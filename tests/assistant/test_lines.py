"""The line of a page to the server: a WebSocket in front of what Gradio takes for a request that never ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from assistant.ui.lines import Lines

asked: list[str] = []
gone: list[str] = []


async def heartbeat(request: Request) -> Response:
    """As Gradio's: it goes on until it is cancelled, which says that the page is gone."""
    name = request.path_params["name"]
    asked.append(f"{request.method} {request.url.scheme} {name}")
    if name == "others":
        return Response(status_code=403)

    async def alive() -> AsyncIterator[str]:
        try:
            while True:
                yield "data: ALIVE\n\n"
                await asyncio.sleep(60)
        except asyncio.CancelledError:
            gone.append(name)
            raise

    return StreamingResponse(alive(), media_type="text/event-stream")


@pytest.fixture
def client() -> TestClient:
    """Of a server that has such a heartbeat and no WebSocket of its own."""
    asked.clear()
    gone.clear()
    return TestClient(Lines(Starlette(routes=[Route("/gradio_api/heartbeat/{name}", heartbeat)])))


def test_a_line_is_the_request_that_it_stands_for_and_ends_with_the_page(client: TestClient) -> None:
    """What is said comes over it; when it is broken, whoever was asked is told as ever."""
    with client.websocket_connect("/gradio_api/heartbeat/mine") as line:
        assert line.receive_text() == "data: ALIVE\n\n"
        assert (asked, gone) == (["GET http mine"], [])
    assert gone == ["mine"]


def test_who_is_refused_gets_no_line(client: TestClient) -> None:
    """By whoever it would be by GET."""
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/gradio_api/heartbeat/others"):
        pass
    assert asked == ["GET http others"]


def test_other_websockets_are_nobodys_request(client: TestClient) -> None:
    """Only the heartbeat is asked for in this way."""
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/gradio_api/queue/data"):
        pass
    assert asked == []
