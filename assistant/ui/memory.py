"""The memory page: what is remembered, where it was used, and the documents; searched, edited, and forgotten for good.

Nothing is kept in the page: all that it shows is read from the ledger each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from assistant import feedback
from assistant.forgetting import forget, still_in_the_weights
from assistant.turn import Assistant, clean
from assistant.ui.chat import USER, warn
from assistant.ui.tables import short, table
from assistant.ui.theme import header
from memory.documents import Library
from memory.errors import NightschoolError
from memory.records import Document, Exchange, Recollection

SHOWN = 25
KINDS = {"Everything": None, "Corrections": "correction", "Exchanges": "exchange", "Documents": "document"}
USES = {"remember": "Recall it in later answers", "train": "Let nights train on it"}

Updates = dict[Any, Any]


def build(pages: gr.Blocks, assistant: Assistant) -> None:
    """Lay the page out in the open Blocks, and wire it."""
    memory = MemoryPage(assistant)
    with gr.Column(elem_id="memory-page", elem_classes="page"):
        gr.HTML(header("memory"))
        memory.lay_out()
    memory.wire(pages)


class MemoryPage:
    """The page's widgets and what happens on them."""

    def __init__(self, assistant: Assistant) -> None:
        self._assistant = assistant

    # ------------------------------------------------------------------ layout

    def lay_out(self) -> None:
        gr.HTML("<div class='title'><h1>Memory</h1><p>What was said, and what holds of it now.</p></div>")
        with gr.Row(elem_classes="actions"):
            self.query = gr.Textbox(
                label="Search", placeholder="By meaning and by words", elem_id="memory-query", scale=3
            )
            self.kind = gr.Dropdown(list(KINDS), value="Everything", label="Show", elem_id="memory-kind", scale=1)
        self.found = gr.HTML(elem_id="memory-found")
        self.weights = gr.HTML(elem_id="memory-weights")
        gr.HTML("<p><a href='./v1/memory/export' download>Export everything as JSON lines</a></p>")
        self.chosen = gr.Dropdown([], label="Look at", elem_id="memory-chosen")
        with gr.Column(visible=False, elem_id="memory-one") as self.one:
            self.detail = gr.HTML(elem_id="memory-detail")
            self.answer = gr.Textbox(label="The answer that holds", lines=2, max_lines=8, elem_id="memory-answer")
            self.use = gr.CheckboxGroup(
                [(label, name) for name, label in USES.items()], label="Its conversation", elem_id="memory-use"
            )
            with gr.Row(elem_classes="actions"):
                self.save = gr.Button("Save", variant="primary", elem_id="memory-save", scale=0, min_width=110)
                self.forget = gr.Button("Forget this", elem_id="memory-forget", scale=0, min_width=110)
                self.forget_all = gr.Button(
                    "Forget its conversation", elem_id="memory-forget-conversation", scale=0, min_width=180
                )
        gr.HTML("<h2>Documents</h2>")
        self.files = gr.File(
            label="Add documents (txt, md, pdf; csv and jsonl of question and answer)",
            file_count="multiple",
            file_types=[".txt", ".md", ".pdf", ".csv", ".jsonl"],
            elem_id="memory-files",
        )
        self.documents = gr.HTML(elem_id="memory-documents")
        with gr.Row(elem_classes="actions"):
            self.document = gr.Dropdown([], label="Document to remove", elem_id="memory-document", scale=1)
            self.remove = gr.Button("Remove", elem_id="memory-remove", scale=0, min_width=110)

    def wire(self, pages: gr.Blocks) -> None:
        """Connect the widgets; no endpoint is offered to API clients."""
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        looking = [self.query, self.kind]
        listed = [self.found, self.chosen, self.weights, self.documents, self.document]
        detail = [self.one, self.detail, self.answer, self.use]
        everything = [*listed, *detail]
        pages.load(self.on_search, looking, everything, **hidden)
        gr.on([self.query.submit, self.kind.change], self.on_search, looking, everything, **hidden)
        self.chosen.input(self.on_choose, self.chosen, detail, **hidden)
        self.save.click(self.on_save, [self.chosen, self.answer, self.use, *looking], everything, **hidden)
        self.forget.click(self.on_forget, [self.chosen, *looking], everything, **hidden)
        self.forget_all.click(self.on_forget_conversation, [self.chosen, *looking], everything, **hidden)
        self.files.upload(self.on_upload, [self.files, *looking], [self.files, *everything], api_visibility="private")
        self.remove.click(self.on_remove, [self.document, *looking], everything, **hidden)

    # ------------------------------------------------------------------ what happens

    def on_search(self, query: str, kind: str) -> Updates:
        return {**self._listed(query, kind), **self._closed()}

    def on_choose(self, exchange_id: str | None) -> Updates:
        if not exchange_id:
            return self._closed()
        try:
            exchange = self._assistant.ledger.exchange(exchange_id)
            rating = self._assistant.ledger.rating(exchange_id)
            use = self._assistant.ledger.use(exchange.conversation_id)
            given = self._assistant.ledger.given(exchange_id)
        except NightschoolError as error:
            warn(error)
            return self._closed()
        holds = (rating.correction if rating else None) or exchange.answer
        return {
            self.one: gr.Column(visible=True),
            self.detail: _detail(exchange, given),
            self.answer: holds,
            self.use: [name for name, on in zip(USES, use, strict=True) if on],
        }

    def on_save(self, exchange_id: str | None, answer: str, use: list[str], query: str, kind: str) -> Updates:
        """A changed answer is a correction, as it is in the chat: it counts at once, and the next night learns it."""
        ledger = self._assistant.ledger
        try:
            if exchange_id:
                exchange = ledger.exchange(exchange_id)
                ledger.set_use(exchange.conversation_id, remember="remember" in use, train="train" in use)
                rating = ledger.rating(exchange_id)
                if answer.strip() not in ("", exchange.answer, (rating.correction if rating else None) or ""):
                    feedback.rate(self._assistant, exchange_id, -1, correction=answer, user=USER)
                    self._assistant.memory.remember()
                gr.Info("Saved.")
        except NightschoolError as error:
            warn(error)
        return {**self._listed(query, kind), **self.on_choose(exchange_id)}

    def on_forget(self, exchange_id: str | None, query: str, kind: str) -> Updates:
        return self._forget(query, kind, exchange=exchange_id)

    def on_forget_conversation(self, exchange_id: str | None, query: str, kind: str) -> Updates:
        try:
            conversation = self._assistant.ledger.exchange(exchange_id).conversation_id if exchange_id else None
        except NightschoolError as error:
            warn(error)
            return self.on_search(query, kind)
        return self._forget(query, kind, conversation=conversation)

    def on_remove(self, document_id: str | None, query: str, kind: str) -> Updates:
        return self._forget(query, kind, document=document_id)

    def on_upload(self, files: list[str] | None, query: str, kind: str, progress: Any = gr.Progress()) -> Updates:  # noqa: B008 - how Gradio hands it in
        made = self._assistant
        library = Library(made.ledger, made.memory, made.clock, made.new_id)
        for number, file in enumerate(files or (), 1):
            progress((number - 1, len(files or ())), desc=Path(file).name)
            try:
                document, how = library.add(Path(file), user=USER)
                gr.Info(f"{escape(document.name)}: {how}, {document.passages} passages.")
            except NightschoolError as error:
                warn(error)
            finally:
                # The ledger has its words now; a copy beside it would outlive their being forgotten.
                Path(file).unlink(missing_ok=True)
        return {self.files: None, **self._listed(query, kind), **self._closed()}

    def _forget(self, query: str, kind: str, **what: str | None) -> Updates:
        made = self._assistant
        if not any(what.values()):
            gr.Warning("Choose something first.")
            return self.on_search(query, kind)
        try:
            gone = forget(made.ledger, lambda: made.memory, made.settings.home, made.key, **what)  # type: ignore[arg-type]
            gr.Info(f"Forgotten: {len(gone.exchanges)} exchanges, {len(gone.passages)} passages.")
        except NightschoolError as error:
            warn(error)
        return self.on_search(query, kind)

    # ------------------------------------------------------------------ how the page stands

    def _listed(self, query: str, kind: str) -> Updates:
        found = self._find(query)
        wanted = KINDS.get(kind)
        shown = [one for one in found if wanted in (None, one.kind)][:SHOWN]
        documents = self._assistant.ledger.documents(user=USER)
        left = still_in_the_weights(self._assistant.ledger)
        weights = (
            f"<p role='status'>{left} forgotten lessons are in the weights until the next night.</p>" if left else ""
        )
        choices = [(short(one.question, 80), one.exchange_id) for one in shown if one.exchange_id]
        return {
            self.found: _found(shown),
            self.chosen: gr.Dropdown(choices, value=None),
            self.weights: weights,
            self.documents: _documents(documents),
            self.document: gr.Dropdown([(one.name, one.id) for one in documents], value=None),
        }

    def _find(self, query: str) -> Sequence[Recollection]:
        made = self._assistant
        try:
            if query.strip():
                text = clean(query, limit=made.settings.message_chars, what="query")
                return made.memory.search(text, k=2 * SHOWN, user=USER)
            newest = made.ledger.newest_exchanges(user=USER, limit=SHOWN)
            ratings = made.ledger.ratings([exchange.id for exchange in newest])
        except NightschoolError as error:
            warn(error)
            return []
        return [_as_found(one, (ratings[one.id].correction or "") if one.id in ratings else "") for one in newest]

    def _closed(self) -> Updates:
        return {self.one: gr.Column(visible=False), self.detail: "", self.answer: "", self.use: []}


