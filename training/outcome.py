"""How nights end: what becomes of each lesson, and what the report tells. Pure, but for the clock's time handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from memory.records import BASE, Adapter, Lesson, LessonEvent, LessonState, Night, NightStatus
from training.attempt import Attempt, Given
from training.paper import Exam
from training.syllabus import Syllabus

EXAMINED = (LessonState.VERIFIED, LessonState.NOT_LEARNED)
"""What an exam says of a lesson."""

Events = tuple[tuple[str, LessonEvent], ...]
"""(lesson id, the next step of its life), in order."""


@dataclass(frozen=True)
class Outcome:
    """How a night ended, with everything that its last transaction writes. `facts` go into the report; `back_to` is an
    earlier version, or the base, that serves from now on.
    """

    status: NightStatus
    reasons: tuple[str, ...]
    adapter: Adapter | None = None
    back_to: str | None = None
    lessons: Events = ()
    drift: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def after(self, events: Events) -> Outcome:
        """With these steps of lessons before its own."""
        return replace(self, lessons=(*events, *self.lessons))


def idle(syllabus: Syllabus, reason: str, known: Mapping[str, Lesson], night: Night, at: datetime) -> Outcome:
    """There was nothing to learn."""
    lessons = _left_out(syllabus, known, night, at)
    return Outcome(NightStatus.NOTHING_TO_LEARN, (reason,), lessons=lessons, facts=_out(syllabus))


def all_taken_back(
    syllabus: Syllabus, active: Adapter, known: Mapping[str, Lesson], night: Night, at: datetime
) -> Outcome:
    """Nothing is in force that the active version was trained on: it must not serve on."""
    why = f"every lesson behind {active.version} was taken back: the base serves again"
    lessons = _left_out(syllabus, known, night, at)
    return Outcome(NightStatus.PROMOTED, (why,), back_to=BASE, lessons=lessons, facts=_out(syllabus))


def promoted(
    syllabus: Syllabus,
    adapter: Adapter,
    after: Exam,
    facts: Mapping[str, Any],
    known: Mapping[str, Lesson],
    night: Night,
) -> Outcome:
    """The candidate serves; each lesson is verified by its exam, or not learned."""
    at, version = adapter.created_at, adapter.version
    items = {item.lesson_id: item for item in syllabus.paper if item.kind in ("tonight", "earlier")}
    events = list(_left_out(syllabus, known, night, at))
    for lesson in syllabus.kept:
        item = items.get(lesson.id)
        if item is None:
            continue
        if lesson.state is not LessonState.VERIFIED:
            events.append((lesson.id, LessonEvent(at, LessonState.TRAINED, f"trained in {version}", night.id, version)))
        if after.right[item.id]:
            state, why = LessonState.VERIFIED, f"{version} answers it right"
        else:
            state, why = LessonState.NOT_LEARNED, f"asked in the exam, {version} said: {after.answers[item.id][:200]}"
        events.append((lesson.id, LessonEvent(at, state, why, night.id, version)))
    reasons = tuple(adapter.exam["reasons"])
    return Outcome(NightStatus.PROMOTED, reasons, adapter, lessons=tuple(events), facts=facts)


def asked_again(
    syllabus: Syllabus, before: Exam, active: Adapter | None, known: Mapping[str, Lesson], night: Night, at: datetime
) -> Events:
    """What the exam says of the version that serves, where it is not what its last exam said of a lesson: so that a
    correction that the weights have lost is in the prompt again, whatever becomes of tonight's adapter.
    """
    if active is None:
        return ()
    version, events = active.version, []
    for item in syllabus.paper:
        lesson = known.get(item.lesson_id or "")
        if lesson is None or item.kind not in ("tonight", "earlier"):
            continue
        state = LessonState.VERIFIED if before.right[item.id] else LessonState.NOT_LEARNED
        last = [e.state for e in lesson.events if e.adapter == version and e.state in EXAMINED]
        if last and last[-1] is not state:
            why = f"asked again, {version} " + ("answers it right" if before.right[item.id] else "said: ")
            why += "" if before.right[item.id] else before.answers[item.id][:200]
            events.append((lesson.id, LessonEvent(at, state, why, night.id, version)))
    return tuple(events)


def rejected(
    syllabus: Syllabus,
    reasons: Sequence[str],
    known: Mapping[str, Lesson],
    night: Night,
    at: datetime,
    *,
    adapter: Adapter | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Outcome:
    """The old version serves on, and tonight's lessons go back to the queue."""
    why = f"night {night.id} was rejected ({reasons[0]}): back in the queue"
    events = list(_left_out(syllabus, known, night, at))
    events += [(x.id, LessonEvent(at, LessonState.QUEUED, why, night.id)) for x in syllabus.tonight]
    facts = _out(syllabus) | dict(facts or {}) | {"syllabus": syllabus.identity}
    return Outcome(NightStatus.REJECTED, tuple(reasons), adapter, lessons=tuple(events), facts=facts)


