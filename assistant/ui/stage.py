"""The chat page's widgets, and how they stand: with a conversation on them, while an answer comes, after one failed.

Nothing happens here: what is pressed is handled by `chat`, what is answered by `answers`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from secrets import token_hex
from typing import Any

import gradio as gr

from assistant import chinese
from assistant.texts import Language, text
from assistant.turn import Answered
from assistant.ui import branches
from assistant.ui import talk as talks
from assistant.ui.beside import MOST, beside
from assistant.ui.duel import Duel
from assistant.ui.markup import both
from assistant.ui.shell import House, Updates, i18n
from assistant.ui.talk import USES, Said, Talk
from assistant.ui.thumbs import Thumbs
from assistant.versions import previous_version
from memory.errors import NotFound
from memory.records import BASE, Exchange

Attempt = tuple[Talk, str | None]
"""What the page goes back to when an answer fails: the conversation, and which of its messages was being edited."""


class Stage:
    """One for all sessions: what is a session's own lies in `gr.State`."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.start = token_hex(8)
        """Names this start of the server, on the pages that it lays out."""

    # ------------------------------------------------------------------ layout

    def lay_out(self) -> None:
        self.talk = gr.State(Talk())
        self.attempt = gr.State((Talk(), None))
        self.editing = gr.State(None)
        # Which start of the server laid the page out, and then for whom. The browser has it, and sends it: a `State`
        # would be of the server that is asked.
        self.born = gr.Textbox(self.start, visible=False, elem_id="born")
        self.banner = gr.Markdown(visible=False, elem_id="banner")
        self.passing = gr.HTML(f"<p role='status'>{both('chat.temporary.about')}</p>", visible=False, elem_id="passing")
        self.earlier = gr.Button(i18n("chat.earlier"), size="sm", visible=False, elem_id="earlier")
        self.conversation = gr.Chatbot(
            elem_id="conversation",
            label=i18n("chat.conversation"),
            show_label=False,
            container=False,
            height="100%",
            scale=1,
            layout="bubble",
            buttons=["copy"],
            placeholder=None,
            autoscroll=False,
            latex_delimiters=[{"left": left, "right": right, "display": right != "\\)"} for left, right in talks.LATEX],
            allow_tags=False,
            allow_file_downloads=False,
        )
        self.desk = gr.HTML(
            "", elem_id="desk", html_template="", js_on_load="desk", apply_default_css=False, container=False
        )
        with gr.Column(elem_id="below"):
            self.thumbs = Thumbs(self._house)
            self.thumbs.lay_out()
            with gr.Accordion(i18n("where.title"), open=False, visible=False, elem_id="where-from") as self.where:
                self.where_text = gr.HTML()
            self.duel = Duel(self._house)
            self.duel.lay_out()
            self._lay_out_composer()
        self.beside = gr.HTML(elem_id="beside")

    def _lay_out_composer(self) -> None:
        with gr.Row(visible=False, elem_id="editing") as self.edit_row:
            self.edit_text = gr.HTML()
            self.edit_cancel = gr.Button(i18n("edit.cancel"), size="sm", elem_id="edit-cancel")
        with gr.Row(elem_id="composer"):
            self.message = gr.Textbox(
                label=i18n("chat.message"),
                show_label=False,
                placeholder=i18n("chat.write"),
                lines=1,
                max_lines=8,
                autofocus=True,
                container=False,
                scale=1,
                elem_id="message",
                html_attributes=gr.InputHTMLAttributes(enterkeyhint="send", spellcheck=True),
            )
            self.send = gr.Button(i18n("chat.send"), variant="primary", elem_id="send")
            self.stop = gr.Button(i18n("chat.stop"), variant="secondary", visible=False, elem_id="stop")
        with gr.Row(elem_id="tools"):
            # What the layout sets anew can't be chosen before it: it would be as if it had not been.
            self.memory = gr.Checkbox(value=True, label=i18n("chat.memory"), container=False, elem_id="use-memory")
            self.use = gr.Dropdown(
                [(i18n(f"use.{use}"), use) for use in USES],
                value="both",
                label=i18n("use.title"),
                show_label=False,
                container=False,
                filterable=False,
                interactive=False,
                elem_id="use",
            )
            self.blind = gr.Checkbox(
                value=False, label=i18n("duel.switch"), container=False, visible=False, elem_id="blind"
            )
            self.regenerate = gr.Button(i18n("chat.again"), size="sm", visible=False, elem_id="regenerate")
            self.temporary = gr.Button(i18n("chat.temporary"), size="sm", interactive=False, elem_id="temporary-chat")
            self.new_chat = gr.Button(i18n("chat.new"), size="sm", interactive=False, elem_id="new-chat")

    @property
    def view_widgets(self) -> list[Any]:
        """All that `view` sets, but the conversation itself."""
        shown = [self.conversation, self.desk, self.where, self.where_text, self.banner, self.regenerate, self.use]
        return [
            *shown,
            self.new_chat,
            self.temporary,
            self.passing,
            self.earlier,
            self.editing,
            self.edit_row,
            self.edit_text,
            self.beside,
        ]

    @property
    def turning(self) -> list[Any]:
        """All that an answer sets, from its beginning to its end."""
        sending = [self.talk, self.attempt, self.send, self.stop, self.blind]
        return [*sending, *self.view_widgets, *self.duel.widgets]

    # ------------------------------------------------------------------ which conversation

    def at(self, exchange_id: str | None, user: str) -> Talk:
        """The branch that ends with an exchange of `user`'s."""
        ledger = self._house.assistant.ledger
        branch = [line for line in ledger.branch(exchange_id) if line.user == user]
        talk = talks.from_branch(branch, user)
        if talk.conversation_id is not None:
            talk = replace(talk, use=talks.use_of(*ledger.use(talk.conversation_id)))
        return self._with_branches(talk)

    def _with_branches(self, talk: Talk) -> Talk:
        if talk.conversation_id is None:
            return talk
        return talk.beside(branches.siblings(self._house.assistant.ledger.forks(talk.conversation_id)))

    # ------------------------------------------------------------------ how it stands

    def view(
        self, talk: Talk, language: Language, *, failed: bool = False, opening: bool = False, editing: bool = False
    ) -> Updates:
        """With a conversation, and nothing going on; `failed`: no longer, and the script gives back what was sent;
        `opening`: not yet, but that may have changed since; `editing`: but for an earlier message that is being edited.
        """
        last = self._last(talk)
        return {
            self.talk: talk,
            self.conversation: self._conversation(talk, language),
            # Named, for the script hears of what is new: two in a row may fail alike.
            self.desk: self._tools(talk, failed=failed and token_hex(4), opening=opening),
            self.where: gr.Accordion(visible=last is not None),
            self.where_text: talks.where_from(last, self._recollections(last, language), language) if last else "",
            self.regenerate: gr.Button(visible=bool(talk.said)),
            self.use: gr.Dropdown(value=talk.use, interactive=True, visible=not talk.temporary),
            self.new_chat: gr.Button(interactive=True),
            self.temporary: gr.Button(interactive=True, visible=not talk.temporary),
            self.passing: gr.HTML(visible=talk.temporary),
            self.earlier: gr.Button(visible=talk.hides),
            self.beside: self._beside(talk, language),
            **({} if editing else self.not_editing()),
        }

    def begun(self, talk: Talk, within: str | None, attempt: Attempt, language: Language) -> Updates:
        """With the question on the page, and an answer to come, to be stored `within` that conversation."""
        return {
            self.talk: talk,
            self.attempt: attempt,
            self.conversation: self._conversation(talk, language, unfinished=True),
            self.desk: self._tools(replace(talk, conversation_id=within), answering=True),
            self.send: gr.Button(visible=False),
            self.stop: gr.Button(visible=True),
            self.where: gr.Accordion(visible=True),
            self.where_text: f"<p>{text('where.writing', language)}</p>",
            self.regenerate: gr.Button(visible=False),
            self.use: gr.Dropdown(interactive=False),
            self.new_chat: gr.Button(interactive=True),
            self.temporary: gr.Button(interactive=True),
            **self.not_editing(),
            **self.duel.closed(),
        }

    def written(self, talk: Talk) -> Updates:
        """With some more of the answer."""
        return {self.conversation: talks.messages(talk, unfinished=True)}

    def ended(self, talk: Talk, event: Answered, language: Language) -> Updates:
        """With the whole answer after `talk`."""
        exchange = event.exchange
        unkept = not event.stored
        said = Said(exchange.question, exchange.answer, None if unkept else exchange.id, exchange.adapter)
        conversation_id = talk.conversation_id if unkept else exchange.conversation_id
        goes_on = talk if event.forgotten else talk.plus(said)
        now = self._with_branches(replace(goes_on, conversation_id=conversation_id))
        where = talks.where_from(exchange, self._recollections(exchange, language), language)
        shown = {self.where: gr.Accordion(visible=True), self.where_text: where}
        told = chinese.said(event.warning, language) if event.warning else None
        return {**self.view(now, language), **shown, **self.warning(told), **self.idle()}

    def choosing(self, talk: Talk, _: Language) -> Updates:
        """With two answers beside each other, of which `talk` goes on with one for as long as nobody has chosen."""
        blind = replace(talk.said[-1], exchange_id=None, adapter="")
        asked = replace(talk, said=(*talk.said[:-1], blind))
        return {
            self.talk: talk,
            self.desk: self._tools(asked),
            self.where: gr.Accordion(visible=False),
        }

    def failed(self, attempt: Attempt, language: Language) -> Updates:
        """As it was before the attempt."""
        talk, editing = attempt
        still = {} if editing is None else {self.editing: editing, self.edit_row: gr.Row(visible=True)}
        return {**self.view(talk, language, failed=True), **still, **self.idle(), **self.duel.closed()}

    def untaken(self, *, another: bool = False) -> Updates:
        """As it was: the script hears that nothing comes of what was asked; `another`: that something does of what
        was asked before it.
        """
        return {self.desk: json.dumps({"refused": token_hex(4), "another": another})}

    def idle(self) -> Updates:
        """Ready for the next message."""
        return {self.send: gr.Button(visible=True), self.stop: gr.Button(visible=False)}

    def about(self, exchange: Exchange, language: Language) -> Updates:
        """With where an answer came from."""
        where = talks.where_from(exchange, self._recollections(exchange, language), language)
        return {self.where: gr.Accordion(visible=True, open=True), self.where_text: where}

    def editing_of(self, said: Said, language: Language) -> Updates:
        """With an earlier message in the box."""
        return {
            self.message: said.question,
            self.editing: said.exchange_id,
            self.edit_row: gr.Row(visible=True),
            self.edit_text: f"<p>{text('edit.about', language)}</p>",
        }

    def not_editing(self) -> Updates:
        """With a message to come that follows the others."""
        return {self.editing: None, self.edit_row: gr.Row(visible=False)}

    def warning(self, why: str | None) -> Updates:
        """With the banner that says why nothing is kept, or without."""
        return {self.banner: gr.Markdown(talks.literal(why or ""), visible=why is not None)}

    def _conversation(self, talk: Talk, language: Language, *, unfinished: bool = False) -> gr.Chatbot:
        """The messages together with their thumbs: one without the other would shift the thumbs."""
        ledger = self._house.assistant.ledger
        ratings = ledger.ratings([s.exchange_id for s in talk.visible if s.exchange_id])
        return gr.Chatbot(
            talks.messages(talk, language, unfinished=unfinished),
            feedback_value=talks.thumbs(talk, ratings),
            placeholder=text("chat.welcome", language),
        )

    def _tools(self, talk: Talk, **now: bool | str) -> str:
        """For the script: what to put beneath each answer, and what happens `now` to what was sent."""
        active = self._house.assistant.ledger.active_adapter()
        before = previous_version(self._house.assistant.ledger.adapters()) if active else None
        versions = {"previous": before if before != BASE else None, "base": active is not None}
        last = talk.said[-1].question[:200] if talk.said else None
        known = {"answers": talks.tools(talk), "conversation": talk.conversation_id}
        return json.dumps({**known, "asked": talk.asked, "last": last, **versions, **now})

    def _beside(self, talk: Talk, language: Language) -> str:
        found = self._house.assistant.ledger.conversations(talk.user, limit=MOST)
        return beside(found, talk.conversation_id, self._house.assistant.clock(), language)

    def _last(self, talk: Talk) -> Exchange | None:
        last = talk.said[-1].exchange_id if talk.said else None
        return self._house.assistant.ledger.exchange(last) if last else None

    def _recollections(self, exchange: Exchange, language: Language) -> list[Mapping[str, Any]]:
        """What the exchange was given, with the questions as they stand in the ledger now."""
        found: list[Mapping[str, Any]] = []
        for recollection in exchange.recollections:
            exchange_id = recollection["exchange_id"]
            try:
                known = self._house.assistant.ledger.exchange(exchange_id).question if exchange_id else None
                question = known or str(recollection.get("source"))
            except NotFound:
                question = text("where.gone", language)
            found.append({**recollection, "question": question})
        return found
