"""Ratings, the lessons that they become, the versions that nights make of them, and the nights."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, ConfigDict

from assistant import feedback, wire
from assistant.accounts import allowed
from assistant.door import Me
from assistant.live import live
from assistant.nights import request_night
from assistant.routes.chat import Name
from assistant.turn import Assistant
from memory.accounts import Role
from memory.errors import BadInput
from memory.records import BASE, LessonState


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("it is 1, -1 or 0, not a truth value")  # which Python would take for 1 and 0
    return value


class FeedbackRequest(BaseModel):
    """`POST /v1/feedback`."""

    model_config = ConfigDict(extra="forbid")

    exchange_id: Name
    value: Annotated[Literal[1, -1, 0], BeforeValidator(_no_truth)]
    reasons: list[str] = []
    comment: str = ""
    correction: str | None = None


def routes(assistant: Assistant) -> APIRouter:
    """The routes over `assistant`."""
    router = APIRouter()

    @router.post("/v1/feedback")
    def rate(request: FeedbackRequest, who: Me) -> dict[str, Any]:
        if request.value == 0 and (request.reasons or request.comment or request.correction):
            raise BadInput("value 0 takes the rating back: reasons, comment and correction go with 1 or -1")
        rating = feedback.rate(
            live(assistant),
            request.exchange_id,
            request.value,
            reasons=request.reasons,
            comment=request.comment,
            correction=request.correction,
            user=who.id,
            trusted=who.role.may(Role.TEACHER),
        )
        lessons = [x for x in assistant.ledger.lessons() if rating and x.rating_id == rating.id]
        return {
            "rating_id": rating.id if rating else None,
            "exchange_id": request.exchange_id,
            "value": request.value,
            "lesson": wire.lesson(lessons[0]) if lessons else None,
        }

    @router.get("/v1/lessons")
    def lessons(who: Me, state: LessonState | None = None) -> dict[str, Any]:
        found = assistant.ledger.lessons(states=[state] if state else None, newest_first=True)
        seen = [lesson for lesson in found if lesson.user == who.id or who.role.may(Role.TEACHER)]
        return {"lessons": [wire.lesson(lesson) for lesson in seen]}

    @router.get("/v1/adapters")
    def adapters() -> dict[str, Any]:
        active = assistant.ledger.active_adapter()
        return {
            "active": active.version if active else BASE,
            "adapters": [wire.adapter(adapter) for adapter in assistant.ledger.adapters()],
        }

    @router.post("/v1/nights", status_code=202)
    def start_night(who: Me) -> dict[str, Any]:
        allowed(who, Role.TEACHER)
        return wire.night(request_night(assistant))

    @router.get("/v1/nights")
    def nights() -> dict[str, Any]:
        assistant.ledger.reap_nights(at=assistant.clock())
        return {"nights": [wire.night(night, report=False) for night in assistant.ledger.nights()]}

    @router.get("/v1/nights/{night_id}")
    def night(night_id: str, who: Me) -> dict[str, Any]:
        assistant.ledger.reap_nights(at=assistant.clock())
        # A report has everybody's questions in it.
        return wire.night(assistant.ledger.night(night_id), report=who.role.may(Role.TEACHER))

    return router
