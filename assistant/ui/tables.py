"""HTML for the learning page: tables, and a night's progress. Pure; every text is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape

from memory.records import Adapter, Lesson, LessonEvent, Night, NightStatus

STAGES = ("collect", "before", "replay", "train", "after", "decide", "publish")
QUEUED = "waits to be taken up"
SHOWN = 200
"""Rows of a table: a browser should not choke on a year of ratings."""


def lessons(found: Sequence[Lesson]) -> str:
    """One row a lesson, as they come, each with its life; the first `SHOWN` of them."""
    if not found:
        return _empty("No lessons yet. Every thumb you give in the chat becomes one.")
    rows = [
        (escape(short(one.question)), _wanted(one), _time(one.created_at), _badge(str(one.state)), _life(one))
        for one in found[:SHOWN]
    ]
    older = f"<p class='older'>and {len(found) - SHOWN} older ones</p>" if len(found) > SHOWN else ""
    return table(("Question", "Wanted answer", "Rated", "State", "Reason"), rows) + older


def versions(found: Sequence[Adapter]) -> str:
    """One row a version, as they come."""
    if not found:
        return _empty("No versions yet: the base model serves. A night that passes its exam makes the first.")
    rows = [
        (
            f"<b>{escape(one.version)}</b>",
            _badge(str(one.state)),
            _time(one.created_at),
            f"<code>{escape(short(one.night_id, 13))}</code>",
            escape(one.reason),
            f"<code title='{escape(one.sha256)}'>{escape(one.sha256[:12])}</code>",
        )
        for one in found
    ]
    return table(("Version", "State", "Made", "Night", "Reason", "SHA-256"), rows)


def progress(night: Night) -> str:
    """The stages with the present one marked, a bar, and what it says of itself."""
    at = STAGES.index(night.stage) if night.stage in STAGES else -1
    steps = "".join(
        f"<li class='{'done' if i < at else 'now' if i == at else 'to-come'}'"
        f"{' aria-current=step' if i == at else ''}>{stage}</li>"
        for i, stage in enumerate(STAGES)
    )
    percent = round(night.progress * 100)
    waiting = night.status is NightStatus.QUEUED
    detail = escape(QUEUED if waiting else night.detail)
    return (
        f"<div class='night'><div class='line'><b>{'Queued' if waiting else 'Learning'}</b>"
        f"<span>{detail}</span><span class='percent'>{percent}%</span></div>"
        f"<progress max='100' value='{percent}' aria-label='How far the night is'></progress><ol>{steps}</ol></div>"
    )


def short(text: str, limit: int = 120) -> str:
    """The text on one line, cut where it is longer than `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def _wanted(lesson: Lesson) -> str:
    if lesson.wanted:
        return escape(short(lesson.wanted))
    return f"<i>not:</i> {escape(short(lesson.unwanted or ''))}"


def _life(lesson: Lesson) -> str:
    now = escape(lesson.reason)
    if len(lesson.events) < 2:
        return now
    steps = "".join(f"<li>{_event(event)}</li>" for event in lesson.events)
    return f"<details><summary>{now}</summary><ol>{steps}</ol></details>"


def _event(event: LessonEvent) -> str:
    where = f" in {escape(event.adapter)}" if event.adapter else ""
    return f"{_time(event.at)} <b>{escape(str(event.state))}{where}</b>: {escape(event.reason)}"


def _badge(state: str) -> str:
    return f"<span class='badge {state.replace(' ', '-')}'>{escape(state)}</span>"


def _time(at: datetime) -> str:
    return f"<time datetime='{at.isoformat()}'>{at:%Y-%m-%d %H:%M}</time>"


def _empty(text: str) -> str:
    return f"<p class='card empty'>{text}</p>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Each cell bears its column's name, which the style shows in place of the head where the screen is narrow."""
    columns = "".join(f"<th scope='col'>{name}</th>" for name in head)
    lines = (
        "".join(f"<td data-label='{name}'>{cell}</td>" for name, cell in zip(head, row, strict=True)) for row in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<div class='card table'><table><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
