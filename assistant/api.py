"""The HTTP side: the routes behind their door, put together. Any client can ask, rate what it was told, and follow it.

It knows no SQL and no model: each route (`assistant.routes`) is a few lines over `turn`, `feedback` and the ledger.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from assistant import door, exports, metrics
from assistant.accounts import Accounts
from assistant.door import Door, SameOrigin
from assistant.routes import chat, errors, knowing, learning, standing
from assistant.routes.errors import refusal
from assistant.turn import Assistant

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def create(
    assistant: Assistant,
    *,
    ready: Callable[[], str | None],
    accounts: Accounts | None = None,
    registry: CollectorRegistry | None = None,
) -> FastAPI:
    """The HTTP application: for requests from this machine alone as long as there is no account.

    Args:
        ready: why the assistant can't answer yet, or None.
        accounts: who may come in; by default those of the ledger, or everybody on this machine.
        registry: what `/metrics` tells; None: what the ledger and this process do, see `assistant.metrics`.
    """
    accounts = accounts or Accounts(assistant.ledger, assistant.clock, assistant.new_id)
    api = FastAPI(title="Nightschool", docs_url=None, redoc_url=None)
    api.add_middleware(Door, accounts=accounts)
    api.add_middleware(SameOrigin)
    errors.handle(api)
    for router in (
        door.routes(accounts, start=uuid.uuid4().hex),
        exports.routes(assistant),
        chat.routes(assistant),
        learning.routes(assistant),
        knowing.routes(assistant),
        standing.routes(ready, registry or metrics.registry(assistant.ledger, assistant.meter)),
    ):
        api.include_router(router)
    return api


def close_off(api: FastAPI) -> None:
    """What no route takes is refused in the shape of all errors, rather than by the page that is mounted under them.

    To be called when all routes are there, and before the page is.
    """
    known = [inner for route in api.routes for inner in _each(route)]

    async def refused(request: Request) -> Response:
        path, methods = request.url.path[:80], set[str]()
        for route in known:
            if route.matches(request.scope)[0] is Match.PARTIAL:
                methods |= getattr(route, "methods", None) or set()
        if not methods:
            return refusal(404, f"there is no {path!r}", "not_found")
        allowed = ", ".join(sorted(methods))
        told = f"{path!r} takes {allowed}, not {request.method}"
        return refusal(405, told, "method_not_allowed", headers={"Allow": allowed})

    for path in ("/v1", "/v1/{rest:path}", "/health", "/ready", "/metrics"):
        api.add_route(path, refused, methods=METHODS, include_in_schema=False)


def _each(route: BaseRoute) -> list[BaseRoute]:
    """The routes of an included router, which FastAPI keeps together; any other route is one."""
    router = getattr(route, "original_router", None)
    return [route] if router is None else list(router.routes)
