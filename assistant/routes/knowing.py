"""What is remembered: search, and everything of one's own as a file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from assistant import wire
from assistant.door import Me
from assistant.turn import Assistant, clean


def routes(assistant: Assistant) -> APIRouter:
    """The routes over `assistant`."""
    router = APIRouter()

    @router.get("/v1/memory/search")
    def search(q: str, who: Me, k: Annotated[int, Query(ge=1, le=100)] = 5) -> dict[str, Any]:
        query = clean(q, limit=assistant.settings.message_chars, what="query")
        return {"results": [wire.found(r) for r in assistant.memory.search(query, k=k, user=who.id)]}

    @router.get("/v1/memory/export", response_model=None)
    def export(who: Me) -> Response:
        return Response(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _remembered(assistant, who.id)),
            media_type="application/x-ndjson",
            headers={"Content-Disposition": 'attachment; filename="nightschool-memory.jsonl"'},
        )

    return router


def _remembered(assistant: Assistant, user: str) -> Iterator[dict[str, Any]]:
    """Everything of `user` that is remembered, the oldest first, with the answers that hold now; then the documents."""
    ledger = assistant.ledger
    for first in range(1, ledger.last_seq() + 1, 500):
        for _, (exchange, rating) in sorted(ledger.rated_exchanges(range(first, first + 500), user=user).items()):
            yield {
                "exchange_id": exchange.id,
                "conversation_id": exchange.conversation_id,
                "created_at": exchange.created_at.isoformat(),
                "question": exchange.question,
                "answer": exchange.answer,
                "rating": rating.value if rating else None,
                "correction": rating.correction if rating else None,
            }
    for skip in itertools.count(step=500):
        pieces = ledger.newest_passages(user=user, limit=500, skip=skip)
        for document, passage in pieces:
            yield {
                "document_id": document.id,
                "document": document.name,
                "created_at": document.created_at.isoformat(),
                "page": passage.page,
                "question": passage.question or None,
                "text": passage.text,
            }
        if len(pieces) < 500:
            return
