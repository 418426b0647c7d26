"""What a chat page knows of its conversation, and how it is written down for the page. Pure; knows no Gradio."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any, Literal

from assistant import chinese
from assistant.texts import Language, text
from memory.history import Line
from memory.records import BASE, Exchange, Message, Rating

SHOWN = 25
"""Exchanges on the page at first, and how many more each time: each update renders all of them again."""

Use = Literal["both", "remember", "train", "neither"]
USES: dict[Use, tuple[bool, bool]] = {
    "both": (True, True),
    "remember": (True, False),
    "train": (False, True),
    "neither": (False, False),
}
"""What a conversation may be used for → (whether recall may bring it back, whether nights may train on it)."""

LATEX = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"))
"""What opens and closes a formula, in the order in which the chat component looks for them."""

SIGN = "\ufdd0"
"""Stands for `<` on its way to the page, whose script puts it back where it is text by then: no Markdown has anything
to do with this character, which is none in any language, so that no text becomes HTML whatever stands around it."""

TAB = "\ufdd2"
"""Stands for a tab in code between fences, where the component would put spaces; likewise."""

END = "\ufeff\ufdd3"
"""Stands for the `>` behind an address in `<…>`, likewise: with the `<` gone the component would take it for a part of
the address, which ends at this space that is none.
"""

ADDRESS = re.compile(r"<(https?://[^\s<>]+)>", re.IGNORECASE)

FORMULA_SIGN = "&#x00003C;"
"""Stands for `<` in formulas, which the component takes as HTML and typesets before the script sees them. Nobody else
writes it in this way: the script knows it again in what is copied."""

FENCE = re.compile(
    r"^(?P<mark>`{3,}(?=[^`\n]*$)|~{3,})[^\n]*\n"
    r"(?:(?:.*?\n)?? {0,3}(?P=mark)[`~]*[ \t]*$|.*\Z)",
    re.DOTALL | re.MULTILINE,
)
"""Code between fences that nothing else can hold, since the first one stands at the very left."""

DIAGRAM = re.compile(r"(?P<mark>`{3,}|~{3,})(?P<space>[ \t]*)mermaid\b")
"""Where Gradio would draw one, labels of HTML and all: with another word it is code like any other."""


@dataclass(frozen=True, slots=True)
class Said:
    """One question and its answer on the page. `exchange_id` is None for one that the ledger doesn't hold (yet)."""

    question: str
    answer: str
    exchange_id: str | None = None
    adapter: str = BASE
    beside: tuple[str, ...] = ()
    """Itself and its siblings, in the order of writing, where it has any."""


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation as this page shows it: one branch, oldest first. It is `user`'s alone."""

    said: tuple[Said, ...] = ()
    conversation_id: str | None = None
    user: str = ""
    shown: int = SHOWN
    temporary: bool = False
    """Nothing of it is kept: it is gone with the page."""
    use: Use = "both"
    asked: int = 0
    """Questions that this page has asked: by it the script knows that one was taken."""

    @property
    def visible(self) -> tuple[Said, ...]:
        return self.said[-self.shown :]

    @property
    def hides(self) -> bool:
        """Whether there is more than is shown."""
        return len(self.said) > self.shown

    @property
    def parent_id(self) -> str | None:
        """The last exchange that was stored; what comes next follows it."""
        return next((s.exchange_id for s in reversed(self.said) if s.exchange_id), None)

    @property
    def history(self) -> list[Message]:
        """The dialogue for the prompt, with what was not stored."""
        messages: list[Message] = []
        for said in self.said:
            messages.append({"role": "user", "content": said.question})
            messages.append({"role": "assistant", "content": said.answer})
        return messages

    def plus(self, said: Said) -> Talk:
        return replace(self, said=(*self.said, said))

    def only(self, known: Collection[str]) -> Talk:
        """Without what was stored and is no longer known: it was forgotten since."""
        return replace(self, said=tuple(s for s in self.said if s.exchange_id is None or s.exchange_id in known))

    def before(self, said: Said) -> Talk:
        """As it was before `said` was said."""
        place = next(i for i, one in enumerate(self.said) if one is said)
        return replace(self, said=self.said[:place])

    def at(self, place: int) -> Said | None:
        """The exchange that is `place`th of those shown."""
        return self.visible[place] if 0 <= place < len(self.visible) else None

    def rated_at(self, index: int) -> Said | None:
        """What a thumb is about: `index` counts the messages on the page, two an exchange."""
        return self.at(index // 2)

    def earlier(self) -> Talk:
        """With more of it shown."""
        return replace(self, shown=self.shown + SHOWN)

    def beside(self, siblings: Mapping[str, tuple[str, ...]]) -> Talk:
        """With what stands beside each exchange."""
        said = tuple(replace(s, beside=siblings.get(s.exchange_id or "", ())) for s in self.said)
        return replace(self, said=said)


def from_branch(branch: Sequence[Line], user: str) -> Talk:
    """The conversation that the ledger holds, one branch of it."""
    said = tuple(Said(line.question, line.answer, line.id, line.adapter) for line in branch)
    return Talk(said, branch[-1].conversation_id if branch else None, user)


def use_of(remember: bool, train: bool) -> Use:
    """The name of what `Ledger.use` tells."""
    return next(use for use, kept in USES.items() if kept == (remember, train))


def messages(talk: Talk, lang: Language = "en", *, unfinished: bool = False) -> list[dict[str, Any]]:
    """What the chat component shows. Always in pairs, so that a thumb's index tells its exchange."""
    shown: list[dict[str, Any]] = []
    for said in talk.visible:
        shown.append(_message("user", literal(said.question)))
        shown.append(_message("assistant", literal(said.answer) or f"*{text('chat.wordless', lang)}*"))
    if unfinished and not talk.said[-1].answer:
        shown[-1] = _message("assistant", "…")
    return shown


def _message(role: str, said: str) -> dict[str, Any]:
    """In the form of which Gradio changes nothing: a plain string loses its tabs, and the spaces that all its lines
    begin with.
    """
    return {"role": role, "content": {"type": "text", "text": said}}


def thumbs(talk: Talk, ratings: Mapping[str, Rating]) -> list[Literal["Like", "Dislike"] | None]:
    """The thumb of each answer shown, from the ratings in force."""
    names: dict[int, Literal["Like", "Dislike"]] = {1: "Like", -1: "Dislike"}
    in_force = [ratings.get(said.exchange_id or "") for said in talk.visible]
    return [names.get(rating.value) if rating else None for rating in in_force]


def tools(talk: Talk) -> list[dict[str, Any]]:
    """What the script puts beneath each answer shown: its version, and which of how many branches it opens."""
    return [
        {
            "id": said.exchange_id,
            "stored": said.exchange_id is not None,
            "version": said.adapter,
            "fork": [said.beside.index(said.exchange_id) + 1, len(said.beside)]
            if said.exchange_id in said.beside
            else 0,
        }
        for said in talk.visible
    ]


def literal(text: str) -> str:
    """Markdown in which no HTML is left: tags are shown, and copied, as they were written, in code too.

    `SIGN` stands for `<`, but for code between fences in a text without formulas: there it stays, for the colours.
    """
    formulas: list[str] = []

    def formula(found: re.Match[str]) -> str:
        formulas.append(found[0].replace("<", FORMULA_SIGN))
        return f"\ufdd1{len(formulas) - 1}\ufdd1"

    text = DIAGRAM.sub(r"\g<mark>\g<space>Mermaid", text)
    text = FENCE.sub(lambda fence: fence[0].replace("\t", TAB), text)
    for left, right in LATEX:
        text = re.sub(rf"{re.escape(left)}[\s\S]+?{re.escape(right)}", formula, text)
    if not formulas:
        return _outside_fences(text)
    text = _signed(text)
    for place in reversed(range(len(formulas))):
        text = text.replace(f"\ufdd1{place}\ufdd1", formulas[place])
    return text


def _outside_fences(text: str) -> str:
    parts, at = [], 0
    for fence in FENCE.finditer(text):
        parts += [_signed(text[at : fence.start()]), fence[0]]
        at = fence.end()
    return "".join([*parts, _signed(text[at:])])


def _signed(text: str) -> str:
    return ADDRESS.sub(rf"{SIGN}\1{END}", text).replace("<", SIGN)


def where_from(exchange: Exchange, recollections: Sequence[Mapping[str, Any]], lang: Language = "en") -> str:
    """HTML: the version that answered and the recollections it was given, each with its score."""
    version = (
        text("where.base", lang)
        if exchange.adapter_sha256 is None
        else text("where.version", lang, name=exchange.adapter)
    )
    digest = f" <code>{escape(exchange.adapter_sha256[:12])}</code>" if exchange.adapter_sha256 else ""
    seconds = exchange.timings.get("total_s")
    took = f" · {seconds:.1f} s" if seconds is not None else ""
    cut = {"stopped": "where.stopped", "length": "where.length", "content_filter": "where.filtered"}
    key = cut.get(exchange.finish_reason)
    ended = text(key, lang) if key else ""
    took += f" · {ended}" if ended else ""
    about = escape(" ".join(exchange.question.split())[:80])
    lines = [
        f"<p class='about'>“{about}”</p><p><b>{escape(version)}</b>{digest} · {escape(exchange.model_id)}{took}</p>"
    ]
    if not recollections:
        lines.append(f"<p>{text('where.nothing', lang)}</p>")
        return "".join(lines)
    items = "".join(
        f"<li><span class='score'>{r['score']:.2f}</span> {escape(r['question'])}"
        f" <small>{escape(chinese.said(str(r['reason']), lang))}</small>"
        "</li>"
        for r in recollections
    )
    return "".join([*lines, f"<p>{text('where.recalled', lang)}</p><ol class='recalled'>{items}</ol>"])
