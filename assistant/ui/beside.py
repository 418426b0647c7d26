"""The list of conversations beside the chat, where the window has room for it: the newest, to go on with. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from itertools import groupby

from assistant.texts import Language, text
from assistant.ui.markup import when
from memory.history import Conversation

MOST = 20
"""Conversations in the list; the history page has them all."""


def beside(found: Sequence[Conversation], current: str | None, now: datetime, language: Language) -> str:
    """HTML: the newest conversations by date, of which `current` is on the page. The script hides and shows it."""
    parts = []
    for then, of_then in groupby(found, key=lambda one: when(one.last_at, now, language)):
        items = "".join(_item(one, current) for one in of_then)
        parts.append(f"<h3>{escape(then)}</h3><ul>{items}</ul>")
    said = "".join(parts) or f"<p>{text('beside.none', language)}</p>"
    every = f"<a class='all' href='./history'>{text('beside.all', language)}</a>"
    return (
        f"{_button('open', '»', 'beside.show', language)}"
        f"<nav aria-label='{text('beside.title', language)}'><div><h2>{text('beside.title', language)}</h2>"
        f"{_button('closed', '«', 'beside.hide', language)}</div>{said}{every}</nav>"
    )


def _item(one: Conversation, current: str | None) -> str:
    here = " aria-current='page'" if one.id == current else ""
    title = escape(one.title)
    return f'<li><a href="./?c={escape(one.id)}" title="{title}"{here}>{title}</a></li>'


def _button(to: str, sign: str, name: str, language: Language) -> str:
    told = text(name, language)
    return f"<button type='button' class='ns-tool' data-list='{to}' title='{told}' aria-label='{told}'>{sign}</button>"
