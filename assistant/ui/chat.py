"""The chat page: a conversation that streams, a tree of branches, a thumb with its form, and where an answer came from.

`Chat.answer` is the story: it walks through `assistant.turn.turn` and shows each event. The page keeps no text of its
own but the session's `Talk`; after a reload the conversation comes back from the ledger. What stands beneath each
answer is put there by `page.js`, which sends what is pressed through the widget `desk`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from threading import Event
from time import monotonic
from typing import Any

import gradio as gr

from assistant.engine import Sampling
from assistant.texts import Language, text
from assistant.turn import Answered, Ask, Words, clean, turn
from assistant.ui import branches
from assistant.ui import talk as talks
from assistant.ui.duel import Duel, contenders
from assistant.ui.markup import both
from assistant.ui.shell import HIDDEN, House, Updates, header, i18n, lang, told, warn
from assistant.ui.talk import Said, Talk
from assistant.ui.thumbs import Thumbs
from assistant.versions import previous_version
from memory.errors import BadInput, NightschoolError, NotFound, NotRemembered
from memory.records import BASE, Exchange

AGAIN_TEMPERATURE = 0.7
SECONDS_BETWEEN_UPDATES = 0.1
AT_ONCE = 16
"""Answers that may be under way: the engine takes turns or batches, and who waits can still press stop."""
LATEX = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]
DESK = """
const page = window.nightschool;
page.onAct = (channel, act) => trigger(channel, act);
const take = () => page.lay(props.value);
watch("value", take);
take();
"""

Attempt = tuple[Talk, str | None]
"""What the page goes back to when an answer fails: the conversation, and the text of the message box if it was sent."""


def build(pages: gr.Blocks, house: House) -> None:
    """Lay the page out in the open Blocks, and wire it."""
    chat = Chat(house)
    with gr.Column(elem_id="chat-page", elem_classes="page"):
        gr.HTML(header("chat"))
        chat.lay_out()
    chat.wire(pages)


class Chat:
    """The page's widgets and what happens on them. One for all sessions: what is a session's own lies in `gr.State`."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._stops: dict[str, Event] = {}
        """Session → what ends the answer that it is being given."""

    # ------------------------------------------------------------------ layout

    def lay_out(self) -> None:
        self.talk = gr.State(Talk())
        self.attempt = gr.State((Talk(), None))
        self.editing = gr.State(None)
        self.banner = gr.Markdown(visible=False, elem_id="banner")
        self.passing = gr.HTML(f"<p role='status'>{both('chat.temporary.about')}</p>", visible=False, elem_id="passing")
        self.earlier = gr.Button(i18n("chat.earlier"), size="sm", visible=False, elem_id="earlier")
        self.conversation = gr.Chatbot(
            elem_id="conversation",
            label="Conversation",
            show_label=False,
            container=False,
            height="100%",
            scale=1,
            layout="bubble",
            buttons=["copy"],
            placeholder=None,
            latex_delimiters=LATEX,
            allow_tags=False,
            allow_file_downloads=False,
        )
        self.desk = gr.HTML(
            "", elem_id="desk", html_template="<i></i>", js_on_load=DESK, apply_default_css=False, container=False
        )
        with gr.Column(elem_id="below"):
            self.thumbs = Thumbs(self._house)
            self.thumbs.lay_out()
            with gr.Accordion(i18n("where.title"), open=False, visible=False, elem_id="where-from") as self.where:
                self.where_text = gr.HTML()
            self.duel = Duel(self._house)
            self.duel.lay_out()
            self._lay_out_composer()

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
            self.memory = gr.Checkbox(value=True, label=i18n("chat.memory"), container=False, elem_id="use-memory")
            self.blind = gr.Checkbox(
                value=False, label=i18n("duel.switch"), container=False, visible=False, elem_id="blind"
            )
            self.regenerate = gr.Button(i18n("chat.again"), size="sm", visible=False, elem_id="regenerate")
            self.temporary = gr.Button(i18n("chat.temporary"), size="sm", elem_id="temporary-chat")
            self.new_chat = gr.Button(i18n("chat.new"), size="sm", elem_id="new-chat")

    def wire(self, pages: gr.Blocks) -> None:
        """Connect the widgets."""
        generating = {**HIDDEN, "concurrency_id": "generate", "concurrency_limit": AT_ONCE}
        view = [self.conversation, self.desk, self.where, self.where_text, self.banner, self.regenerate]
        view += [self.new_chat, self.temporary, self.passing, self.earlier, self.editing, self.edit_row, self.edit_text]
        turning = [self.talk, self.attempt, self.message, self.send, self.stop, self.blind, *view, *self.duel.widgets]

        pages.load(self.on_load, None, [self.talk, self.blind, *view], **HIDDEN)
        pages.unload(self.on_stop)
        answers = [
            gr.on(
                [self.message.submit, self.send.click],
                self.on_send,
                [self.message, self.talk, self.memory, self.blind, self.editing],
                turning,
                **generating,
            ),
            self.regenerate.click(self.on_regenerate, [self.talk, self.memory], turning, **generating),
            self.desk.submit(self.on_again, [self.talk, self.memory], turning, **generating),
        ]
        for answer in answers:
            answer.failure(self.on_failure, self.attempt, turning, **HIDDEN)
        self.desk.select(self.on_act, self.talk, [self.talk, self.message, *view], **HIDDEN)
        self.edit_cancel.click(self.on_edit_cancel, None, [self.message, *view], **HIDDEN)
        self.stop.click(self.on_stop, None, None, queue=False, **HIDDEN)
        self.earlier.click(self.on_earlier, self.talk, [self.talk, *view], **HIDDEN)
        self.blind.input(self.duel.on_switch, self.blind, None, **HIDDEN)
        anew = [self.talk, *view, *self.thumbs.widgets, *self.duel.widgets]
        self.new_chat.click(self.on_new_chat, None, anew, **HIDDEN)
        self.temporary.click(self.on_temporary, None, anew, **HIDDEN)
        self.thumbs.wire(self.conversation, self.talk)
        self.duel.wire(self.talk, [self.talk, *view], self._chosen)

    # ------------------------------------------------------------------ the conversation

    @told
    def on_load(self, request: gr.Request) -> Updates:
        who, ledger = self._house.who(request), self._house.assistant.ledger
        try:
            # Which one, the address may say: the history page links here. Somebody else's is as good as none.
            asked = dict(request.query_params)
            end = None if "new" in asked else ledger.newest_line(who.id, conversation_id=asked.get("c"))
            talk = replace(self._at(end, who.id), user=who.id)
        except NightschoolError as error:
            warn(error)
            talk = Talk(user=who.id)
        why = str(NotRemembered(ledger.read_only)) if ledger.read_only else None
        on = bool(ledger.choices(who.id).get("blind")) if not ledger.read_only else False
        can = contenders(self._house.assistant) is not None
        return {
            **self._view(talk, self._last(talk), lang(request)),
            **self._warning(why),
            self.blind: gr.Checkbox(value=on and can, visible=can),
        }

    @told
    def on_new_chat(self, request: gr.Request) -> Updates:
        return self._anew(Talk(user=self._house.who(request).id), request)

    @told
    def on_temporary(self, request: gr.Request) -> Updates:
        """A conversation of which nothing is kept, here or anywhere."""
        return self._anew(Talk(user=self._house.who(request).id, temporary=True), request)

    def _anew(self, talk: Talk, request: gr.Request) -> Updates:
        return {
            **self._view(talk, None, lang(request)),
            **self._warning(None),
            **self.thumbs.closed(forget=True),
            **self.duel.closed(),
        }

    @told
    def on_earlier(self, talk: Talk, request: gr.Request) -> Any:
        if talk.user != self._house.who(request).id:
            return gr.skip()
        return self._view(talk.earlier(), self._last(talk), lang(request))

    def on_send(
        self, message: str, talk: Talk, memory: bool, blind: bool, editing: str | None, request: gr.Request
    ) -> Iterator[Updates]:
        """What was written, after the conversation or, where an earlier message is edited, in its place."""
        attempt, after = (talk, message), talk
        edited = next((said for said in talk.said if editing and said.exchange_id == editing), None)
        if edited is not None:
            after = talk.before(edited)
        versions = contenders(self._house.assistant) if blind and not talk.temporary else None
        yield from self.answer(Ask(message, memory=memory), after, attempt, request, versions=versions)

    def on_regenerate(self, talk: Talk, memory: bool, request: gr.Request) -> Iterator[Updates]:
        """The last question again: what comes is a sibling of the last answer, which stays in the ledger."""
        if talk.said:
            yield from self._again(talk, talk.said[-1], memory, None, request)

    def on_again(self, talk: Talk, memory: bool, act: gr.EventData, request: gr.Request) -> Iterator[Updates]:
        """Any question again, as the menu beneath its answer says: in the same way, or in another one."""
        sent = act._data
        said = talk.at(int(sent.get("at", -1)))
        if said is None:
            return
        how = sent.get("how")
        try:
            version = {"previous": self._previous, "base": lambda: BASE}.get(str(how), lambda: None)()
        except NightschoolError as error:
            warn(error)
            return
        yield from self._again(talk, said, memory and how != "forget", version, request)

    def _again(
        self, talk: Talk, said: Said, memory: bool, version: str | None, request: gr.Request
    ) -> Iterator[Updates]:
        settings = self._house.now.settings
        ask = Ask(
            said.question,
            memory=memory,
            not_recalled=frozenset(filter(None, [said.exchange_id, *said.beside])),
            adapter=version,
            # Greedily it would say the same again; another version says what it would have said.
            sampling=None
            if version or not memory
            else Sampling(settings.answer_tokens, settings.temperature or AGAIN_TEMPERATURE, settings.top_p),
        )
        yield from self.answer(ask, talk.before(said), (talk, None), request)

    def answer(
        self,
        ask: Ask,
        talk: Talk,
        attempt: Attempt,
        request: gr.Request,
        *,
        versions: tuple[str, str] | None = None,
    ) -> Iterator[Updates]:
        """One turn on the page, after what `talk` holds. Where it fails, the page is as it was before the attempt."""
        session = str(request.session_hash)
        self._stops[session] = ask.stop
        try:
            who = self._house.who(request)
            if talk.user != who.id:
                # A session that is not this account's.
                talk, attempt = Talk(user=who.id), (Talk(user=who.id), attempt[1])
            question = clean(ask.question, limit=self._house.now.settings.message_chars)
            yield self._begun(talk.plus(Said(question, "")), attempt, lang(request))
            ask = replace(ask, question=question, conversation_id=talk.conversation_id, parent_id=talk.parent_id)
            ask = replace(ask, history=talk.history, user=who.id, temporary=talk.temporary)
            if versions:
                goes_on, stands = yield from self.duel.fight(ask, versions)
                now = self._at(goes_on, who.id)
                shown = self._view(now, self._last(now), lang(request)) if ask.stop.is_set() else {self.talk: now}
                yield {**shown, **stands, **self._idle()}
            else:
                yield from self._walk(ask, talk, lang(request))
        except NightschoolError as error:
            warn(error)
            yield self._failed(attempt, lang(request))
        finally:
            self._stops.pop(session, None)

    def _walk(self, ask: Ask, talk: Talk, language: Language) -> Iterator[Updates]:
        answer, shown_at = "", 0.0
        for event in turn(self._house.now, ask):
            if isinstance(event, Words):
                answer += event.text
                if monotonic() - shown_at >= SECONDS_BETWEEN_UPDATES:
                    shown_at = monotonic()
                    yield {self.conversation: talks.messages(talk.plus(Said(ask.question, answer)), unfinished=True)}
            elif isinstance(event, Answered):
                yield self._ended(talk, event, language)

    def on_stop(self, request: gr.Request) -> None:
        """End this session's answer. It ends with its next word, and what was said by then stays."""
        stop = self._stops.get(str(request.session_hash))
        if stop:
            stop.set()

    def on_failure(self, attempt: Attempt, request: gr.Request) -> Updates:
        """After an error that nobody foresaw: the page can be used again, and the text is not lost."""
        gr.Warning(text("chat.broke", lang(request)))
        return self._failed(attempt, lang(request))

    # ------------------------------------------------------------------ what is pressed beneath an answer

    @told
    def on_act(self, talk: Talk, act: gr.EventData, request: gr.Request) -> Any:
        who, sent = self._house.who(request), act._data
        said = talk.at(int(sent.get("at", -1)))
        if talk.user != who.id or said is None or said.exchange_id is None:
            return gr.skip()
        if sent.get("act") == "where":
            exchange = self._house.assistant.ledger.exchange(said.exchange_id)
            return {
                self.where: gr.Accordion(visible=True, open=True),
                self.where_text: talks.where_from(exchange, self._recollections(exchange), lang(request)),
            }
        if sent.get("act") == "edit":
            told_ = f"<p>{text('edit.about', lang(request))}</p>"
            return {
                self.message: said.question,
                self.editing: said.exchange_id,
                self.edit_row: gr.Row(visible=True),
                self.edit_text: told_,
            }
        step = 1 if sent.get("step") == 1 else -1
        place = said.beside.index(said.exchange_id) + step if said.beside else -1
        if not 0 <= place < len(said.beside):
            return gr.skip()
        forks = self._house.assistant.ledger.forks(str(talk.conversation_id))
        moved = replace(self._at(branches.newest_end(forks, said.beside[place]), who.id), shown=talk.shown)
        return self._view(moved, self._last(moved), lang(request))

    def on_edit_cancel(self) -> Updates:
        return {self.message: "", **self._not_editing()}

    # ------------------------------------------------------------------ how the page stands

    def _at(self, exchange_id: str | None, user: str) -> Talk:
        """The branch that ends with an exchange of `user`'s."""
        ledger = self._house.assistant.ledger
        branch = [line for line in ledger.branch(exchange_id) if line.user == user]
        return self._with_branches(talks.from_branch(branch, user))

    def _with_branches(self, talk: Talk) -> Talk:
        if talk.conversation_id is None:
            return talk
        return talk.beside(branches.siblings(self._house.assistant.ledger.forks(talk.conversation_id)))

    def _view(self, talk: Talk, last: Exchange | None, language: Language) -> Updates:
        return {
            self.talk: talk,
            self.conversation: self._conversation(talk, language),
            self.desk: self._tools(talk),
            self.where: gr.Accordion(visible=last is not None),
            self.where_text: talks.where_from(last, self._recollections(last), language) if last else "",
            self.regenerate: gr.Button(visible=bool(talk.said)),
            self.new_chat: gr.Button(interactive=True),
            self.temporary: gr.Button(interactive=True, visible=not talk.temporary),
            self.passing: gr.HTML(visible=talk.temporary),
            self.earlier: gr.Button(visible=talk.hides),
            **self._not_editing(),
        }

    def _begun(self, talk: Talk, attempt: Attempt, language: Language) -> Updates:
        return {
            self.talk: talk,
            self.attempt: attempt,
            self.conversation: self._conversation(talk, language, unfinished=True),
            self.desk: self._tools(talk),
            self.send: gr.Button(visible=False),
            self.stop: gr.Button(visible=True),
            self.where: gr.Accordion(visible=True),
            self.where_text: f"<p>{text('where.writing', language)}</p>",
            self.regenerate: gr.Button(visible=False),
            self.new_chat: gr.Button(interactive=False),
            self.temporary: gr.Button(interactive=False),
            **self._not_editing(),
            **self.duel.closed(),
            **({} if attempt[1] is None else {self.message: ""}),
        }

    def _ended(self, talk: Talk, event: Answered, language: Language) -> Updates:
        exchange = event.exchange
        unkept = not event.stored
        stored = None if unkept else exchange.id
        said = Said(exchange.question, exchange.answer, stored, exchange.adapter)
        conversation_id = talk.conversation_id if unkept else exchange.conversation_id
        now = self._with_branches(replace(talk.plus(said), conversation_id=conversation_id))
        return {**self._view(now, exchange, language), **self._warning(event.warning), **self._idle()}

    def _chosen(self, talk: Talk, exchange_id: str, language: Language) -> Updates:
        """The page goes on with one of two answers."""
        now = replace(self._at(exchange_id, talk.user), shown=talk.shown)
        return self._view(now, self._last(now), language)

    def _failed(self, attempt: Attempt, language: Language) -> Updates:
        talk, message = attempt
        return {
            **self._view(talk, self._last(talk), language),
            **({} if message is None else {self.message: message}),
            **self._idle(),
            **self.duel.closed(),
        }

    def _idle(self) -> Updates:
        return {self.send: gr.Button(visible=True), self.stop: gr.Button(visible=False)}

    def _not_editing(self) -> Updates:
        return {self.editing: None, self.edit_row: gr.Row(visible=False)}

    def _warning(self, warning: str | None) -> Updates:
        return {self.banner: gr.Markdown(talks.literal(warning or ""), visible=warning is not None)}

    def _conversation(self, talk: Talk, language: Language, *, unfinished: bool = False) -> gr.Chatbot:
        """The messages together with their thumbs: one without the other would shift the thumbs."""
        ledger = self._house.assistant.ledger
        ratings = ledger.ratings([s.exchange_id for s in talk.visible if s.exchange_id])
        return gr.Chatbot(
            talks.messages(talk, unfinished=unfinished),
            feedback_value=talks.thumbs(talk, ratings),
            placeholder=text("chat.welcome", language),
        )

    def _tools(self, talk: Talk) -> str:
        """For the script: what to put beneath each answer."""
        active = self._house.assistant.ledger.active_adapter()
        before = previous_version(self._house.assistant.ledger.adapters()) if active else None
        versions = {"previous": before if before != BASE else None, "base": active is not None}
        return json.dumps({"answers": talks.tools(talk), **versions})

    def _previous(self) -> str:
        """Yesterday's version. Raises: BadInput when there is none."""
        active = self._house.assistant.ledger.active_adapter()
        if active is None:
            raise BadInput("there is no version before this one: the base model serves")
        return previous_version(self._house.assistant.ledger.adapters())

    def _last(self, talk: Talk) -> Exchange | None:
        last = talk.said[-1].exchange_id if talk.said else None
        return self._house.assistant.ledger.exchange(last) if last else None

    def _recollections(self, exchange: Exchange) -> list[Mapping[str, Any]]:
        """What the exchange was given, with the questions as they stand in the ledger now."""
        found: list[Mapping[str, Any]] = []
        for recollection in exchange.recollections:
            exchange_id = recollection["exchange_id"]
            try:
                known = self._house.assistant.ledger.exchange(exchange_id).question if exchange_id else None
                question = known or str(recollection.get("source"))
            except NotFound:
                question = "(deleted since)"
            found.append({**recollection, "question": question})
        return found
