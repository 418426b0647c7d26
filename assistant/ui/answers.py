"""Answers on the chat page: sent, given again, edited, compared; streamed, stopped, and what stands after a failure.

`Answers.answer` is the story: it walks through `assistant.turn.turn` and shows each event.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from threading import Event
from time import monotonic
from typing import Any

import gradio as gr

from assistant.engine import Sampling
from assistant.texts import Language, text
from assistant.turn import Answered, Ask, Waiting, Words, clean, turn
from assistant.ui.duel import contenders
from assistant.ui.shell import House, Updates, lang, warn
from assistant.ui.stage import Attempt, Stage
from assistant.ui.talk import USES, Said, Talk, Use
from assistant.versions import previous_version
from memory.errors import BadInput, NightschoolError
from memory.records import BASE, Exchange

AGAIN_TEMPERATURE = 0.7
SECONDS_BETWEEN_UPDATES = 0.1
SECONDS_BETWEEN_LOOKS = 1.0
"""At whether whoever asked is still logged in."""

AT_ONCE = 32
"""Answers that may be under way on all pages: the engine takes turns or batches, and who waits can still press stop."""

OF_ONE_USER = AT_ONCE // 8
"""Of these, so that whoever has many pages open leaves room for the others."""


class Answers:
    """What is answered on `stage`."""

    def __init__(self, house: House, stage: Stage) -> None:
        self._house, self._stage = house, stage
        self._stops: dict[str, Event] = {}
        """Session → what ends the answer that it is being given."""
        self._asking: dict[str, str] = {}
        """Session → the account that it asks for."""

    def on_send(
        self,
        message: str,
        talk: Talk,
        memory: bool,
        use: Use,
        blind: bool,
        editing: str | None,
        born: str | None,
        request: gr.Request,
    ) -> Iterator[Updates]:
        """What was written, after the conversation or, where an earlier message is edited, in its place."""
        start, _, account = (born or "").partition(" ")
        if start != self._stage.start or (account and talk.user != account):
            # Of a page that another start of the server laid out nothing is known, nor of one whose line has been
            # broken for an hour, when Gradio forgets what it holds: not even that its chat is temporary.
            yield self._refused("chat.older", request)
            return
        if talk.conversation_id is None:
            talk = replace(talk, use=use)
        after = talk
        edited = next((said for said in talk.said if editing and said.exchange_id == editing), None)
        attempt = (talk, editing if edited else None)
        if edited is not None:
            after = talk.before(edited)
        versions = contenders(self._house.assistant) if blind and not talk.temporary else None
        yield from self._while_here(
            self.answer(Ask(message, memory=memory), after, attempt, request, versions=versions), request
        )

    def on_regenerate(self, talk: Talk, memory: bool, request: gr.Request) -> Iterator[Updates]:
        """The last question again: what comes is a sibling of the last answer, which stays in the ledger."""
        if not talk.said:
            yield self._refused("chat.forgotten", request)
            return
        yield from self._again(talk, talk.said[-1], memory, None, request)

    def on_again(self, talk: Talk, memory: bool, act: gr.EventData, request: gr.Request) -> Iterator[Updates]:
        """Any question again, as the menu beneath its answer says: in the same way, or in another one."""
        sent = act._data
        said = talk.at(int(sent.get("at", -1)))
        if said is None:
            yield self._refused("chat.forgotten", request)
            return
        how = sent.get("how")
        try:
            version = {"previous": self._previous, "base": lambda: BASE}.get(str(how), lambda: None)()
        except NightschoolError as error:
            warn(error, lang(request))
            yield self._stage.untaken()
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
        yield from self._while_here(self.answer(ask, talk.before(said), (talk, None), request), request)

    def _while_here(self, updates: Generator[Updates, None, None], request: gr.Request) -> Iterator[Updates]:
        """The updates of an answer, which is stopped when whoever asked for it has logged out in another tab."""
        looked_at = monotonic()
        with closing(updates):
            for update in updates:
                if monotonic() - looked_at >= SECONDS_BETWEEN_LOOKS:
                    looked_at = monotonic()
                    if self._house.left(request):
                        self.on_stop(request)
                yield update

    def answer(
        self,
        ask: Ask,
        talk: Talk,
        attempt: Attempt,
        request: gr.Request,
        *,
        versions: tuple[str, str] | None = None,
    ) -> Generator[Updates, None, None]:
        """One turn on the page, after what `talk` holds. Where it fails, the page is as it was before the attempt. Of
        two at once each would show its own dialogue, and only one could be stopped: the second is refused.
        """
        session = str(request.session_hash)
        if self._stops.setdefault(session, ask.stop) is not ask.stop:
            yield self._refused("chat.one", request, another=True)
            return
        try:
            who = self._house.who(request)
            if list(self._asking.values()).count(who.id) >= OF_ONE_USER:
                raise BadInput(f"{OF_ONE_USER} answers are under way for you already: wait for one of them, or stop it")
            self._asking[session] = who.id
            if not talk.user:
                # Asked before the page was laid out.
                talk = Talk(user=who.id)
                attempt = (talk, None)
            if talk.user != who.id:
                # Another account has logged in beside this page: what is on it is not for that one to go on with.
                yield self._refused("chat.older", request)
                return
            # What was forgotten since in another tab must not come back from this one.
            talk = talk.only(self._house.assistant.ledger.known([s.exchange_id for s in talk.said if s.exchange_id]))
            question = clean(ask.question, limit=self._house.now.settings.message_chars)
            talk = replace(talk, asked=attempt[0].asked + 1)
            # Named before it is stored: a page that is loaded anew meanwhile finds by it what was stored by then.
            within = talk.conversation_id or (None if talk.temporary else self._house.assistant.new_id())
            yield self._stage.begun(talk.plus(Said(question, "")), within, attempt, lang(request))
            ask = replace(ask, question=question, conversation_id=within, parent_id=talk.parent_id)
            remember, train = USES[talk.use]
            ask = replace(ask, history=talk.history, user=who.id, temporary=talk.temporary)
            ask = replace(ask, remember=remember, train=train)
            if versions:
                goes_on, stands = yield from self._stage.duel.fight(ask, versions)
                now = replace(self._stage.at(goes_on, who.id), asked=talk.asked)
                if talk.conversation_id is None:
                    self._title(self._house.assistant.ledger.exchange(goes_on))
                shown = self._stage.view if ask.stop.is_set() else self._stage.choosing
                end = {**shown(now, lang(request)), **stands, **self._stage.idle()}
            else:
                end = yield from self._walk(ask, talk, lang(request))
        except NightschoolError as error:
            warn(error, lang(request))
            end = self._stage.failed(attempt, lang(request))
        finally:
            self._stops.pop(session, None)
            self._asking.pop(session, None)
        # Not before the next one may come: whoever sees the end may ask at once.
        yield end

    def _walk(self, ask: Ask, talk: Talk, language: Language) -> Generator[Updates, None, Updates]:
        """Shows the answer as it comes. Returns how the page stands at its end."""
        answer, shown_at, end = "", 0.0, Updates()
        for event in turn(self._house.now, ask):
            if isinstance(event, Waiting):
                # Whose turn it is sees what others see while their question is read.
                told = text("chat.before", language, before=event.before) if event.before else ""
                yield self._stage.written(talk.plus(Said(ask.question, told)))
            elif isinstance(event, Words):
                answer += event.text
                if monotonic() - shown_at >= SECONDS_BETWEEN_UPDATES:
                    shown_at = monotonic()
                    yield self._stage.written(talk.plus(Said(ask.question, answer)))
            elif isinstance(event, Answered):
                if talk.conversation_id is None and event.stored:
                    self._title(event.exchange)
                end = self._stage.ended(talk, event, language)
        return end

    def _title(self, opening: Exchange) -> None:
        if self._house.titles:
            self._house.titles.want(opening.conversation_id, opening.question)

    def _refused(self, why: str, request: gr.Request, *, another: bool = False) -> Updates:
        gr.Warning(text(why, lang(request)))
        return self._stage.untaken(another=another)

    def forgotten(self, request: gr.Request) -> Any:
        """Nothing, for what was pressed is not on the page as the server knows it: that is told. Gradio forgets what it
        holds of a page whose line has been broken for an hour.
        """
        gr.Warning(text("chat.forgotten", lang(request)))
        return gr.skip()

    def under_way(self, request: gr.Request) -> bool:
        """Whether this session is being given an answer."""
        return str(request.session_hash) in self._asking

    def on_stop(self, request: gr.Request) -> None:
        """End this session's answer. It ends with its next word, and what was said by then stays."""
        stop = self._stops.get(str(request.session_hash))
        if stop:
            stop.set()

    def on_failure(self, attempt: Attempt, request: gr.Request) -> Updates:
        """After an error that nobody foresaw: the page can be used again, and the text is not lost."""
        gr.Warning(text("chat.broke", lang(request)))
        return self._stage.failed(attempt, lang(request))

    def _previous(self) -> str:
        """Yesterday's version. Raises: BadInput when there is none."""
        active = self._house.assistant.ledger.active_adapter()
        if active is None:
            raise BadInput("there is no version before this one: the base model serves")
        return previous_version(self._house.assistant.ledger.adapters())
