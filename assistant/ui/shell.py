"""What all pages share: who is at them, in which language, how an error is told, and the way between them.

Each handler asks for the role that it needs through `House.who`: that a button is not shown protects nothing.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from secrets import token_hex
from typing import Any, Protocol, TypeVar

import gradio as gr

from assistant.accounts import Accounts
from assistant.chinese import said
from assistant.door import identify
from assistant.live import live
from assistant.texts import TEXTS, Language, language
from assistant.turn import Assistant
from assistant.ui.markup import both
from assistant.ui.theme import MOON
from memory.accounts import Account, Deed, Role
from memory.errors import NightschoolError

Updates = dict[Any, Any]
"""Widget → its new value or properties."""
Handler = TypeVar("Handler", bound=Callable[..., Any])

PAGES = {"chat": "./", "history": "./history", "memory": "./memory", "learning": "./learning", "admin": "./admin"}
"""Page → its address. The script shows the link to Admin to admins alone."""

HIDDEN: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""How every handler is wired: no endpoint is offered to API clients, which have the HTTP routes."""

CHINESE = ("zh", "zh-CN", "zh-TW", "zh-HK", "zh-MO", "zh-SG", "zh-Hans", "zh-Hant", "zh-Hans-CN", "zh-Hant-TW")
"""Gradio knows a language by the whole tag that a browser names."""

i18n = gr.I18n(
    en={key: said[0] for key, said in TEXTS.items()},
    **{tag: {key: said[1] for key, said in TEXTS.items()} for tag in CHINESE},
)


class Titling(Protocol):
    """Whoever finds titles (`assistant.titles`)."""

    def want(self, conversation_id: str, question: str) -> None:
        """Have a title for a conversation, which opens with `question`, some time."""
        ...


@dataclass(frozen=True)
class House:
    """What every page is built over."""

    assistant: Assistant
    accounts: Accounts
    titles: Titling | None = None
    """None: first words are titles enough."""

    @property
    def now(self) -> Assistant:
        """The assistant with the settings that hold now."""
        return live(self.assistant)

    def who(self, request: gr.Request, least: Role = Role.USER) -> Account:
        """Whose page sent this. Raises: NotAllowed for nobody, and for a role below `least`."""
        return self.accounts.by_id(request.username, least=least)

    def left(self, request: gr.Request) -> bool:
        """Whether whoever sent this has logged out since."""
        found = identify(self.accounts, request.headers)
        return found is None or found.id != request.username

    def note(self, by: Account, action: str, detail: str = "") -> None:
        """Write down in the audit log what was done."""
        self.assistant.ledger.note(self.deed(by, action, detail))

    def deed(self, by: Account, action: str, detail: str = "") -> Deed:
        """The line of the audit log, to be written with what was done."""
        return Deed(self.assistant.clock(), by.name, action, detail)


def lang(request: gr.Request) -> Language:
    """The language of the browser that sent this."""
    return language(str(request.headers.get("accept-language", "")))


def warn(error: NightschoolError, language: Language) -> None:
    """One line, over the page for ten seconds."""
    gr.Warning(escape(said(str(error), language)))


def told(handler: Handler) -> Handler:
    """A handler whose refusals are told on the page, which stays as it was."""

    @functools.wraps(handler)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        try:
            return handler(*arguments, **named)
        except NightschoolError as error:
            asked = next((one for one in (*arguments, *named.values()) if isinstance(one, gr.Request)), None)
            warn(error, lang(asked) if asked else "en")
            return gr.skip()

    return wrapped  # type: ignore[return-value]


def outcome() -> gr.HTML:
    """A widget that shows nothing: what it is given (`became`) the page's script takes."""
    return gr.HTML("", elem_id="outcome", html_template="", js_on_load="outcome", apply_default_css=False)


def became(*of: str, refused: str = "") -> str:
    """For `outcome`: what was typed and sent under a name, or about this exchange or conversation, was taken (or has
    nothing any more that it could be about), or was refused, and why. Until then the script keeps it.
    """
    return json.dumps({"of": of, "refused": refused, "told": token_hex(4)})


def drawn(about: str) -> str:
    """HTML that is not seen: what a form is about. Each time that the server fills it in anew it is another one, by
    which the script knows to put there again what was typed and not sent.
    """
    return f"<i data-about='{escape(about)}' data-drawn='{token_hex(4)}'></i>"


def acting(handler: Handler) -> Handler:
    """A handler of a board's buttons on a page with an `outcome`. Refusals are told as by `told`, and those of what was
    typed into a dialog in that dialog, which opens again.
    """

    @functools.wraps(handler)
    def wrapped(self: Any, *arguments: Any) -> Any:
        sent = pressed(next(one for one in arguments if isinstance(one, gr.EventData)))
        asked = next(one for one in arguments if isinstance(one, gr.Request))
        typed = sent.get("typed")
        try:
            updates = handler(self, *arguments)
        except NightschoolError as error:
            if typed is None:
                warn(error, lang(asked))
                return gr.skip()
            return {self.outcome: became(typed, refused=said(str(error), lang(asked)))}
        return updates if typed is None else {**updates, self.outcome: became(typed)}

    return wrapped  # type: ignore[return-value]


def board(elem_id: str, **more: Any) -> gr.HTML:
    """A widget that shows HTML of ours and tells, as `select`, which of its buttons was pressed."""
    return gr.HTML("", elem_id=elem_id, js_on_load="board", container=False, apply_default_css=False, **more)


def pressed(act: gr.EventData) -> dict[str, str]:
    """What a board's button sent: texts under names, whatever else a browser made of it."""
    sent = act._data if isinstance(act._data, dict) else {}
    return {str(name): str(value)[:100_000] for name, value in sent.items() if isinstance(value, (str, int))}


def header(here: str) -> str:
    """HTML: the name, the way between the pages, and who is here (the script fills it in)."""
    links = "".join(
        f"<a href='{path}' data-page='{page}'{' aria-current=page' if page == here else ''}>{both(f'nav.{page}')}</a>"
        for page, path in PAGES.items()
    )
    return (
        f'<header class="site"><a class="brand" href="./" aria-label="Nightschool">'
        f'<img src="{MOON}" alt="" width="24" height="24">'
        f"<span>Nightschool</span></a><nav>{links}</nav><div id='who'></div></header>"
        "<div id='gone' role='alert' hidden></div>"
    )
