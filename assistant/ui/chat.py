"""The chat page: a conversation that streams, a thumb with its form, and where the answer came from.

`Chat.answer` is the story: it walks through `assistant.turn.turn` and shows each event. The page keeps no text of its
own but the session's `Talk`; after a reload the conversation comes back from the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from html import escape
from threading import Event
from time import monotonic
from typing import Any, Literal

import gradio as gr

from assistant import feedback
from assistant.engine import Sampling
from assistant.turn import Answered, Ask, Assistant, Words, clean, turn
from assistant.ui import talk as talks
from assistant.ui.tables import short
from assistant.ui.talk import Said, Talk
from assistant.ui.theme import header
from memory.errors import NightschoolError, NotFound
from memory.records import Exchange

AGAIN_TEMPERATURE = 0.7
SECONDS_BETWEEN_UPDATES = 0.1
USER = "local"
WELCOME = (
    "## What would you like to talk about?\n"
    "I remember what you tell me at once. Rate an answer, or write a better one: I learn from it overnight."
)
LATEX = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]

WHY = {1: "What is good about", -1: "What is wrong with"}

Updates = dict[Any, Any]
"""Widget → its new value or properties."""
Attempt = tuple[Talk, str | None]
"""What the page goes back to when an answer fails: the conversation, and the text of the message box if it was sent."""
Rated = tuple[str, Literal[1, -1]] | None
"""The exchange and the thumb that the open form is about."""


def build(pages: gr.Blocks, assistant: Assistant) -> None:
    """Lay the page out in the open Blocks, and wire it."""
    chat = Chat(assistant)
    with gr.Column(elem_id="chat-page", elem_classes="page"):
        gr.HTML(header("chat"))
        chat.lay_out()
    chat.wire(pages)


def warn(error: NightschoolError) -> None:
    """One line, over the page for ten seconds."""
    gr.Warning(escape(str(error)))


class Chat:
    """The page's widgets and what happens on them. One for all sessions: what is a session's own lies in `gr.State`."""

    def __init__(self, assistant: Assistant) -> None:
        self._assistant = assistant
        self._stops: dict[str, Event] = {}
        """Session → what ends the answer that it is being given."""

    # ------------------------------------------------------------------ layout

    def lay_out(self) -> None:
        self.talk = gr.State(Talk())
        self.rated = gr.State(None)
        self.attempt = gr.State((Talk(), None))
        self.banner = gr.Markdown(visible=False, elem_id="banner")
        self.conversation = gr.Chatbot(
            elem_id="conversation",
            label="Conversation",
            show_label=False,
            container=False,
            height="100%",
            scale=1,
            layout="bubble",
            buttons=["copy"],
            placeholder=WELCOME,
            latex_delimiters=LATEX,
            allow_tags=False,
            allow_file_downloads=False,
        )
        with gr.Column(elem_id="below"):
            self.status = gr.HTML(visible=False, elem_id="lesson-status")
            self._lay_out_form()
            with gr.Accordion("Where this answer comes from", open=False, visible=False, elem_id="where-from") as where:
                self.where_text = gr.HTML()
            self.where = where
            self._lay_out_composer()

    def _lay_out_form(self) -> None:
        with gr.Column(visible=False, elem_id="feedback-form") as self.form:
            self.reasons = gr.CheckboxGroup([], label="Why?", elem_id="feedback-reasons")
            self.correction = gr.Textbox(
                label="A better answer",
                placeholder="What should it have said? This is what is learned best.",
                lines=2,
                max_lines=6,
                elem_id="feedback-correction",
            )
            self.comment = gr.Textbox(label="Comment", placeholder="Optional", elem_id="feedback-comment")
            with gr.Row(elem_classes="actions"):
                self.save = gr.Button("Save", variant="primary", size="sm", elem_id="feedback-save")
                self.cancel = gr.Button("Close", size="sm", elem_id="feedback-cancel")

    def _lay_out_composer(self) -> None:
        with gr.Row(elem_id="composer"):
            self.message = gr.Textbox(
                label="Message",
                show_label=False,
                placeholder="Write a message",
                lines=1,
                max_lines=8,
                autofocus=True,
                container=False,
                scale=1,
                elem_id="message",
                html_attributes=gr.InputHTMLAttributes(enterkeyhint="send", spellcheck=True),
            )
            self.send = gr.Button("Send", variant="primary", elem_id="send")
            self.stop = gr.Button("Stop", variant="secondary", visible=False, elem_id="stop")
        with gr.Row(elem_id="tools"):
            self.memory = gr.Checkbox(value=True, label="Use memory", container=False, elem_id="use-memory")
            self.regenerate = gr.Button("Answer again", size="sm", visible=False, elem_id="regenerate")
            self.new_chat = gr.Button("New chat", size="sm", elem_id="new-chat")

    def wire(self, pages: gr.Blocks) -> None:
        """Connect the widgets. No endpoint is offered to API clients: those have the HTTP routes."""
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        generating = {**hidden, "concurrency_id": "generate", "concurrency_limit": 1}
        rating = {**hidden, "concurrency_id": "rate", "concurrency_limit": 1}
        view = [self.conversation, self.where, self.where_text, self.banner, self.regenerate, self.new_chat]
        turning = [self.talk, self.attempt, self.message, self.send, self.stop, *view]
        form = [self.form, self.rated, self.reasons, self.correction, self.comment, self.status]

        pages.load(self.on_load, None, [self.talk, *view], **hidden)
        pages.unload(self.on_stop)
        answers = [
            gr.on(
                [self.message.submit, self.send.click],
                self.on_send,
                [self.message, self.talk, self.memory],
                turning,
                **generating,
            ),
            self.regenerate.click(self.on_regenerate, [self.talk, self.memory], turning, **generating),
        ]
        for answer in answers:
            answer.failure(self.on_failure, self.attempt, turning, **hidden)
        self.stop.click(self.on_stop, None, None, queue=False, **hidden)
        self.new_chat.click(self.on_new_chat, None, [self.talk, *view, *form], **hidden)
        # "multiple": each click counts, in order, or the thumb on the page and the one in the ledger could differ.
        self.conversation.like(self.on_thumb, self.talk, form, trigger_mode="multiple", **rating)
        self.save.click(self.on_save, [self.rated, self.reasons, self.correction, self.comment], form, **rating)
        self.cancel.click(self.on_cancel, None, [self.form, self.rated], **rating)

    # ------------------------------------------------------------------ the conversation

    def on_load(self) -> Updates:
        ledger = self._assistant.ledger
        thread: list[Exchange] = []
        try:
            latest = ledger.latest_conversation(USER)
            if latest:
                thread = ledger.thread(ledger.conversation(latest)[-1].id)
        except NightschoolError as error:
            warn(error)
        return {
            **self._view(talks.from_thread(thread), thread[-1] if thread else None),
            **self._warning(f"nothing is being remembered: {ledger.read_only}" if ledger.read_only else None),
        }

    def on_new_chat(self) -> Updates:
        return {
            **self._view(Talk(), None),
            **self._warning(None),
            **self._closed_form(),
            self.status: gr.HTML(visible=False),
        }

    def on_send(self, message: str, talk: Talk, memory: bool, request: gr.Request) -> Iterator[Updates]:
        yield from self.answer(Ask(message, memory=memory), talk, (talk, message), request)

    def on_regenerate(self, talk: Talk, memory: bool, request: gr.Request) -> Iterator[Updates]:
        """The last question again: what comes is a sibling of the last answer, which stays in the ledger."""
        if talk.said:
            last, settings = talk.said[-1], self._assistant.settings
            ask = Ask(
                last.question,
                memory=memory,
                not_recalled=frozenset([last.exchange_id] if last.exchange_id else []),
                # Greedily it would say the same again.
                sampling=Sampling(settings.answer_tokens, settings.temperature or AGAIN_TEMPERATURE, settings.top_p),
            )
            yield from self.answer(ask, talk.without_last(), (talk, None), request)

    def answer(self, ask: Ask, talk: Talk, attempt: Attempt, request: gr.Request) -> Iterator[Updates]:
        """One turn on the page, after what `talk` holds. Where it fails, the page is as it was before the attempt."""
        self._stops[str(request.session_hash)] = ask.stop
        try:
            question = clean(ask.question, limit=self._assistant.settings.message_chars)
            yield self._begun(talk.plus(Said(question, "")), attempt)
            ask = replace(ask, question=question, conversation_id=talk.conversation_id, parent_id=talk.parent_id)
            yield from self._walk(replace(ask, history=talk.history, user=USER), talk)
        except NightschoolError as error:
            warn(error)
            yield self._failed(attempt)
        finally:
            self._stops.pop(str(request.session_hash), None)

    def _walk(self, ask: Ask, talk: Talk) -> Iterator[Updates]:
        answer, shown_at = "", 0.0
        for event in turn(self._assistant, ask):
            if isinstance(event, Words):
                answer += event.text
                if monotonic() - shown_at >= SECONDS_BETWEEN_UPDATES:
                    shown_at = monotonic()
                    yield {self.conversation: talks.messages(talk.plus(Said(ask.question, answer)), unfinished=True)}
            elif isinstance(event, Answered):
                yield self._ended(talk, event)

    def on_stop(self, request: gr.Request) -> None:
        """End this session's answer. It ends with its next word, and what was said by then stays."""
        stop = self._stops.get(str(request.session_hash))
        if stop:
            stop.set()

    def on_failure(self, attempt: Attempt) -> Updates:
        """After an error that nobody foresaw: the page can be used again, and the text is not lost."""
        gr.Warning("The answer broke off. The server's log says why.")
        return self._failed(attempt)

    # ------------------------------------------------------------------ thumbs

    def on_thumb(self, talk: Talk, thumb: gr.LikeData) -> Updates:
        value: Literal[1, -1, 0] = 1 if thumb.liked is True else -1 if thumb.liked is False else 0
        said = talk.rated_at(int(thumb.index))
        if said is None or said.exchange_id is None:
            gr.Warning("This answer is not in the ledger, so its rating can't be kept.")
            return self._closed_form()
        try:
            feedback.rate(self._assistant, said.exchange_id, value, user=USER)
        except NightschoolError as error:
            warn(error)
            return self._closed_form()
        if value == 0:
            return {**self._closed_form(), self.status: gr.HTML(_status("Rating taken back", ""), visible=True)}
        return {
            self.form: gr.Column(visible=True),
            self.rated: (said.exchange_id, value),
            self.reasons: gr.CheckboxGroup(
                feedback.REASONS[value], value=[], label=f"{WHY[value]} the answer to “{short(said.question, 60)}”"
            ),
            self.correction: "",
            self.comment: "",
            self.status: self._lesson(said.exchange_id),
        }

    def on_save(self, rated: Rated, reasons: list[str], correction: str, comment: str) -> Updates:
        if rated is None:
            return self._closed_form()
        exchange_id, value = rated
        try:
            feedback.rate(
                self._assistant, exchange_id, value, reasons=reasons, correction=correction, comment=comment, user=USER
            )
        except NightschoolError as error:
            warn(error)
            return {self.form: gr.Column(visible=True)}
        return {**self._closed_form(), self.status: self._lesson(exchange_id)}

    def on_cancel(self) -> Updates:
        return self._closed_form()

    # ------------------------------------------------------------------ how the page stands

    def _view(self, talk: Talk, last: Exchange | None) -> Updates:
        return {
            self.talk: talk,
            self.conversation: self._conversation(talk),
            self.where: gr.Accordion(visible=last is not None),
            self.where_text: talks.where_from(last, self._recollections(last)) if last else "",
            self.regenerate: gr.Button(visible=bool(talk.said)),
            self.new_chat: gr.Button(interactive=True),
        }

    def _begun(self, talk: Talk, attempt: Attempt) -> Updates:
        return {
            self.talk: talk,
            self.attempt: attempt,
            self.conversation: self._conversation(talk, unfinished=True),
            self.send: gr.Button(visible=False),
            self.stop: gr.Button(visible=True),
            self.where: gr.Accordion(visible=True),
            self.where_text: "<p>The answer is being written.</p>",
            self.regenerate: gr.Button(visible=False),
            self.new_chat: gr.Button(interactive=False),
            **({} if attempt[1] is None else {self.message: ""}),
        }

    def _ended(self, talk: Talk, event: Answered) -> Updates:
        exchange = event.exchange
        said = Said(exchange.question, exchange.answer, None if event.warning else exchange.id)
        conversation_id = talk.conversation_id if event.warning else exchange.conversation_id
        return {
            **self._view(replace(talk.plus(said), conversation_id=conversation_id), exchange),
            **self._warning(event.warning),
            **self._idle(),
        }

    def _failed(self, attempt: Attempt) -> Updates:
        talk, text = attempt
        return {
            **self._view(talk, self._last(talk)),
            **({} if text is None else {self.message: text}),
            **self._idle(),
        }

    def _idle(self) -> Updates:
        return {self.send: gr.Button(visible=True), self.stop: gr.Button(visible=False)}

    def _warning(self, warning: str | None) -> Updates:
        return {self.banner: gr.Markdown(talks.literal(warning or ""), visible=warning is not None)}

    def _closed_form(self) -> Updates:
        return {self.form: gr.Column(visible=False), self.rated: None}

    def _conversation(self, talk: Talk, *, unfinished: bool = False) -> gr.Chatbot:
        """The messages together with their thumbs: one without the other would shift the thumbs."""
        ratings = self._assistant.ledger.ratings([s.exchange_id for s in talk.visible if s.exchange_id])
        return gr.Chatbot(talks.messages(talk, unfinished=unfinished), feedback_value=talks.thumbs(talk, ratings))

    def _lesson(self, exchange_id: str) -> gr.HTML:
        lessons = self._assistant.ledger.lessons(newest_first=True)
        lesson = next((one for one in lessons if one.exchange_id == exchange_id), None)
        text = _status(str(lesson.state), lesson.reason) if lesson else ""
        return gr.HTML(text, visible=lesson is not None)

    def _last(self, talk: Talk) -> Exchange | None:
        last = talk.said[-1].exchange_id if talk.said else None
        return self._assistant.ledger.exchange(last) if last else None

    def _recollections(self, exchange: Exchange) -> list[Mapping[str, Any]]:
        """What the exchange was given, with the questions as they stand in the ledger now."""
        found: list[Mapping[str, Any]] = []
        for recollection in exchange.recollections:
            exchange_id = recollection["exchange_id"]
            try:
                known = self._assistant.ledger.exchange(exchange_id).question if exchange_id else None
                question = known or str(recollection.get("source"))
            except NotFound:
                question = "(deleted since)"
            found.append({**recollection, "question": question})
        return found


def _status(state: str, reason: str) -> str:
    """HTML: a lesson's state and why."""
    because = f": {escape(reason)}" if reason else ""
    return f"<p role='status'><b>{escape(state)}</b>{because}</p>"
