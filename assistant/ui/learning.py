"""The learning page: tonight's lessons, the night as it runs, what the last one found out, and which version serves.

It starts no training. "Learn now" is a row in the ledger, which whoever runs the nights takes up; the page polls the
ledger, so that a night that the clock or a command line started is seen too, and shows everything anew when one ends.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import gradio as gr

from assistant import feedback, versions
from assistant.nights import request_night
from assistant.turn import Assistant
from assistant.ui import tables
from assistant.ui.chat import warn
from assistant.ui.theme import header
from memory.errors import NightschoolError
from memory.records import BASE, AdapterState, LessonState, Night

SECONDS_BETWEEN_POLLS = 1
NO_REPORT = (
    "### Nothing was learned yet\n"
    "Rate some answers in the chat, best with a better answer of your own. Then press **Learn now**, or wait for the"
    " night. What was learned, and what was not, will be told here."
)

Updates = dict[Any, Any]


def build(pages: gr.Blocks, assistant: Assistant) -> None:
    """Lay the page out in the open Blocks, and wire it."""
    learning = Learning(assistant)
    with gr.Column(elem_id="learning-page", elem_classes="page"):
        gr.HTML(header("learning"))
        learning.lay_out()
    learning.wire(pages)


class Learning:
    """The page's widgets and what happens on them. All that it shows is read from the ledger each time."""

    def __init__(self, assistant: Assistant) -> None:
        self._assistant = assistant

    # ------------------------------------------------------------------ layout

    def lay_out(self) -> None:
        self.timer = gr.Timer(SECONDS_BETWEEN_POLLS)
        self.seen = gr.State(None)
        with gr.Row(elem_classes="title"):
            gr.HTML("<h1>Learning</h1><p>Ratings become lessons; a night trains them; an exam decides what serves.</p>")
            self.learn = gr.Button("Learn now", variant="primary", elem_id="learn-now", scale=0, min_width=140)
        self.progress = gr.HTML(visible=False, elem_id="night-progress")
        gr.HTML("<h2>The last night</h2>")
        self.report = gr.Markdown(NO_REPORT, elem_id="night-report")
        gr.HTML("<h2>Lessons</h2>")
        self.lessons = gr.HTML(elem_id="lessons")
        with gr.Row(elem_classes="actions", visible=False) as self.undoing:
            self.lesson = gr.Dropdown([], label="Lesson to undo", elem_id="lesson", scale=1)
            self.undo = gr.Button("Undo", elem_id="undo", scale=0, min_width=110)
        gr.HTML("<h2>Versions</h2>")
        self.versions = gr.HTML(elem_id="versions")
        with gr.Row(elem_classes="actions", visible=False) as self.choosing:
            self.version = gr.Dropdown([], label="Version to serve", elem_id="version", scale=1)
            self.promote = gr.Button("Promote", elem_id="promote", scale=0, min_width=110)
            self.rollback = gr.Button("Roll back", elem_id="rollback", scale=0, min_width=110)

    def wire(self, pages: gr.Blocks) -> None:
        """Connect the widgets; no endpoint is offered to API clients."""
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        night = [self.progress, self.seen]
        tables_ = [self.report, self.lessons, self.lesson, self.undoing, self.versions, self.version, self.choosing]
        everything = [*night, *tables_]
        pages.load(self.everything, None, everything, **hidden)
        self.timer.tick(self.on_tick, self.seen, everything, **hidden)
        self.learn.click(self.on_learn, None, everything, **hidden)
        self.undo.click(self.on_undo, self.lesson, everything, **hidden)
        self.promote.click(self.on_promote, self.version, everything, **hidden)
        self.rollback.click(self.on_rollback, None, everything, **hidden)

    # ------------------------------------------------------------------ what happens

    def on_learn(self) -> Updates:
        try:
            request_night(self._assistant)
        except NightschoolError as error:
            warn(error)
        return self.everything()

    def on_tick(self, seen: str | None) -> Any:
        """While a night goes on, only what it says of itself; when one has ended, the page anew; else nothing."""
        night = self._going_on()
        if night:
            return self._night(night)
        return gr.skip() if seen == self._newest() else self.everything()

    def on_undo(self, lesson_id: str | None) -> Updates:
        if not lesson_id:
            gr.Warning("Choose a lesson first.")
            return self.everything()
        try:
            assistant = self._assistant
            feedback.undo_lesson(assistant.ledger, lesson_id, clock=assistant.clock, new_id=assistant.new_id)
        except NightschoolError as error:
            warn(error)
        return self.everything()

    def on_promote(self, version: str | None) -> Updates:
        if not version:
            gr.Warning("Choose a version first.")
            return self.everything()
        home, model = self._assistant.settings.home, self._assistant.engine.model_id
        return self._serve(lambda: versions.promote(self._assistant.ledger, home, version, model=model))

    def on_rollback(self) -> Updates:
        home, model = self._assistant.settings.home, self._assistant.engine.model_id
        return self._serve(lambda: versions.roll_back(self._assistant.ledger, home, model=model))

    def _serve(self, switch: Callable[[], object]) -> Updates:
        try:
            switch()
        except NightschoolError as error:
            warn(error)
        else:
            active = self._assistant.ledger.active_adapter()
            gr.Info(f"Version {active.version} serves now." if active else "The base model serves now.")
        return self.everything()

    # ------------------------------------------------------------------ how the page stands

    def everything(self) -> Updates:
        ledger = self._assistant.ledger
        lessons, adapters, nights = ledger.lessons(newest_first=True), ledger.adapters(), ledger.nights()
        shown = lessons[: tables.SHOWN]
        undoable = [(tables.short(one.question), one.id) for one in shown if one.state is not LessonState.UNDONE]
        may_serve = [a.version for a in adapters if a.state is not AdapterState.REJECTED]
        ended = next((night for night in nights if night.status.ended), None)
        return {
            **self._night(self._going_on()),
            self.report: report(ended) if ended else NO_REPORT,
            self.lessons: tables.lessons(lessons),
            self.lesson: gr.Dropdown(undoable, value=None),
            self.undoing: gr.Row(visible=bool(undoable)),
            self.versions: tables.versions(adapters),
            self.version: gr.Dropdown([*may_serve, BASE], value=None),
            self.choosing: gr.Row(visible=bool(adapters)),
        }

    def _going_on(self) -> Night | None:
        return next((night for night in self._assistant.ledger.nights(limit=10) if not night.status.ended), None)

    def _newest(self) -> str:
        """What tells whether a night has begun or ended since."""
        return " ".join(f"{night.id} {night.status}" for night in self._assistant.ledger.nights(limit=1))

    def _night(self, night: Night | None) -> Updates:
        shown = gr.HTML(tables.progress(night) if night else "", visible=night is not None)
        return {self.progress: shown, self.seen: self._newest()}


def report(night: Night) -> str:
    """Markdown: what the night wrote about itself, or its status and reasons where it wrote nothing."""
    if night.report:
        try:
            return (Path(night.report) / "report.md").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            pass
    ended: datetime = night.ended_at or night.created_at
    status = night.status.replace("_", " ")
    return "\n".join([f"### Night of {ended:%Y-%m-%d}: {status}", *(f"- {reason}" for reason in night.reasons)])
