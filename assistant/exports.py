"""One conversation as a file, for its owner: Markdown to read, JSON for programs. Every branch is in both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends
from starlette.responses import Response

from assistant.door import me
from assistant.turn import Assistant
from memory.accounts import Account
from memory.errors import NotFound
from memory.records import Exchange, Rating


def routes(assistant: Assistant) -> APIRouter:
    """`GET /conversations/ID/export.md` and `.json`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/conversations/{conversation_id}/export.{kind}")
    def export(conversation_id: str, kind: Literal["md", "json"], who: Annotated[Account, Depends(me)]) -> Response:
        ledger = assistant.ledger
        if ledger.owner(conversation_id) != who.id:
            raise NotFound("conversation", conversation_id)
        exchanges = ledger.conversation(conversation_id)
        ratings, title = ledger.ratings([exchange.id for exchange in exchanges]), ledger.title(conversation_id)
        if kind == "md":
            content, media = markdown(title, exchanges, ratings), "text/markdown"
        else:
            written = as_json(title, conversation_id, exchanges, ratings)
            content, media = json.dumps(written, ensure_ascii=False, indent=2), "application/json"
        name = quote("".join(c if c.isalnum() or c in " -_" else "_" for c in title).strip()[:60] or "conversation")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}.{kind}", "Cache-Control": "no-store"}
        return Response(content, media_type=f"{media}; charset=utf-8", headers=headers)

    return router


def markdown(title: str, exchanges: Sequence[Exchange], ratings: dict[str, Rating]) -> str:
    """The conversation to read. An exchange that answers another place than the one above says which."""
    parts = [f"# {title}"]
    before: str | None = None
    for exchange in exchanges:
        if exchange.parent_id != before:
            after = f"after {exchange.parent_id}" if exchange.parent_id else "from the start"
            parts.append(f"*Another branch, {after}:*")
        parts += [f"## {exchange.question}", exchange.answer, f"*{exchange.id} · {exchange.adapter}*"]
        rating = ratings.get(exchange.id)
        if rating:
            thumb = "👍" if rating.value == 1 else "👎"
            told = "; ".join(filter(None, [", ".join(rating.reasons), rating.comment]))
            parts.append(f"{thumb} {told}".strip())
        if rating and rating.correction:
            parts.append("> " + rating.correction.replace("\n", "\n> "))
        before = exchange.id
    return "\n\n".join(parts) + "\n"


def as_json(
    title: str, conversation_id: str, exchanges: Sequence[Exchange], ratings: dict[str, Rating]
) -> dict[str, Any]:
    """Everything that the ledger knows of it but the prompts."""
    return {
        "conversation": conversation_id,
        "title": title,
        "exchanges": [
            {
                "id": e.id,
                "parent": e.parent_id,
                "created_at": e.created_at.isoformat(),
                "question": e.question,
                "answer": e.answer,
                "model": e.model_id,
                "adapter": e.adapter,
                "adapter_sha256": e.adapter_sha256,
                "recollections": [dict(r) for r in e.recollections],
                "sampling": dict(e.sampling),
                "finish_reason": e.finish_reason,
                "rating": _rating(ratings.get(e.id)),
            }
            for e in exchanges
        ],
    }


def _rating(rating: Rating | None) -> dict[str, Any] | None:
    if rating is None:
        return None
    return {
        "value": rating.value,
        "reasons": list(rating.reasons),
        "comment": rating.comment,
        "correction": rating.correction,
        "created_at": rating.created_at.isoformat(),
    }