def facts(attempt: Attempt, given: Given, *, stages: str = ".") -> dict[str, Any]:
    """What the report tells beyond the verdict: every question with both answers, what was trained, what was left
    out.

    Args:
        stages: the attempt's folder, in the night's.
    """
    syllabus, before, after, verdict = attempt.syllabus, given.before, attempt.after, attempt.verdict
    return {
        "verdict": verdict.as_json(),
        "seed": attempt.seed,
        "strength": attempt.sitting["scale"],
        "strengths_examined": [sitting["scale"] for sitting in attempt.sittings],
        "training": dict(attempt.trained),
        "replay": [question for row in given.replay if (question := row["prompt"][-1]["content"])],
        "questions": [
            {
                "id": item.id,
                "kind": item.kind,
                "lesson": item.lesson_id,
                "question": item.question,
                "wanted": item.wanted or None,
                "unwanted": item.unwanted,
                "before": before.answers[item.id],
                "after": after.answers[item.id],
                "right_before": before.right[item.id],
                "right_after": after.right[item.id],
            }
            for item in syllabus.paper
        ],
        "perplexity": {"before": before.perplexity, "after": after.perplexity, "ratio": verdict.perplexity_ratio},
        "stages": stages,
        "bisect": [one.as_json() for one in attempt.tries],
        "candidates": [dict(one) for one in attempt.candidates],
        "lessons_in": [lesson.id for lesson in syllabus.kept],
        **_out(syllabus),
        "syllabus": syllabus.identity,
    }


def graduated(syllabus: Syllabus, after: Exam, tokens: Callable[[Lesson], int]) -> dict[str, int]:
    """How many lessons the new version has in its weights, so that they leave the prompt, and how many tokens all of
    them would take there. `tokens` counts a lesson's prompt and answer.
    """
    items = {item.lesson_id: item for item in syllabus.paper if item.kind in ("tonight", "earlier")}
    known = [x for x in syllabus.kept if x.id in items and after.right[items[x.id].id] and x.wanted]
    recalled = (tokens(replace(x, history=())) - tokens(replace(x, question="", wanted="", history=())) for x in known)
    return {"lessons": len(known), "prompt_tokens": sum(recalled)}


def _out(syllabus: Syllabus) -> dict[str, Any]:
    """For the report: the lessons that cleaning left out, each with what became of it."""
    return {"lessons_out": {k: {"state": d.state, "reason": d.reason} for k, d in syllabus.dropped.items()}}


def _left_out(syllabus: Syllabus, known: Mapping[str, Lesson], night: Night, at: datetime) -> Events:
    """Events of the lessons that cleaning left out, where they say something new."""
    held = {lesson_id: (lesson.state, lesson.reason) for lesson_id, lesson in known.items()}
    return tuple(
        (lesson_id, LessonEvent(at, decision.state, decision.reason, night.id))
        for lesson_id, decision in syllabus.dropped.items()
        # One that was forgotten while the night ran has no next step.
        if lesson_id in held and held[lesson_id] != (decision.state, decision.reason)
    )
