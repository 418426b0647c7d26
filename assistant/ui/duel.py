"""Blind comparison, for those who switch it on: two versions answer, nobody says which is which, and the choice rates.

The better answer gets a thumb up and the other one a thumb down, with where that comes from in the comment; both are
exchanges like any other, siblings in the conversation. Who does not choose rates nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from html import escape
from time import monotonic
from typing import Any, Literal

import gradio as gr

from assistant import feedback
from assistant.texts import Language, text
from assistant.turn import Answered, Ask, Assistant, Words, turn
from assistant.ui.markup import both
from assistant.ui.shell import HIDDEN, House, Updates, i18n, lang, told
from assistant.ui.talk import Talk, literal
from assistant.versions import previous_version
from memory.accounts import Role
from memory.errors import NotRemembered
from memory.records import BASE

SECONDS_BETWEEN_UPDATES = 0.2
ABOUT = f"<p>{both('duel.about')}</p>"
Choice = Literal["left", "right", "neither"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one question: ids of their exchanges, and the versions that gave them."""

    left: str
    right: str
    versions: tuple[str, str]


def contenders(assistant: Assistant) -> tuple[str, str] | None:
    """The version that serves and the one before it; None where only one has ever served."""
    active = assistant.ledger.active_adapter()
    if active is None or active.model_id != assistant.engine.model_id:
        return None
    return active.version, previous_version(assistant.ledger.adapters()) or BASE


class Duel:
    """Two answers side by side and the buttons that choose. What is a session's own lies in `gr.State`."""

    def __init__(self, house: House) -> None:
        self._house = house

    def lay_out(self) -> None:
        self.pair = gr.State(None)
        with gr.Column(visible=False, elem_id="duel") as self.panel:
            self.about = gr.HTML(ABOUT)
            with gr.Row(elem_id="duel-answers"):
                self.left = gr.Markdown(elem_id="duel-left", elem_classes="answer")
                self.right = gr.Markdown(elem_id="duel-right", elem_classes="answer")
            with gr.Row(elem_classes="actions", visible=False) as self.buttons:
                self.choose = {
                    "left": gr.Button(i18n("duel.left"), size="sm", elem_id="choose-left"),
                    "right": gr.Button(i18n("duel.right"), size="sm", elem_id="choose-right"),
                    "neither": gr.Button(i18n("duel.neither"), size="sm", elem_id="choose-neither"),
                }
        for side in (self.left, self.right):
            # Gradio's would take tabs, and the spaces that all lines begin with, out of the answer's code.
            setattr(side, "postprocess", lambda said: said)  # noqa: B010 - a method, to mypy
        self.verdict = gr.HTML(visible=False, elem_id="duel-verdict")

    @property
    def widgets(self) -> list[Any]:
        """All that a comparison sets."""
        return [self.pair, self.panel, self.about, self.left, self.right, self.buttons, self.verdict]

    def wire(self, talk: gr.State, view: Sequence[Any], chosen: Callable[[Talk, str, Language], Updates]) -> None:
        """Connect the buttons; `chosen` shows the conversation that goes on with one of the answers."""

        def handler(choice: Choice) -> Callable[..., Any]:
            @told
            def on_choice(pair: Pair | None, now: Talk, request: gr.Request) -> Updates:
                return self._decide(choice, pair, now, request, chosen)

            return on_choice

        for choice, button in self.choose.items():
            button.click(handler(choice), [self.pair, talk], [*view, *self.widgets], **HIDDEN)  # type: ignore[arg-type]

    @told
    def on_switch(self, on: bool, request: gr.Request) -> None:
        self._house.assistant.ledger.choose(self._house.who(request).id, {"blind": bool(on)})

    def closed(self) -> Updates:
        """Without a comparison."""
        return {self.pair: None, self.panel: gr.Column(visible=False), self.verdict: gr.HTML(visible=False)}

    def fight(self, ask: Ask, versions: tuple[str, str]) -> Generator[Updates, None, tuple[str, Updates]]:
        """Both versions answer within the conversation that `ask` names, one after the other, in an order and on sides
        that nobody knows.

        Each update tells all of how the comparison stands, for of some that follow each other at once a browser may
        show the last alone. Returns the exchange that the conversation goes on with as long as nobody has chosen, and
        how the page stands then. Where it is stopped, there is nothing to choose.
        """
        order = random.sample(versions, 2)
        sides = (self.left, self.right)
        shown = {
            self.panel: gr.Column(visible=True),
            self.about: f"<p>{both('duel.writing')}</p>",
            self.buttons: gr.Row(visible=False),
            self.left: "…",
            self.right: "…",
        }
        yield shown
        answered: list[Answered] = []
        for version, side in zip(order, sides, strict=True):
            known = frozenset(one.exchange.id for one in answered)
            asked = replace(ask, adapter=version, not_recalled=known)
            said, shown_at = "", 0.0
            for event in turn(self._house.now, asked):
                if isinstance(event, Words):
                    said += event.text
                    if monotonic() - shown_at >= SECONDS_BETWEEN_UPDATES:
                        shown_at = monotonic()
                        shown = {**shown, side: literal(said)}
                        yield shown
                elif isinstance(event, Answered):
                    answered.append(event)
                    if not event.stored:
                        raise NotRemembered(event.warning or "it was not stored")
                    shown = {**shown, side: literal(event.exchange.answer)}
                    yield shown
            if ask.stop.is_set():
                return answered[0].exchange.id, self.closed()
        left, right = (one.exchange.id for one in answered)
        return left, {
            self.pair: Pair(left, right, (order[0], order[1])),
            self.panel: gr.Column(visible=True),
            self.about: ABOUT,
            self.buttons: gr.Row(visible=True),
            self.left: literal(answered[0].exchange.answer),
            self.right: literal(answered[1].exchange.answer),
        }

    def _decide(
        self,
        choice: Choice,
        pair: Pair | None,
        talk: Talk,
        request: gr.Request,
        chosen: Callable[[Talk, str, Language], Updates],
    ) -> Updates:
        who, language = self._house.who(request), lang(request)
        if talk.user != who.id:
            gr.Warning(text("chat.forgotten", language))
        if pair is None or talk.user != who.id:
            return self.closed()
        winner, loser = (pair.right, pair.left) if choice == "right" else (pair.left, pair.right)
        if choice != "neither":
            trusted, now = who.role.may(Role.TEACHER), self._house.now
            feedback.rate(now, winner, 1, comment="better in a blind comparison", user=who.id, trusted=trusted)
            feedback.rate(now, loser, -1, comment="worse in a blind comparison", user=who.id, trusted=trusted)
        told_ = text(f"duel.was.{choice}", language, left=pair.versions[0], right=pair.versions[1])
        return {
            **chosen(talk, winner, language),
            **self.closed(),
            self.verdict: gr.HTML(f"<p role='status'>{escape(told_)}</p>", visible=True),
        }
