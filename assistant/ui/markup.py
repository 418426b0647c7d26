"""Pieces of HTML that the pages are made of: both languages, buttons that tell what was pressed, dialogs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from itertools import groupby

from assistant.texts import TEXTS, Language, text
from memory.folding import find


def dialog(
    name: str, title: str, body: str, action: str, *, danger: bool = False, before: str = "", about: str = ""
) -> str:
    """HTML: a question to ask before a button's data is sent. Fields in `body` are sent along, under their names.

    Args:
        before: the id of a button of Gradio's that it stands before; one of ours names its dialog itself.
        about: then, which element's value or data it is about; without any the button is pressed unasked.
    """
    kind = " class='danger'" if danger else ""
    place = f' data-before="{before}" data-from="{about}"' if before else ""
    return (
        f"<dialog id='{name}' aria-labelledby='{name}-title'{place}><form method='dialog'><h2 id='{name}-title'>"
        f"{both(title)}</h2>{body}<p class='refused' role='alert' hidden></p><div class='buttons'>"
        f"<button type='button' data-close>{both('dialog.cancel')}</button>"
        f"<button value='yes'{kind}>{both(action)}</button></div></form></dialog>"
    )


def field(name: str, label: str, *, kind: str = "text", more: str = "") -> str:
    """HTML: one labelled field of a dialog; `kind` is an input's type, or `area`."""
    if kind == "area":
        return f"<label>{both(label)}<textarea name='{name}' rows='5' {more}></textarea></label>"
    return f"<label>{both(label)}<input name='{name}' type='{kind}' {more}></label>"


def act_button(
    act: str, label: str, data: Mapping[str, str] | None = None, *, ask: str = "", danger: bool = False
) -> str:
    """HTML: a button of a board, which sends its name and `data`, after the dialog `ask` has asked for more."""
    asks = f" data-ask='{ask}'" if ask else ""
    kind = " danger" if danger else ""
    given = "".join(f' data-{name}="{escape(value)}"' for name, value in (data or {}).items())
    return f"<button type='button' class='act{kind}' data-act='{act}'{asks}{given}>{escape(label)}</button>"


def marked(text: str, words: Sequence[str]) -> str:
    """HTML: the text with each of the words marked wherever it stands, in whatever form it is written."""
    found = set[int]()
    for word in words:
        begins = 0
        while place := find(text[begins:], word):
            first, last = (begins + one for one in place)
            if last <= begins:
                break
            found.update(range(first, last))
            begins = last
    parts = groupby(enumerate(text), key=lambda one: one[0] in found)
    said = [(hit, escape("".join(letter for _, letter in letters))) for hit, letters in parts]
    return "".join(f"<mark>{part}</mark>" if hit else part for hit, part in said)


def both(key: str) -> str:
    """HTML in both languages, of which the style shows the browser's: for what is laid out before anybody comes."""
    english, chinese = TEXTS[key]
    return f'<span lang="en">{escape(english)}</span><span lang="zh">{escape(chinese)}</span>'


def asked(what: str, means: str) -> str:
    """HTML: the body of a dialog that only asks: which thing it is about, by its name in the button's data, and what
    happens to it.
    """
    return f"<p class='about'><b data-fill='{what}'></b></p><p>{both(means)}</p>"


def when(at: datetime, now: datetime, language: Language) -> str:
    """The heading under which a conversation stands that was last written to at `at`."""
    today, day = now.astimezone().date(), at.astimezone().date()
    if day >= today:
        return text("history.today", language)
    if day == today - timedelta(days=1):
        return text("history.yesterday", language)
    if day > today - timedelta(days=7):
        return text("history.week", language)
    return f"{day:%Y-%m}"
