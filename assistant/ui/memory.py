"""The memory page: what is remembered, where it was used, and the documents; searched, edited, and forgotten for good.

Nothing is kept in the page: all that it shows is read from the ledger each time, and is the asker's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from assistant import feedback
from assistant.chinese import said
from assistant.forgetting import forget, still_in_the_weights, sweep_uploads
from assistant.texts import Language, counted, text
from assistant.turn import MEMORY, clean
from assistant.ui.markup import act_button, asked, both, dialog
from assistant.ui.shell import (
    HIDDEN,
    House,
    Updates,
    became,
    board,
    drawn,
    header,
    i18n,
    lang,
    outcome,
    pressed,
    told,
    warn,
)
from assistant.ui.tables import empty, short, table, time
from memory.accounts import Account, Role
from memory.documents import Library
from memory.errors import BadInput, NightschoolError, NotFound
from memory.records import Document, Exchange, Kind, Only, Passage, Rating, Recollection, Unfinished

SHOWN = 25
"""Rows of a page of what is found."""
KINDS = ("everything", "correction", "exchange", "document", "hidden")
"""What can be shown alone; `hidden` is what is not to be recalled, so that it can be found to be recalled again."""
SEARCHABLE: dict[str, Kind | None] = {
    "everything": None,
    "correction": "correction",
    "exchange": "exchange",
    "document": "document",
}
LISTED: dict[str, Only] = {
    "everything": "recalled",
    "exchange": "recalled",
    "correction": "corrected",
    "hidden": "hidden",
}
USES = ("remember", "train")
SECONDS_BETWEEN_LOOKS = 3.0
"""At how far the index is, while something is being taken in."""


DIALOGS = "".join(
    (
        dialog(
            "forget-dialog",
            "memory.forget.title",
            asked("question", "memory.forget.means"),
            "memory.forget",
            danger=True,
            before="memory-forget",
            about="#memory-detail [data-question]",
        ),
        dialog(
            "forget-conversation-dialog",
            "memory.forget.conversation.title",
            asked("conversation", "history.delete.means"),
            "memory.forget.conversation",
            danger=True,
            before="memory-forget-conversation",
            about="#memory-detail [data-question]",
        ),
        dialog(
            "remove-document-dialog",
            "memory.remove.title",
            asked("name", "memory.remove.means"),
            "memory.remove",
            danger=True,
        ),
    )
)


def build(pages: gr.Blocks, house: House) -> None:
    """Lay the page out in the open Blocks, and wire it."""
    memory = MemoryPage(house)
    with gr.Column(elem_id="memory-page", elem_classes=["page", "wide"]):
        gr.HTML(header("memory"))
        memory.lay_out()
    memory.wire(pages)


class MemoryPage:
    """The page's widgets and what happens on them."""

    def __init__(self, house: House) -> None:
        self._house = house

    # ------------------------------------------------------------------ layout

    def lay_out(self) -> None:
        gr.HTML(f"<h1>{both('nav.memory')}</h1><p>{both('memory.about')}</p>{DIALOGS}")
        with gr.Row(elem_classes="actions"):
            self.query = gr.Textbox(
                label=i18n("memory.search"),
                placeholder=i18n("memory.search.hint"),
                elem_id="memory-query",
                max_lines=1,
                scale=3,
            )
            self.kind = gr.Dropdown(
                [(i18n(f"memory.{kind}"), kind) for kind in KINDS],
                value="everything",
                label=i18n("memory.show"),
                elem_id="memory-kind",
                scale=1,
            )
        self.on = gr.Checkbox(label=i18n("memory.on"), value=True, elem_id="memory-on")
        # The browser has it, and sends it: a `State` is gone where Gradio has forgotten the page, with what is saved.
        self.chosen = gr.Textbox(visible=False, elem_id="memory-chosen")
        self.opened = gr.Checkbox(visible=False, elem_id="memory-opened")
        self._lay_out_one()
        self.found = board("memory-found")
        self.page = gr.State(0)
        with gr.Row(elem_classes="actions"):
            self.newer = gr.Button(i18n("memory.newer"), visible=False, elem_id="memory-newer", scale=0, min_width=110)
            self.older = gr.Button(i18n("memory.older"), visible=False, elem_id="memory-older", scale=0, min_width=110)
        self.weights = gr.HTML(elem_id="memory-weights")
        self.timer = gr.Timer(SECONDS_BETWEEN_LOOKS, active=False)
        gr.HTML(f"<p><a href='./v1/memory/export' download>{both('memory.export')}</a></p>")
        gr.HTML(f"<h2>{both('memory.documents')}</h2>")
        self.files = gr.File(
            label=i18n("memory.add"),
            file_count="multiple",
            file_types=[".txt", ".md", ".pdf", ".csv", ".jsonl"],
            elem_id="memory-files",
        )
        self.documents = board("memory-documents")
        self.outcome = outcome()

    def _lay_out_one(self) -> None:
        with gr.Column(visible=False, elem_id="memory-one") as self.one:
            self.detail = gr.HTML(elem_id="memory-detail")
            self.answer = gr.Textbox(label=i18n("memory.holds"), lines=2, max_lines=8, elem_id="memory-answer")
            self.use = gr.CheckboxGroup(
                [(i18n(f"memory.{name}"), name) for name in USES], label=i18n("memory.use"), elem_id="memory-use"
            )
            with gr.Row(elem_classes="actions"):
                self.save = gr.Button(
                    i18n("dialog.save"), variant="primary", elem_id="memory-save", scale=0, min_width=110
                )
                self.forget = gr.Button(i18n("memory.forget"), elem_id="memory-forget", scale=0, min_width=110)
                self.forget_all = gr.Button(
                    i18n("memory.forget.conversation"), elem_id="memory-forget-conversation", scale=0, min_width=180
                )
                self.close = gr.Button(i18n("thumb.close"), elem_id="memory-close", scale=0, min_width=110)
            self.along = gr.Checkbox(label=i18n("memory.along"), elem_id="memory-along")

    def wire(self, pages: gr.Blocks) -> None:
        """Connect the widgets."""
        looking = [self.query, self.kind, self.page]
        shown = [self.found, self.page, self.newer, self.older]
        standing = [self.weights, self.timer]
        listed = [*shown, *standing, self.documents, self.on]
        detail = [self.chosen, self.one, self.detail, self.answer, self.use, self.along]
        forgetting = [self.chosen, self.along, *looking]
        everything = [*listed, *detail, self.outcome]
        first = [self.query, self.kind]
        # One event for these three: what is asked for while another search goes on, or the page loads, is looked for
        # last, and stays.
        looked_for = [pages.load, self.query.submit, self.kind.change]
        asked, answered = [*first, self.opened], [*everything, self.opened]
        gr.on(looked_for, self.on_search, asked, answered, trigger_mode="always_last", **HIDDEN)
        self.newer.click(self.on_newer, looking, everything, **HIDDEN)
        self.older.click(self.on_older, looking, everything, **HIDDEN)
        self.timer.tick(self.on_look, None, standing, **HIDDEN)
        self.on.input(self.on_switch, self.on, None, **HIDDEN)
        for widget in (self.found, self.documents):
            widget.select(self.on_act, looking, everything, **HIDDEN)
        self.close.click(self._closed, None, detail, **HIDDEN)
        self.save.click(self.on_save, [self.chosen, self.answer, self.use, *looking], everything, **HIDDEN)
        self.forget.click(self.on_forget, forgetting, everything, **HIDDEN)
        self.forget_all.click(self.on_forget_conversation, forgetting, everything, **HIDDEN)
        uploading = {"api_visibility": "private", "show_progress_on": self.files}
        self.files.upload(self.on_upload, [self.files, *looking], [self.files, *everything], **uploading)

    # ------------------------------------------------------------------ what happens

    @told
    def on_search(self, query: str, kind: str, opened: bool, request: gr.Request) -> Updates:
        """The page's first search also opens what its address names, unless that is nobody's, or another's.

        Args:
            opened: whether the page did that already.
        """
        who, language = self._house.who(request), lang(request)
        anew, of = self._anew(query, kind, 0, who, language), dict(request.query_params).get("of")
        if of and not opened:
            with suppress(NotFound):
                anew |= self._opened(of, who, language)
        return anew | {self.opened: True}

    @told
    def on_newer(self, query: str, kind: str, page: int, request: gr.Request) -> Updates:
        return self._anew(query, kind, max(0, page - 1), self._house.who(request), lang(request))

    @told
    def on_older(self, query: str, kind: str, page: int, request: gr.Request) -> Updates:
        return self._anew(query, kind, page + 1, self._house.who(request), lang(request))

    @told
    def on_look(self, request: gr.Request) -> Updates:
        """Again while something is being taken in: how much is left of it."""
        return self._standing(lang(request))

    @told
    def on_switch(self, on: bool, request: gr.Request) -> None:
        """Whether anything is recalled for this account's answers, on the page and over HTTP."""
        self._house.assistant.ledger.choose(self._house.who(request).id, {MEMORY: bool(on)})

    @told
    def on_act(self, query: str, kind: str, page: int, act: gr.EventData, request: gr.Request) -> Updates:
        """What is pressed on a row."""
        who, language, sent = self._house.who(request), lang(request), pressed(act)
        what, of = sent.get("act", ""), sent.get("id", "")
        if what == "look":
            return self._opened(of, who, language)
        if what == "forget":
            return self._forget(query, kind, page, who, language, exchange=self._own(of, who).id)
        if what != "remove":
            raise BadInput(f"there is no button {what[:40]!r} on this page")
        if self._house.assistant.ledger.document(of).user != who.id:
            raise NotFound("document", of)
        return self._forget(query, kind, page, who, language, document=of)

    @told
    def on_save(
        self,
        exchange_id: str | None,
        answer: str,
        use: list[str],
        query: str,
        kind: str,
        page: int,
        request: gr.Request,
    ) -> Updates:
        """A changed answer is a correction, as it is in the chat: it counts at once, and the next night learns it. The
        answer itself in the place of its correction takes that back.
        """
        who, language, now = self._house.who(request), lang(request), self._house.now
        if exchange_id:
            exchange = self._own(exchange_id, who)
            now.ledger.set_use(exchange.conversation_id, remember="remember" in use, train="train" in use)
            rating, wanted = now.ledger.rating(exchange_id), answer.strip()
            corrected = ((rating.correction if rating else None) or "").strip()
            if wanted and wanted != (corrected or exchange.answer.strip()):
                back, trusted = wanted == exchange.answer.strip(), who.role.may(Role.TEACHER)
                correction = None if back else answer
                feedback.rate(now, exchange_id, 0 if back else -1, correction=correction, user=who.id, trusted=trusted)
                now.memory.remember()
            gr.Info(text("memory.saved", language))
        anew = {**self._listed(query, kind, page, who, language), **self._opened(exchange_id, who, language)}
        if exchange_id:
            anew[self.outcome] = became(exchange_id)
        return anew

    @told
    def on_forget(
        self, exchange_id: str | None, along: bool, query: str, kind: str, page: int, request: gr.Request
    ) -> Updates:
        who = self._house.who(request)
        exchange = self._own(exchange_id, who).id if exchange_id else None
        return self._forget(query, kind, page, who, lang(request), along=along, exchange=exchange)

    @told
    def on_forget_conversation(
        self, exchange_id: str | None, along: bool, query: str, kind: str, page: int, request: gr.Request
    ) -> Updates:
        who = self._house.who(request)
        conversation = self._own(exchange_id, who).conversation_id if exchange_id else None
        return self._forget(query, kind, page, who, lang(request), along=along, conversation=conversation)

    @told
    def on_upload(
        self,
        files: list[str] | None,
        query: str,
        kind: str,
        page: int,
        request: gr.Request,
        progress: Any = gr.Progress(),  # noqa: B008 - how Gradio hands it in
    ) -> Updates:
        who, language, made = self._house.who(request), lang(request), self._house.assistant
        library = Library(made.ledger, made.memory, made.clock, made.new_id)
        for number, file in enumerate(files or (), 1):
            progress((number - 1, len(files or ())), desc=Path(file).name)
            try:
                document, how = library.add(Path(file), user=who.id)
                told_ = text(f"memory.file.{how}", language, name=document.name, n=document.passages)
                gr.Info(escape(told_))
            except NightschoolError as error:
                warn(error, language)
            finally:
                # The ledger has its words now; a copy beside it would outlive their being forgotten.
                Path(file).unlink(missing_ok=True)
        # And what somebody sent whose tab was closed before it got here.
        sweep_uploads(made.settings.home)
        return {self.files: None, **self._anew(query, kind, page, who, language)}

    def _forget(
        self,
        query: str,
        kind: str,
        page: int,
        who: Account,
        language: Language,
        *,
        along: bool = False,
        **what: str | None,
    ) -> Updates:
        made = self._house.assistant
        if not any(what.values()):
            gr.Warning(text("memory.choose", language))
            return self._anew(query, kind, page, who, language)
        home, remove = made.settings.home, made.memory.forget
        gone = forget(made.ledger, remove, home, made.key, answers=along, **what)  # type: ignore[arg-type]
        counts = f"{counted(len(gone.exchanges), 'exchange')}, {counted(len(gone.passages), 'passage')}"
        self._house.note(who, "forgotten", counts)
        done = text("memory.forgotten", language, exchanges=len(gone.exchanges), passages=len(gone.passages))
        gr.Info(done)
        if gone.answered_with:
            gr.Warning(text("memory.repeats", language, n=len(gone.answered_with)))
        if made.ledger.unfinished() != Unfinished():
            gr.Warning(text("memory.unfinished", language))
        return {**self._anew(query, kind, page, who, language), self.outcome: became(*gone.exchanges)}

    def _own(self, exchange_id: str, who: Account) -> Exchange:
        """Raises: NotFound, also where it is somebody else's."""
        exchange = self._house.assistant.ledger.exchange(exchange_id)
        if exchange.user != who.id:
            raise NotFound("exchange", exchange_id)
        return exchange

    # ------------------------------------------------------------------ how the page stands

    def _anew(self, query: str, kind: str, page: int, who: Account, language: Language) -> Updates:
        return {**self._listed(query, kind, page, who, language), **self._closed()}

    def _opened(self, exchange_id: str | None, who: Account, language: Language) -> Updates:
        if not exchange_id:
            return self._closed()
        ledger, exchange = self._house.assistant.ledger, self._own(exchange_id, who)
        rating, use = ledger.rating(exchange_id), ledger.use(exchange.conversation_id)
        return {
            self.chosen: exchange_id,
            self.one: gr.Column(visible=True),
            self.detail: drawn(exchange_id)
            + _detail(exchange, ledger.title(exchange.conversation_id), ledger.given(exchange_id), language),
            self.answer: (rating.correction if rating else None) or exchange.answer,
            self.use: [name for name, on in zip(USES, use, strict=True) if on],
            self.along: False,
        }

    def _listed(self, query: str, kind: str, page: int, who: Account, language: Language) -> Updates:
        ledger = self._house.assistant.ledger
        found = self._find(query, kind, page, who)
        if not found and page:
            # The last of the last page was forgotten.
            page -= 1
            found = self._find(query, kind, page, who)
        shown, documents = found[:SHOWN], ledger.documents(user=who.id)
        return {
            **self._standing(language),
            self.found: _found(shown, language, asked=bool(query.strip()) or kind != KINDS[0]),
            self.page: page,
            self.newer: gr.Button(visible=page > 0),
            self.older: gr.Button(visible=len(found) > SHOWN),
            self.documents: _documents(documents, language),
            self.on: bool(ledger.choices(who.id).get(MEMORY, True)),
        }

    def _standing(self, language: Language) -> Updates:
        """What is still in the weights, and what is not yet in the index."""
        made = self._house.assistant
        left, behind = still_in_the_weights(made.ledger), made.memory.behind
        told_ = [text("memory.weights", language, n=left)] if left else []
        told_ += [text("memory.behind", language, n=behind)] if behind else []
        return {
            self.weights: "".join(f"<p role='status'>{line}</p>" for line in told_),
            self.timer: gr.Timer(active=bool(behind)),
        }

    def _find(self, query: str, kind: str, page: int, who: Account) -> Sequence[Recollection]:
        """The rows of a page, and one more where there is another page."""
        made, skip, limit = self._house.assistant, page * SHOWN, SHOWN + 1
        wanted = clean(query, limit=made.settings.message_chars, what="query") if query.strip() else ""
        if wanted and kind in SEARCHABLE:
            return made.memory.search(wanted, k=skip + limit, user=who.id, kind=SEARCHABLE[kind])[skip:]
        if kind == "document":
            return [_as_piece(*one) for one in made.ledger.newest_passages(user=who.id, limit=limit, skip=skip)]
        # No search finds what is not to be recalled: it is looked through for the words.
        only, words = LISTED.get(kind), wanted.split()
        newest = made.ledger.newest_exchanges(user=who.id, limit=limit, skip=skip, only=only, words=words)
        return [_as_found(one, rating) for one, rating in newest]

    def _closed(self) -> Updates:
        gone = {self.chosen: "", self.one: gr.Column(visible=False), self.detail: ""}
        return {**gone, self.answer: "", self.use: [], self.along: False}


