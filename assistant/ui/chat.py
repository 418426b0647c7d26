"""The chat page: a conversation that streams, a tree of branches, a thumb with its form, and where an answer came from.

The page keeps no text of its own but the session's `Talk`; after a reload the conversation comes back from the ledger.
How it looks at each moment is `stage`, how it answers `answers`. What stands beneath each answer is put there by
`page.js`, which sends what is pressed through the widget `desk`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from assistant.chinese import said
from assistant.texts import Language
from assistant.ui import branches
from assistant.ui.answers import AT_ONCE, Answers
from assistant.ui.duel import contenders
from assistant.ui.markup import both
from assistant.ui.shell import HIDDEN, House, Updates, header, lang, told, warn
from assistant.ui.stage import Stage
from assistant.ui.talk import USES, Talk, Use
from memory.errors import NightschoolError, NotRemembered


def build(pages: gr.Blocks, house: House) -> None:
    """Lay the page out in the open Blocks, and wire it."""
    chat = Chat(house)
    with gr.Column(elem_id="chat-page", elem_classes="page"):
        gr.HTML(f"{header('chat')}<h1 class='ns-unseen'>{both('nav.chat')}</h1>")
        chat.stage.lay_out()
    chat.wire(pages)


class Chat:
    """What happens when something is opened or pressed."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.stage = Stage(house)
        self.answers = Answers(house, self.stage)

    def wire(self, pages: gr.Blocks) -> None:
        """Connect the widgets."""
        on, answers = self.stage, self.answers
        generating = {**HIDDEN, "concurrency_id": "generate", "concurrency_limit": AT_ONCE}
        view = on.view_widgets

        pages.load(self.on_load, None, [on.talk, on.blind, on.born, *view], **HIDDEN)
        pages.unload(answers.on_stop)
        sent = [on.message, on.talk, on.memory, on.use, on.blind, on.editing, on.born]
        answering = [
            gr.on([on.message.submit, on.send.click], answers.on_send, sent, on.turning, **generating),
            on.regenerate.click(answers.on_regenerate, [on.talk, on.memory], on.turning, **generating),
            on.desk.submit(answers.on_again, [on.talk, on.memory], on.turning, **generating),
        ]
        for answer in answering:
            answer.failure(answers.on_failure, on.attempt, on.turning, **HIDDEN)
        on.desk.select(self.on_act, on.talk, [on.talk, on.message, *view], **HIDDEN)
        on.edit_cancel.click(on.not_editing, None, [on.editing, on.edit_row], **HIDDEN)
        on.stop.click(answers.on_stop, None, None, queue=False, **HIDDEN)
        on.earlier.click(self.on_earlier, on.talk, [on.talk, *view], **HIDDEN)
        on.use.input(self.on_use, [on.use, on.talk], [on.talk, on.use], **HIDDEN)
        on.blind.input(on.duel.on_switch, on.blind, None, **HIDDEN)
        anew = [on.talk, *view, *on.thumbs.widgets, *on.duel.widgets]
        on.new_chat.click(self.on_new_chat, None, anew, **HIDDEN)
        on.temporary.click(self.on_temporary, None, anew, **HIDDEN)
        on.thumbs.wire(on.conversation, on.desk, on.talk)
        on.duel.wire(on.talk, [on.talk, *view], self._chosen)

    # ------------------------------------------------------------------ the conversation

    @told
    def on_load(self, request: gr.Request) -> Updates:
        who, ledger = self._house.who(request), self._house.assistant.ledger
        try:
            talk = replace(self._asked_for(dict(request.query_params), who.id), user=who.id)
        except NightschoolError as error:
            warn(error, lang(request))
            talk = Talk(user=who.id)
        why = said(str(NotRemembered(ledger.read_only)), lang(request)) if ledger.read_only else None
        on = bool(ledger.choices(who.id).get("blind")) if not ledger.read_only else False
        can = contenders(self._house.assistant) is not None
        # What was asked before the page was laid out is on it.
        view = {} if self.answers.under_way(request) else self.stage.view(talk, lang(request), opening=True)
        return {
            **view,
            **self.stage.warning(why),
            self.stage.blind: gr.Checkbox(value=on and can, visible=can),
            self.stage.born: f"{self.stage.start} {who.id}",
        }

    def _asked_for(self, address: Mapping[str, str], user: str) -> Talk:
        """The conversation that the address names (the history page links here, and the script writes there what is on
        the page), and of its branches that one on which an exchange lies. Somebody else's is as good as none.
        """
        if "new" in address:
            return Talk()
        conversation_id, at = address.get("c"), address.get("at")
        end = self._house.assistant.ledger.newest_line(user, conversation_id=conversation_id)
        forks = self._house.assistant.ledger.forks(conversation_id) if conversation_id and end and at else []
        if at not in dict(forks):
            return self.stage.at(end, user)
        talk = self.stage.at(branches.newest_end(forks, str(at)), user)
        place = next((i for i, one in enumerate(talk.said) if one.exchange_id == at), 0)
        return replace(talk, shown=max(talk.shown, len(talk.said) - place))

    @told
    def on_new_chat(self, request: gr.Request) -> Updates:
        return self._anew(Talk(user=self._house.who(request).id), request)

    @told
    def on_temporary(self, request: gr.Request) -> Updates:
        """A conversation of which nothing is kept, here or anywhere."""
        return self._anew(Talk(user=self._house.who(request).id, temporary=True), request)

    def _anew(self, talk: Talk, request: gr.Request) -> Updates:
        return {
            **self.stage.view(talk, lang(request)),
            **self.stage.warning(None),
            **self.stage.thumbs.closed(forget=True),
            **self.stage.duel.closed(),
        }

    @told
    def on_earlier(self, talk: Talk, request: gr.Request) -> Any:
        if self.answers.under_way(request):
            return gr.skip()
        if talk.user != self._house.who(request).id:
            return self.answers.forgotten(request)
        return self.stage.view(talk.earlier(), lang(request), editing=True)

    @told
    def on_use(self, use: Use, talk: Talk, request: gr.Request) -> Any:
        """What the conversation may be used for, at once. One that has no message yet takes it from the widget with its
        first: this handler could come later than that.
        """
        if talk.user != self._house.who(request).id:
            return self.answers.forgotten(request)
        if talk.conversation_id is None:
            return gr.skip()
        remember, train = USES[use]
        try:
            self._house.assistant.ledger.set_use(talk.conversation_id, remember=remember, train=train)
        except NightschoolError as error:
            warn(error, lang(request))
            return {self.stage.use: talk.use}
        return {self.stage.talk: replace(talk, use=use)}

    # ------------------------------------------------------------------ what is pressed beneath an answer

    @told
    def on_act(self, talk: Talk, act: gr.EventData, request: gr.Request) -> Any:
        who, sent = self._house.who(request), act._data
        one = talk.at(int(sent.get("at", -1)))
        if talk.user != who.id:
            return self.answers.forgotten(request)
        if one is None or one.exchange_id is None:
            return gr.skip()
        if sent.get("act") == "where":
            return self.stage.about(self._house.assistant.ledger.exchange(one.exchange_id), lang(request))
        if self.answers.under_way(request):
            return gr.skip()
        if sent.get("act") == "edit":
            return self.stage.editing_of(one, lang(request))
        step = 1 if sent.get("step") == 1 else -1
        place = one.beside.index(one.exchange_id) + step if one.beside else -1
        if not 0 <= place < len(one.beside):
            return gr.skip()
        forks = self._house.assistant.ledger.forks(str(talk.conversation_id))
        end = branches.newest_end(forks, one.beside[place])
        return self.stage.view(replace(self.stage.at(end, who.id), shown=talk.shown), lang(request))

    def _chosen(self, talk: Talk, exchange_id: str, language: Language) -> Updates:
        """The page goes on with one of two answers."""
        return self.stage.view(replace(self.stage.at(exchange_id, talk.user), shown=talk.shown), language)
