"""How the server stands: whether it lives, whether it can answer, and what Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from assistant.accounts import allowed
from assistant.door import Me
from memory.accounts import Role


def routes(ready: Callable[[], str | None], registry: CollectorRegistry) -> APIRouter:
    """The routes. `ready` says why the assistant can't answer yet, or None."""
    router = APIRouter()

    @router.get("/metrics")
    def scrape(who: Me) -> Response:
        allowed(who, Role.ADMIN)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    # These two need no thread: they answer, whatever the others wait for.
    # Whoever only looks whether a server lives asks without wanting a body.
    @router.get("/health")
    @router.head("/health", include_in_schema=False)
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/ready")
    @router.head("/ready", include_in_schema=False)
    async def is_ready() -> dict[str, str]:
        why_not = ready()
        if why_not:
            raise HTTPException(503, why_not)
        return {"status": "ready"}

    return router