def _as_found(exchange: Exchange, rating: Rating | None) -> Recollection:
    correction = ((rating.correction if rating else None) or "").strip()
    day = rating.created_at if rating and correction else exchange.created_at
    return Recollection(
        exchange_id=exchange.id,
        question=exchange.question,
        answer=correction or exchange.answer,
        created_at=exchange.created_at,
        score=0.0,
        reason=f"{'corrected' if correction else 'asked'} on {day:%Y-%m-%d}",
        corrected=bool(correction),
    )


def _as_piece(document: Document, passage: Passage) -> Recollection:
    source = f"{document.name}, page {passage.page}" if passage.page else document.name
    return Recollection(
        exchange_id=None,
        question=passage.question,
        answer=passage.text,
        created_at=document.created_at,
        score=0.0,
        reason=f"from {source}",
        source=source,
        document_id=document.id,
    )


def _found(found: Sequence[Recollection], language: Language, *, asked: bool) -> str:
    """HTML: one row a memory, with its scores where it was searched for; what to do where there is none."""
    if not found:
        return empty(text("memory.none" if asked else "memory.empty", language))
    scored = any(one.dense is not None or one.lexical is not None for one in found)
    head = [*(HEAD if scored else HEAD[:4]), "do"]
    rows = [
        [
            escape(text(f"memory.one.{one.kind}", language)),
            escape(short(one.question or one.source or "")),
            escape(short(one.answer)),
            escape(said(one.reason, language)),
            *(_scores(one) if scored else ()),
            _acts(one, language),
        ]
        for one in found
    ]
    return table([text(f"memory.head.{name}", language) for name in head], rows)


