"""The history page: one's conversations by date and by words, to open, rename, delete and take along as files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from itertools import groupby

import gradio as gr

from assistant.forgetting import forget
from assistant.texts import Language, text
from assistant.ui.markup import act_button, asked, both, dialog, field, marked, when
from assistant.ui.shell import HIDDEN, House, Updates, acting, became, board, header, i18n, lang, outcome, pressed, told
from memory.errors import NotFound
from memory.history import Conversation
from memory.scrubbing import scrub

TITLE_CHARS = 120
MOST = 200
"""Conversations on the page; older ones are found by their words."""

DIALOGS = dialog(
    "rename-dialog", "history.rename", field("title", "history.title", more=f"maxlength='{TITLE_CHARS}'"), "dialog.save"
) + dialog(
    "delete-dialog",
    "history.delete",
    asked("title", "history.delete.means"),
    "history.delete.do",
    danger=True,
)


def build(pages: gr.Blocks, house: House) -> None:
    """Lay the page out in the open Blocks, and wire it."""
    page = History(house)
    with gr.Column(elem_id="history-page", elem_classes=["page", "wide"]):
        gr.HTML(header("history"))
        page.lay_out()
    page.wire(pages)


class History:
    """The page's widgets and what happens on them. All that it shows is read from the ledger each time."""

    def __init__(self, house: House) -> None:
        self._house = house

    def lay_out(self) -> None:
        gr.HTML(f"<h1>{both('nav.history')}</h1>{DIALOGS}")
        self.search = gr.Textbox(
            label=i18n("history.search"),
            placeholder=i18n("history.search.hint"),
            max_lines=1,
            elem_id="search",
            autofocus=True,
        )
        self.shelf = board("conversations")
        self.outcome = outcome()

    def wire(self, pages: gr.Blocks) -> None:
        """Connect the widgets."""
        # One event for both: what is typed while the page still loads is looked for last, and stays.
        looked_for = [pages.load, self.search.change]
        gr.on(looked_for, self.on_look, self.search, self.shelf, trigger_mode="always_last", **HIDDEN)
        self.shelf.select(self.on_act, self.search, [self.shelf, self.outcome], **HIDDEN)

    @told
    def on_look(self, words: str, request: gr.Request) -> str:
        who, language = self._house.who(request), lang(request)
        wanted = scrub(words or "")[:200].split()
        found = self._house.assistant.ledger.conversations(who.id, words=wanted, limit=MOST)
        return shelf(found, self._house.assistant.clock(), language, words=wanted)

    @acting
    def on_act(self, words: str, act: gr.EventData, request: gr.Request) -> Updates:
        who, sent = self._house.who(request), pressed(act)
        assistant, found = self._house.assistant, sent.get("id", "")
        if sent.get("act") == "rename":
            title = " ".join(scrub(sent.get("title", "")).split())[:TITLE_CHARS]
            assistant.ledger.rename(found, title, user=who.id)
        elif sent.get("act") == "delete":
            if assistant.ledger.owner(found) != who.id:
                raise NotFound("conversation", found)
            home, remove = assistant.settings.home, assistant.memory.forget
            forget(assistant.ledger, remove, home, assistant.key, conversation=found)
            self._house.note(who, "conversation deleted", found)
            gr.Info(text("history.deleted", lang(request)))
            return {self.shelf: self.on_look(words, request), self.outcome: became(found)}
        return {self.shelf: self.on_look(words, request)}


def shelf(found: Sequence[Conversation], now: datetime, language: Language, *, words: Sequence[str] = ()) -> str:
    """HTML: conversations by date, with the words marked that were searched for, or what to do where there is none."""
    if not found:
        return f"<p class='card empty'>{text('history.none.found' if words else 'history.none', language)}</p>"
    parts = []
    for then, of_then in groupby(found, key=lambda one: when(one.last_at, now, language)):
        rows = "".join(_row(one, words, language) for one in of_then)
        parts.append(f"<h2>{escape(then)}</h2><ul class='card shelf'>{rows}</ul>")
    if len(found) >= MOST:
        parts.append(f"<p class='older'>{text('history.more', language)}</p>")
    return "".join(parts)


def _row(one: Conversation, words: Sequence[str], language: Language) -> str:
    count = text("history.exchange" if one.exchanges == 1 else "history.exchanges", language, n=one.exchanges)
    at = one.last_at.astimezone()
    excerpt = f"<p class='found'>{marked(one.found, words)}</p>" if one.found else ""
    export = "".join(
        f"<a class='act' href='./conversations/{escape(one.id)}/export.{kind}' download>{name}</a>"
        for kind, name in (("md", "Markdown"), ("json", "JSON"))
    )
    # Another branch than the newest may hold what was searched for.
    within = f"&amp;at={escape(one.found_in)}" if one.found_in else ""
    given = {"id": one.id, "title": one.title}
    rename = act_button("rename", text("history.rename", language), given, ask="rename-dialog")
    delete = act_button("delete", text("history.delete.short", language), given, ask="delete-dialog", danger=True)
    return (
        f"<li><div class='what'><a class='title' href='./?c={escape(one.id)}{within}'>{marked(one.title, words)}</a>"
        f"<span class='quiet'><time datetime='{at.isoformat()}'>{at:%Y-%m-%d %H:%M}</time> · {count}</span>{excerpt}"
        f"</div><div class='acts'>{rename}{export}{delete}</div></li>"
    )
