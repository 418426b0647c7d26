"""HTML for the learning page: tables, and a night's progress. Pure; every text is escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape

from assistant.chinese import said
from assistant.review import DECIDABLE
from assistant.texts import Language, text
from assistant.ui.markup import act_button
from memory.records import Adapter, AdapterState, Lesson, LessonEvent, LessonState, Night, NightStatus

STAGES = ("collect", "before", "replay", "train", "after", "decide", "publish")
PART_OF = {"candidates": "decide", "bisect": "decide"}
"""Stages that few nights have → the one that they are shown as."""
SHOWN = 200
"""Rows of a table: a browser should not choke on a year of ratings."""


def lessons(
    found: Sequence[Lesson],
    language: Language = "en",
    *,
    teacher: bool = False,
    names: Mapping[str, str] | None = None,
) -> str:
    """What waits for the next night, and what became of the rest: one row a lesson, each with its life."""
    if not found:
        return empty(text("lessons.none", language))
    waiting = [one for one in found if one.state in DECIDABLE]
    rest = [one for one in found if one.state not in DECIDABLE]
    parts = []
    for key, part in (("lessons.waiting", waiting), ("lessons.rest", rest)):
        if part:
            parts += [f"<h3>{text(key, language)}</h3>", _lessons(part, language, teacher, names or {})]
    return "".join(parts)


def _lessons(found: Sequence[Lesson], language: Language, teacher: bool, names: Mapping[str, str]) -> str:
    head = [text(f"lessons.{name}", language) for name in ("question", "wanted", "rated", "state", "reason", "do")]
    rows = [
        [
            escape(short(one.question)) + _by(one, names),
            _wanted(one, language),
            time(one.created_at),
            badge(one.state, language),
            _life(one, language),
            _lesson_buttons(one, language, teacher),
        ]
        for one in found[:SHOWN]
    ]
    older = text("lessons.older", language, n=len(found) - SHOWN) if len(found) > SHOWN else ""
    return table(head, rows) + (f"<p class='older'>{older}</p>" if older else "")


def versions(found: Sequence[Adapter], language: Language = "en", *, teacher: bool = False) -> str:
    """One row a version, as they come, with the base at the end."""
    if not found:
        return empty(text("versions.none", language))
    head = [text(f"versions.{name}", language) for name in ("version", "state", "made", "reason", "sha", "do")]
    rows = [
        [
            # By this the dialog before rolling back names it.
            f"<b{f' data-serves={one.version}' if one.state is AdapterState.ACTIVE else ''}>{escape(one.version)}</b>",
            badge(one.state, language),
            time(one.created_at),
            escape(short(said(one.reason, language), 240)),
            f"<code title='{escape(one.sha256)}'>{escape(one.sha256[:12])}</code>",
            _version_buttons(one, language) if teacher else "",
        ]
        for one in found
    ]
    if any(one.state is AdapterState.ACTIVE for one in found):
        serve = _promote("base", language) if teacher else ""
        rows.append(["<b>base</b>", "", "", escape(text("versions.base", language)), "", serve])
    return table(head, rows)


def progress(night: Night, now: datetime | None = None, language: Language = "en", *, teacher: bool = False) -> str:
    """The stages with the present one marked, a bar, what it says of itself, and how long it may take yet."""
    here = PART_OF.get(night.stage, night.stage)
    at = STAGES.index(here) if here in STAGES else -1
    steps = "".join(
        f"<li class='{'done' if i < at else 'now' if i == at else 'to-come'}'"
        f"{' aria-current=step' if i == at else ''}>{text(f'stage.{stage}', language)}</li>"
        for i, stage in enumerate(STAGES)
    )
    percent = round(night.progress * 100)
    waiting = night.status is NightStatus.QUEUED
    detail = escape(text("night.waits", language) if waiting else said(night.detail, language))
    title = text("night.queued" if waiting else "night.learning", language)
    given = {"id": night.id}
    ask = act_button("cancel", text("night.cancel", language), given, ask="cancel-dialog", danger=True)
    cancel = ask if teacher else ""
    return (
        f"<div class='night'><div class='line'><b>{title}</b><span>{detail}</span>"
        f"<span class='percent'>{percent}%{_left(night, now, language)}</span>{cancel}</div>"
        f"<progress max='100' value='{percent}' aria-label='{text('night.progress', language)}'></progress>"
        f"<ol>{steps}</ol></div>"
    )


def minutes_left(night: Night, now: datetime) -> int | None:
    """By how long it has taken so far; None while that says nothing yet."""
    if night.started_at is None or night.progress < 0.03:
        return None
    spent = (now - night.started_at).total_seconds() / 60
    return max(0, round(spent * (1 - night.progress) / night.progress))


def nights(found: Sequence[Night], language: Language = "en", *, teacher: bool = False) -> str:
    """One row a night that has ended, as they come."""
    if not found:
        return empty(text("nights.none", language))
    head = [text(f"nights.{name}", language) for name in ("ended", "status", "version", "why", "do")]
    rows = [
        [
            time(one.ended_at or one.created_at),
            badge(one.status, language),
            escape(one.adapter or ""),
            escape(short("; ".join(said(reason, language) for reason in one.reasons), 240)),
            act_button("report", text("nights.report", language), {"id": one.id}) if teacher and one.report else "",
        ]
        for one in found
    ]
    return table(head, rows)


def short(text: str, limit: int = 120) -> str:
    """The text on one line, cut where it is longer than `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def badge(state: str, language: Language) -> str:
    """A state as a small label."""
    name = state.replace("_", " ")
    return f"<span class='badge {escape(name.replace(' ', '-'))}'>{escape(state_text(name, language))}</span>"


def state_text(state: str, language: Language) -> str:
    """What a state is called."""
    return text(f"state.{state.replace('_', ' ')}", language)


def time(at: datetime) -> str:
    """A time, in the server's zone."""
    return f"<time datetime='{at.isoformat()}'>{at.astimezone():%Y-%m-%d %H:%M}</time>"


def empty(text: str) -> str:
    """What to do where there is nothing to show."""
    return f"<p class='card empty'>{escape(text)}</p>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Each cell bears its column's name, which the style shows in place of the head where the screen is narrow. A last
    column with nothing in it, where there is nothing that one may do, is left out.
    """
    if rows and not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    columns = "".join(f"<th scope='col'>{name}</th>" for name in head)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td data-label='{escape(name)}'>{cell}</td>" if cell else "<td class='none'></td>"
            for name, cell in zip(head, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f"<div class='card table' tabindex='0' role='group'><table><thead><tr>{columns}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


# ---------------------------------------------------------------------- cells


def _by(lesson: Lesson, names: Mapping[str, str]) -> str:
    name = names.get(lesson.user)
    return f"<br><small class='quiet'>{escape(name)}</small>" if name else ""


def _lesson_buttons(one: Lesson, language: Language, teacher: bool) -> str:
    buttons = []
    if teacher and one.state in DECIDABLE:
        if one.state is LessonState.HELD and one.wanted is not None:
            buttons.append(act_button("approve", text("lessons.approve", language), {"id": one.id}))
        if one.hold is None:
            buttons.append(act_button("hold", text("lessons.hold", language), {"id": one.id}))
        given = {"id": one.id, "question": short(one.question, 200), "wanted": one.wanted or ""}
        buttons.append(act_button("edit", text("lessons.edit", language), given, ask="edit-dialog"))
    if one.state is not LessonState.UNDONE:
        given = {"id": one.id, "question": short(one.question, 200)}
        buttons.append(act_button("undo", text("lessons.undo", language), given, ask="undo-dialog", danger=True))
    return f"<div class='acts'>{''.join(buttons)}</div>" if buttons else ""


def _version_buttons(one: Adapter, language: Language) -> str:
    buttons = [act_button("compare", text("versions.compare", language), {"version": one.version})]
    if one.state is not AdapterState.REJECTED and one.state is not AdapterState.ACTIVE:
        buttons.append(_promote(one.version, language))
    return f"<div class='acts'>{''.join(buttons)}</div>"


def _promote(version: str, language: Language) -> str:
    return act_button("promote", text("versions.promote", language), {"version": version}, ask="promote-dialog")


def _left(night: Night, now: datetime | None, language: Language) -> str:
    left = minutes_left(night, now) if now else None
    return "" if left is None else f" · {text('night.left', language, n=left)}"


def _wanted(lesson: Lesson, language: Language) -> str:
    if lesson.wanted:
        return escape(short(lesson.wanted))
    return f"<i>{text('lessons.not', language)}</i> {escape(short(lesson.unwanted or ''))}"


def _life(lesson: Lesson, language: Language) -> str:
    now = escape(said(lesson.reason, language))
    if len(lesson.events) < 2:
        return now
    steps = "".join(f"<li>{_event(event, language)}</li>" for event in lesson.events)
    return f"<details><summary>{now}</summary><ol>{steps}</ol></details>"


def _event(event: LessonEvent, language: Language) -> str:
    where = f" ({escape(event.adapter)})" if event.adapter else ""
    why = escape(said(event.reason, language))
    return f"{time(event.at)} <b>{escape(state_text(event.state, language))}{where}</b>: {why}"