HEAD = ("kind", "question", "holds", "why", "meaning", "words")


def _scores(one: Recollection) -> tuple[str, str]:
    return (
        "" if one.dense is None else f"{one.dense:.2f}",
        "" if one.lexical is None else f"{one.lexical:.1f}",
    )


def _acts(one: Recollection, language: Language) -> str:
    """HTML: what can be done with a memory. A passage goes with its document."""
    if one.exchange_id is None:
        return _remove(one.document_id or "", one.source or "", language)
    given = {"id": one.exchange_id, "question": short(one.question)}
    look = act_button("look", text("memory.look", language), given)
    gone = act_button("forget", text("memory.forget.short", language), given, ask="forget-dialog", danger=True)
    return f"<div class='acts'>{look}{gone}</div>"


def _remove(document_id: str, name: str, language: Language) -> str:
    given = {"id": document_id, "name": name}
    button = act_button("remove", text("memory.remove", language), given, ask="remove-document-dialog", danger=True)
    return f"<div class='acts'>{button}</div>"


def _detail(exchange: Exchange, title: str, given: Sequence[Exchange], language: Language) -> str:
    """HTML: what was said, and where it was used. By the names in its data a dialog asks before it is forgotten."""
    names = f'data-question="{escape(short(exchange.question))}" data-conversation="{escape(title)}"'
    asked_ = f"<p {names}><b>{escape(exchange.question)}</b><br>{escape(exchange.answer)}</p>"
    when = f"<p><small>{exchange.created_at:%Y-%m-%d %H:%M}, {escape(exchange.adapter)}</small></p>"
    if not given:
        return f"{asked_}{when}<p>{text('memory.unused', language)}</p>"
    items = "".join(
        f"<li>{escape(short(one.question))} <small>{one.created_at:%Y-%m-%d %H:%M}</small></li>" for one in given
    )
    return f"{asked_}{when}<p>{text('memory.used', language)}</p><ol>{items}</ol>"


def _documents(documents: Sequence[Document], language: Language) -> str:
    if not documents:
        return empty(text("memory.documents.none", language))
    rows = [
        [escape(one.name), str(one.passages), time(one.created_at), _remove(one.id, one.name, language)]
        for one in documents
    ]
    return table([text(f"memory.head.{name}", language) for name in ("document", "passages", "added", "do")], rows)
