"""The learning page: tonight's lessons, the night as it runs, what the last one found out, and which version serves.

It starts no training. "Learn now" is a row in the ledger, which whoever runs the nights takes up; the page polls the
ledger, so that a night that the clock or a command line started is seen too, and shows everything anew when one ends.

Users see their own lessons and how nights ended; teachers see everybody's and the reports, and decide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from assistant import feedback, review, versions
from assistant.chinese import said
from assistant.live import OFF, change
from assistant.nights import request_night
from assistant.review import DECIDABLE
from assistant.texts import Language, text
from assistant.ui import reports, tables
from assistant.ui.markup import act_button, asked, both, dialog, field
from assistant.ui.shell import HIDDEN, House, Updates, acting, board, header, i18n, lang, outcome, pressed, told
from memory.accounts import Account, Role
from memory.errors import BadInput, NotFound
from memory.records import BASE, Lesson, Night

SECONDS_BETWEEN_POLLS = 1
NIGHTS = 30
"""Nights that are listed, and whose reports are read for the plots."""

DIALOGS = "".join(
    (
        dialog(
            "edit-dialog",
            "lessons.edit.title",
            "<p class='quiet' data-fill='question'></p>"
            + field("wanted", "thumb.better", kind="area", more="required"),
            "lessons.edit.do",
        ),
        dialog(
            "undo-dialog", "lessons.undo.title", asked("question", "lessons.undo.means"), "lessons.undo", danger=True
        ),
        dialog(
            "rollback-dialog",
            "versions.rollback.title",
            asked("serves", "versions.rollback.means"),
            "versions.rollback",
            danger=True,
            before="rollback",
            about="#versions [data-serves]",
        ),
        dialog(
            "promote-dialog",
            "versions.promote.title",
            asked("version", "versions.promote.means"),
            "versions.promote",
        ),
        dialog(
            "cancel-dialog",
            "night.cancel.title",
            f"<p>{both('night.cancel.means')}</p>",
            "night.cancel.do",
            danger=True,
        ),
        dialog(
            "clock-dialog",
            "clock.title",
            f"<p class='quiet'>{both('clock.about')}</p>{field('at', 'clock.at', kind='time', more='required')}",
            "dialog.save",
        ),
    )
)


def build(pages: gr.Blocks, house: House) -> None:
    """Lay the page out in the open Blocks, and wire it."""
    learning = Learning(house)
    with gr.Column(elem_id="learning-page", elem_classes=["page", "wide"]):
        gr.HTML(header("learning"))
        learning.lay_out()
    learning.wire(pages)


class Learning:
    """The page's widgets and what happens on them. All that it shows is read from the ledger each time."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._acts: dict[str, tuple[Role, Callable[[Account, dict[str, str], Language], Updates | None]]] = {
            "approve": (Role.TEACHER, self._approve),
            "hold": (Role.TEACHER, self._hold),
            "edit": (Role.TEACHER, self._edit),
            "undo": (Role.USER, self._undo),
            "cancel": (Role.TEACHER, self._cancel),
            "promote": (Role.TEACHER, self._promote),
            "compare": (Role.TEACHER, self._compare),
            "report": (Role.TEACHER, self._report),
            "clock": (Role.ADMIN, self._clock),
        }
        """What a button may do, and the role that it takes."""

    # ------------------------------------------------------------------ layout

    def lay_out(self) -> None:
        self.timer = gr.Timer(SECONDS_BETWEEN_POLLS)
        self.seen = gr.State(None)
        gr.HTML(DIALOGS)
        with gr.Row(elem_classes="title"):
            gr.HTML(f"<h1>{both('nav.learning')}</h1><p>{both('learning.about')}</p>")
            self.learn = gr.Button(i18n("learning.now"), variant="primary", elem_id="learn-now", scale=0, min_width=140)
        self.clock = board("clock")
        self.progress = board("night-progress", visible=False)
        gr.HTML(f"<h2>{both('learning.last')}</h2>")
        self.report = gr.Markdown("", elem_id="night-report")
        self.plots = gr.HTML(elem_id="plots")
        gr.HTML(f"<h2>{both('learning.lessons')}</h2>")
        self.lessons = board("lessons")
        gr.HTML(f"<h2>{both('learning.versions')}</h2>")
        self.versions = board("versions")
        with gr.Row(elem_classes="actions", visible=False) as self.choosing:
            self.rollback = gr.Button(i18n("versions.rollback"), size="sm", elem_id="rollback", scale=0, min_width=110)
        self.comparison = gr.HTML(visible=False, elem_id="comparison")
        gr.HTML(f"<h2>{both('learning.nights')}</h2>")
        self.nights = board("nights")
        self.outcome = outcome()

    def wire(self, pages: gr.Blocks) -> None:
        """Connect the widgets."""
        boards = [self.clock, self.progress, self.lessons, self.versions, self.nights]
        everything = [*boards, self.seen, self.learn, self.report, self.plots, self.choosing, self.comparison]
        pages.load(self.on_load, None, everything, **HIDDEN)
        self.timer.tick(self.on_tick, self.seen, everything, **HIDDEN)
        self.learn.click(self.on_learn, None, everything, **HIDDEN)
        self.rollback.click(self.on_rollback, None, everything, **HIDDEN)
        for widget in boards:
            widget.select(self.on_act, None, [*everything, self.outcome], **HIDDEN)

    # ------------------------------------------------------------------ what happens

    @told
    def on_load(self, request: gr.Request) -> Updates:
        return self._everything(self._house.who(request), lang(request))

    @told
    def on_tick(self, seen: str | None, request: gr.Request) -> Any:
        """While a night goes on, only what it says of itself; when one has ended, the page anew; else nothing."""
        who = self._house.who(request)
        night = self._going_on()
        if night:
            return self._night(night, who, lang(request))
        return gr.skip() if seen == self._newest() else self._everything(who, lang(request))

    @told
    def on_learn(self, request: gr.Request) -> Updates:
        who = self._house.who(request, Role.TEACHER)
        night = request_night(self._house.assistant)
        self._house.note(who, "night asked for", night.id)
        return self._everything(who, lang(request))

    @told
    def on_rollback(self, request: gr.Request) -> Updates:
        who, assistant = self._house.who(request, Role.TEACHER), self._house.assistant
        model = assistant.engine.model_id
        version = versions.roll_back(
            assistant.ledger, assistant.settings.home, model=model, admit=assistant.engine.admit
        )
        self._serves(version, who, lang(request))
        return self._everything(who, lang(request))

    @acting
    def on_act(self, act: gr.EventData, request: gr.Request) -> Updates:
        sent, language = pressed(act), lang(request)
        found = self._acts.get(sent.get("act", ""))
        if found is None:
            raise BadInput(f"there is no button {sent.get('act', '')[:40]!r} on this page")
        least, do = found
        who = self._house.who(request, least)
        return do(who, sent, language) or self._everything(who, language)

    def _approve(self, who: Account, sent: dict[str, str], _: Language) -> None:
        review.approve(self._house.now, sent.get("id", ""), by=who)

    def _hold(self, who: Account, sent: dict[str, str], _: Language) -> None:
        review.hold(self._house.now, sent.get("id", ""), by=who)

    def _edit(self, who: Account, sent: dict[str, str], _: Language) -> None:
        review.edit(self._house.now, sent.get("id", ""), sent.get("wanted", ""), by=who)

    def _undo(self, who: Account, sent: dict[str, str], _: Language) -> None:
        assistant = self._house.assistant
        lesson = assistant.ledger.lesson(sent.get("id", ""))
        if lesson.user != who.id and not who.role.may(Role.TEACHER):
            raise NotFound("lesson", lesson.id)
        feedback.undo_lesson(assistant.ledger, lesson.id, clock=assistant.clock, new_id=assistant.new_id, user=who.id)
        self._house.note(who, "lesson undone", lesson.id)

    def _cancel(self, who: Account, sent: dict[str, str], _: Language) -> None:
        review.cancel_night(self._house.assistant, sent.get("id", ""), by=who)

    def _promote(self, who: Account, sent: dict[str, str], language: Language) -> None:
        assistant, version = self._house.assistant, sent.get("version", "")
        model = assistant.engine.model_id
        versions.promote(assistant.ledger, assistant.settings.home, version, model=model, admit=assistant.engine.admit)
        self._serves(version, who, language)

    def _compare(self, _: Account, sent: dict[str, str], language: Language) -> Updates:
        ledger, one = self._house.assistant.ledger, sent.get("version", "")
        active, known = ledger.active_adapter(), ledger.adapters()
        other = active.version if active else BASE
        if one == other:
            other = versions.previous_version(known)
        found = {a.version: reports.read(ledger.night(a.night_id)) or {} for a in known if a.version in (one, other)}
        shown = reports.compared(one, other, found, language)
        return {self.comparison: gr.HTML(shown, visible=True)}

    def _report(self, _: Account, sent: dict[str, str], language: Language) -> Updates:
        night = self._house.assistant.ledger.night(sent.get("id", ""))
        return {self.report: report(night, language), self.plots: self._plots(night, language)}

    def _clock(self, who: Account, sent: dict[str, str], _: Language) -> None:
        assistant = self._house.assistant
        given = {"nightly_at": sent.get("at") or OFF}
        change(assistant.ledger, given, at=assistant.clock(), by=who.name)

    def _serves(self, version: str, who: Account, language: Language) -> None:
        self._house.note(who, "version promoted", version)
        gr.Info(escape(text("versions.serves", language, version=version)))

    # ------------------------------------------------------------------ how the page stands

    def _everything(self, who: Account, language: Language) -> Updates:
        ledger, teacher = self._house.assistant.ledger, who.role.may(Role.TEACHER)
        adapters, nights = ledger.adapters(), ledger.nights(limit=NIGHTS)
        ended = [night for night in nights if night.status.ended]
        last = next((night for night in ended if night.report), None)
        return {
            **self._night(self._going_on(), who, language),
            self.clock: self._set_for(who, language),
            self.learn: gr.Button(visible=teacher),
            self.report: _last_told(ended[0], last, teacher, language) if ended else text("learning.none", language),
            self.plots: self._plots(last, language) if teacher else "",
            self.lessons: tables.lessons(
                self._lessons(who, language), language, teacher=teacher, names=self._names(teacher)
            ),
            self.versions: tables.versions(adapters, language, teacher=teacher),
            self.choosing: gr.Row(visible=bool(adapters) and teacher),
            self.comparison: gr.HTML(visible=False),
            self.nights: tables.nights(ended, language, teacher=teacher),
        }

    def _lessons(self, who: Account, language: Language) -> list[Lesson]:
        ledger, told_ = self._house.assistant.ledger, text("use.untrained", language)
        kept_out = ledger.not_to_be_trained()
        return [
            replace(lesson, reason=told_) if lesson.exchange_id in kept_out and lesson.state in DECIDABLE else lesson
            for lesson in ledger.lessons(newest_first=True)
            if who.role.may(Role.TEACHER) or lesson.user == who.id
        ]

    def _names(self, teacher: bool) -> dict[str, str]:
        """Whose a lesson is, where there are several whose it could be."""
        return {account.id: account.name for account in self._house.accounts.all()} if teacher else {}

    def _plots(self, night: Night | None, language: Language) -> str:
        ledger = self._house.assistant.ledger
        adapters = ledger.adapters()
        told_ = [(a.version, reports.read(ledger.night(a.night_id))) for a in reversed(adapters[:NIGHTS])]
        shown = reports.read(night) if night else None
        plots = [
            reports.scores(adapters, language),
            reports.worse(adapters, language),
            reports.losses(shown, language),
            reports.retention([(version, report) for version, report in told_ if report], language),
        ]
        return f"<div class='plots'>{''.join(plots)}</div>" if any(plots) else ""

    def _set_for(self, who: Account, language: Language) -> str:
        at = self._house.now.settings.nightly_at
        off = "clock.off" if who.role.may(Role.TEACHER) else "clock.asked"
        said = text("clock.every", language, at=at) if at else text(off, language)
        buttons = ""
        if who.role.may(Role.ADMIN):
            buttons = act_button("clock", text("clock.set", language), {"at": at or "03:00"}, ask="clock-dialog")
            buttons += act_button("clock", text("clock.stop", language)) if at else ""
        return f"<p class='quiet'>{escape(said)} <span class='acts'>{buttons}</span></p>"

    def _going_on(self) -> Night | None:
        nights = self._house.assistant.ledger.nights(limit=10)
        return next((night for night in nights if not night.status.ended), None)

    def _newest(self) -> str:
        """What tells whether a night has begun or ended since."""
        return " ".join(f"{night.id} {night.status}" for night in self._house.assistant.ledger.nights(limit=1))

    def _night(self, night: Night | None, who: Account, language: Language) -> Updates:
        now, teacher = self._house.assistant.clock(), who.role.may(Role.TEACHER)
        shown = tables.progress(night, now, language, teacher=teacher) if night else ""
        return {self.progress: gr.HTML(shown, visible=night is not None), self.seen: self._newest()}