def _as_found(exchange: Exchange, correction: str) -> Recollection:
    return Recollection(
        exchange_id=exchange.id,
        question=exchange.question,
        answer=correction or exchange.answer,
        created_at=exchange.created_at,
        score=0.0,
        reason=f"asked on {exchange.created_at:%Y-%m-%d}",
        corrected=bool(correction),
    )


def _found(found: Sequence[Recollection]) -> str:
    if not found:
        return "<p class='card empty'>Nothing like that is remembered.</p>"
    rows = [
        [
            escape(one.kind),
            escape(short(one.question or one.source or "")),
            escape(short(one.answer)),
            escape(one.reason),
            "" if one.dense is None else f"{one.dense:.2f}",
            "" if one.lexical is None else f"{one.lexical:.1f}",
        ]
        for one in found
    ]
    return table(["kind", "question", "what holds", "why", "meaning", "words"], rows)


def _detail(exchange: Exchange, given: Sequence[Exchange]) -> str:
    said = f"<p><b>{escape(exchange.question)}</b><br>{escape(exchange.answer)}</p>"
    when = f"<p><small>{exchange.created_at:%Y-%m-%d %H:%M}, {escape(exchange.adapter)}</small></p>"
    if not given:
        return f"{said}{when}<p>No answer has used it yet.</p>"
    items = "".join(
        f"<li>{escape(short(one.question))} <small>{one.created_at:%Y-%m-%d %H:%M}</small></li>" for one in given
    )
    return f"{said}{when}<p>Used for:</p><ol>{items}</ol>"


def _documents(documents: Sequence[Document]) -> str:
    if not documents:
        return "<p class='card empty'>No document yet.</p>"
    rows = [[escape(one.name), str(one.passages), f"{one.created_at:%Y-%m-%d %H:%M}"] for one in documents]
    return table(["document", "passages", "added"], rows)
