"""Thumbs on the chat page: the rating counts at once, and a form adds why, and what would have been better.

What was said of an answer before stands in the form when it is opened again, and survives a change of mind: the other
thumb keeps comment and better answer, and drops only reasons that are not its own.
"""

from __future__ import annotations

from html import escape
from secrets import token_hex
from typing import Any, Literal

import gradio as gr

from assistant import chinese, feedback
from assistant.review import DECIDABLE
from assistant.texts import Language, text
from assistant.ui.shell import HIDDEN, House, Updates, became, drawn, i18n, lang, outcome, told, warn
from assistant.ui.tables import short, state_text
from assistant.ui.talk import Said, Talk, thumbs
from memory.accounts import Account, Role
from memory.errors import NightschoolError
from memory.records import LessonState, Rating

Rated = tuple[str, Literal[1, -1]] | None
"""The exchange and the thumb that the open form is about."""


class Thumbs:
    """The form's widgets, and what a thumb does."""

    def __init__(self, house: House) -> None:
        self._house = house

    def lay_out(self) -> None:
        self.rated = gr.State(None)
        self.refused = gr.State(0)
        self.status = gr.HTML(visible=False, elem_id="lesson-status")
        self.outcome = outcome()
        with gr.Column(visible=False, elem_id="feedback-form") as self.form:
            self.about = gr.HTML(elem_id="feedback-about")
            self.reasons = gr.CheckboxGroup([], label=i18n("thumb.why"), elem_id="feedback-reasons")
            self.correction = gr.Textbox(
                label=i18n("thumb.better"),
                placeholder=i18n("thumb.better.hint"),
                lines=2,
                max_lines=6,
                elem_id="feedback-correction",
            )
            self.comment = gr.Textbox(
                label=i18n("thumb.comment"), placeholder=i18n("thumb.optional"), elem_id="feedback-comment"
            )
            with gr.Row(elem_classes="actions"):
                self.save = gr.Button(i18n("thumb.save"), variant="primary", size="sm", elem_id="feedback-save")
                self.cancel = gr.Button(i18n("thumb.close"), size="sm", elem_id="feedback-cancel")

    @property
    def widgets(self) -> list[Any]:
        """All that `closed` sets, and what it leaves."""
        form = [self.form, self.rated, self.about, self.reasons, self.correction, self.comment]
        return [*form, self.status, self.outcome]

    def wire(self, conversation: gr.Chatbot, desk: gr.HTML, talk: gr.State) -> None:
        """Connect the widgets: one rating after another."""
        rating = {**HIDDEN, "concurrency_id": "rate", "concurrency_limit": 1}
        self.conversation = conversation
        thumbed = [*self.widgets, conversation, self.refused]
        # "multiple": each click counts, in order, or the thumb on the page and the one in the ledger could differ.
        conversation.like(self.on_thumb, talk, thumbed, trigger_mode="multiple", **rating)
        self.refused.change(self.on_refused, talk, conversation, **rating)
        desk.edit(self.on_again, talk, self.widgets, **rating)
        form = [self.rated, talk, self.reasons, self.correction, self.comment]
        self.save.click(self.on_save, form, self.widgets, **rating)
        self.cancel.click(self.closed, None, [self.form, self.rated], **rating)

    @told
    def on_thumb(self, talk: Talk, thumb: gr.LikeData, request: gr.Request) -> Updates:
        who, language = self._house.who(request), lang(request)
        value: Literal[1, -1, 0] = 1 if thumb.liked is True else -1 if thumb.liked is False else 0
        said = talk.rated_at(int(thumb.index))
        if talk.user != who.id:
            gr.Warning(text("chat.forgotten", language))
            return self._unrated(talk)
        if said is None or said.exchange_id is None:
            gr.Warning(text("thumb.temporary" if talk.temporary else "thumb.unstored", language))
            return self._unrated(talk)
        try:
            rating = self._rate(who, said.exchange_id, value, **(self._kept(said.exchange_id, value) if value else {}))
        except NightschoolError as error:
            warn(error, lang(request))
            return self._unrated(talk)
        if rating is None or value == 0:
            back = {self.status: gr.HTML(_status(text("thumb.back", language), ""), visible=True)}
            return {**self.closed(), **back, self.outcome: became(said.exchange_id)}
        return self._open(said, rating, language)

    @told
    def on_refused(self, talk: Talk, request: gr.Request) -> Any:
        """The thumbs that hold."""
        if talk.user != self._house.who(request).id:
            return gr.skip()
        known = [said.exchange_id for said in talk.visible if said.exchange_id]
        return gr.Chatbot(feedback_value=thumbs(talk, self._house.assistant.ledger.ratings(known)))

    @told
    def on_again(self, talk: Talk, act: gr.EventData, request: gr.Request) -> Any:
        """The form of an answer that was rated before."""
        who, said = self._house.who(request), talk.at(int(act._data.get("at", -1)))
        if talk.user != who.id:
            gr.Warning(text("chat.forgotten", lang(request)))
            return gr.skip()
        if said is None or said.exchange_id is None:
            return gr.skip()
        rating = self._house.assistant.ledger.rating(said.exchange_id)
        return gr.skip() if rating is None else self._open(said, rating, lang(request))

    @told
    def on_save(
        self, rated: Rated, talk: Talk, reasons: list[str], correction: str, comment: str, request: gr.Request
    ) -> Updates:
        who = self._house.who(request)
        if talk.user != who.id:
            # The form stays, with what was typed.
            gr.Warning(text("chat.forgotten", lang(request)))
            return {self.form: gr.Column(visible=True)}
        if rated is None:
            return self.closed()
        exchange_id, value = rated
        try:
            self._rate(who, exchange_id, value, reasons=reasons, correction=correction, comment=comment)
        except NightschoolError as error:
            warn(error, lang(request))
            return {self.form: gr.Column(visible=True)}
        lesson = self._lesson(exchange_id, lang(request))
        return {**self.closed(), self.status: lesson, self.outcome: became(exchange_id)}

    def closed(self, *, forget: bool = False) -> Updates:
        """Without its form; with `forget` also without what was last said of a lesson."""
        gone = {self.status: gr.HTML(visible=False)} if forget else {}
        return {self.form: gr.Column(visible=False), self.rated: None, **gone}

    def _unrated(self, talk: Talk) -> Updates:
        """Without the thumb that was refused, which the browser shows already. It draws the thumbs only where it is
        given others than before, so first without any.
        """
        return {
            **self.closed(),
            self.conversation: gr.Chatbot(feedback_value=["none"] * len(talk.visible)),
            self.refused: token_hex(4),
        }

    def _open(self, said: Said, rating: Rating, language: Language) -> Updates:
        """The form about a rating that holds, with all that it says."""
        about = text("thumb.good" if rating.value == 1 else "thumb.bad", language, question=short(said.question, 60))
        choices = [(text(f"reason.{reason}", language), reason) for reason in feedback.REASONS[rating.value]]
        return {
            self.form: gr.Column(visible=True),
            self.rated: (rating.exchange_id, rating.value),
            self.about: drawn(rating.exchange_id),
            self.reasons: gr.CheckboxGroup(choices, value=list(rating.reasons), label=about),
            self.correction: rating.correction or "",
            self.comment: rating.comment,
            self.status: self._lesson(rating.exchange_id, language),
        }

    def _kept(self, exchange_id: str, value: int) -> dict[str, Any]:
        """What was said of an answer already and goes with the thumb `value`, too."""
        held = self._house.assistant.ledger.rating(exchange_id)
        if held is None:
            return {}
        reasons = [reason for reason in held.reasons if reason in feedback.REASONS[value]]
        return {"reasons": reasons, "comment": held.comment, "correction": held.correction}

    def _rate(self, who: Account, exchange_id: str, value: Literal[1, -1, 0], **more: Any) -> Rating | None:
        trusted = who.role.may(Role.TEACHER)
        return feedback.rate(self._house.now, exchange_id, value, user=who.id, trusted=trusted, **more)

    def _lesson(self, exchange_id: str, language: Language) -> gr.HTML:
        ledger = self._house.assistant.ledger
        lesson = ledger.lesson_of(exchange_id)
        if lesson is None or lesson.state is LessonState.UNDONE:
            # The rating holds all the same.
            return gr.HTML(_status(text("thumb.nothing", language), ""), visible=True)
        _, train = ledger.use(ledger.exchange(exchange_id).conversation_id)
        reason = lesson.reason if train or lesson.state not in DECIDABLE else text("use.untrained", language)
        return gr.HTML(_status(state_text(lesson.state, language), chinese.said(reason, language)), visible=True)


def _status(state: str, reason: str) -> str:
    """HTML: a lesson's state and why."""
    because = f": {escape(reason)}" if reason else ""
    return f"<p role='status'><b>{escape(state)}</b>{because}</p>"