def _last_told(ended: Night, last: Night | None, teacher: bool, language: Language) -> str:
    """How the newest night `ended` and, where it was cancelled or failed before it could tell anything, the `last` that
    did.
    """
    if last is None or last.id == ended.id:
        return _told(ended, teacher, language)
    at = (last.ended_at or last.created_at).astimezone()
    says = text("report.last", language, at=f"{at:%Y-%m-%d %H:%M}")
    return f"{_verdict(ended, language)}\n\n*{says}*\n\n{_told(last, teacher, language)}"


def _told(night: Night, teacher: bool, language: Language) -> str:
    """A report has everybody's questions in it: who is no teacher reads how the night ended."""
    return (
        report(night, language) if teacher else _verdict(night, language) + f"\n\n*{text('report.teachers', language)}*"
    )


def report(night: Night, language: Language) -> str:
    """Markdown: what the night wrote about itself, or its status and reasons where it wrote nothing."""
    if night.report:
        try:
            return reports.told((Path(night.report) / "report.md").read_text(encoding="utf-8"), language)
        except (OSError, UnicodeDecodeError):
            pass
    return _verdict(night, language)


def _verdict(night: Night, language: Language) -> str:
    ended: datetime = night.ended_at or night.created_at
    title = f"{text('night.of', language, day=f'{ended:%Y-%m-%d}')}: {tables.state_text(night.status, language)}"
    return "\n".join([f"### {title}", *(f"- {said(reason, language)}" for reason in night.reasons)])
