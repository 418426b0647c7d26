"""A file → the pieces of it that recall finds, each with its page: plain text, Markdown, PDF, CSV and JSON lines.

What can't be read is refused with one line that says why; nothing is stored then. A file's words are what somebody
wrote, not what the assistant is told to do: `assistant.prompt` quotes them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from memory.errors import BadInput
from memory.ledger import Ledger
from memory.recall import Memory
from memory.records import Document, Passage
from memory.scrubbing import scrub

MOST_BYTES = 50_000_000
"""Of a file: beyond, it is no document but a data set."""
PIECE = 700
"""Characters of a passage at most: what the embedder reads of a text, about 256 tokens, with room to spare."""

Added = Literal["added", "replaced", "known"]


@dataclass(frozen=True)
class Library:
    """The documents of a ledger, and their place in recall. Clock and ids are passed in."""

    ledger: Ledger
    memory: Memory
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    def add(self, path: Path, *, user: str = "local") -> tuple[Document, Added]:
        """Store a file. The same content again changes nothing, nor does it under a name that is not known yet;
        another content under the same name replaces the old, be it that another document says the same already.

        Raises: BadInput, NotRemembered.
        """
        content = content_of(path)
        sha256 = hashlib.sha256(content).hexdigest()
        held = self.ledger.documents(user=user)
        # In one line: the prompt names it beside what it quotes.
        name = " ".join(scrub(path.name).split())
        older = next((one for one in held if one.name == name), None)
        same = next((one for one in held if one.sha256 == sha256 and (older is None or one is older)), None)
        if same is not None:
            return same, "known"
        passages = _read(path, content)
        # The same document, written anew: what is to be forgotten of it one day is all that ever stood in it.
        document_id = older.id if older else self.new_id()
        document = Document(document_id, user, name, sha256, self.clock(), len(passages))
        self.ledger.add_document(document, passages)
        # The old one's words first: what can't be removed now, the ledger knows.
        self.memory.remember()
        return document, "replaced" if older else "added"


def read(path: Path) -> list[Passage]:
    """The passages of a file, in their order. Raises: BadInput."""
    return _read(path, content_of(path))


def _read(path: Path, content: bytes) -> list[Passage]:
    readers: dict[str, Callable[[Path, bytes], Iterator[Passage]]] = {
        ".txt": _text,
        ".md": _text,
        ".pdf": _pdf,
        ".csv": _csv,
        ".jsonl": _jsonl,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise BadInput(f"{path.name}: what ends in {path.suffix or 'nothing'} can't be read, but {', '.join(readers)}")
    passages = list(reader(path, content))
    if not passages:
        raise BadInput(f"{path.name}: there is no text in it")
    return passages


def content_of(path: Path, *, most: int = MOST_BYTES) -> bytes:
    """What a file holds. Raises: BadInput, also for what is no file, or longer than `most` bytes."""
    try:
        told = path.stat()
        if not stat.S_ISREG(told.st_mode):
            # Of a pipe or a device the length says nothing, and reading may never end.
            raise BadInput(f"{path} is no file that can be read")
        if told.st_size > most:
            raise BadInput(f"{path.name} has {told.st_size:,} bytes, the most is {most:,}: split it")
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} can't be read: {error.strerror or error}") from error


def _decoded(path: Path, content: bytes) -> str:
    if b"\x00" in content:
        raise BadInput(f"{path.name} is no text: it holds NUL bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path.name} is no UTF-8 text: byte {error.start:,} is wrong; save it as UTF-8") from error


def _text(path: Path, content: bytes) -> Iterator[Passage]:
    yield from (Passage(piece) for piece in pieces(_decoded(path, content)))


def _pdf(path: Path, content: bytes) -> Iterator[Passage]:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError

    logging.getLogger("pypdf").setLevel(logging.ERROR)
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise BadInput(f"{path.name} is encrypted: save it without a password")
        texts = [page.extract_text() for page in reader.pages]
    except BadInput:
        raise
    except (DependencyError, FileNotDecryptedError) as error:
        # AES takes a package more, be it that no password is needed.
        raise BadInput(f"{path.name} is encrypted: save it without a password") from error
    except Exception as error:
        # pypdf raises whatever a damaged file leads it to.
        raise BadInput(f"{path.name} is no PDF that can be read: {type(error).__name__}") from error
    if not any(text.strip() for text in texts):
        raise BadInput(f"{path.name}: there is no text in it; of a scan, recognise the text first")
    for number, text in enumerate(texts, 1):
        yield from (Passage(piece, page=number) for piece in pieces(scrub(text)))


def _csv(path: Path, content: bytes) -> Iterator[Passage]:
    rows = csv.DictReader(io.StringIO(_decoded(path, content), newline=""), strict=True)
    try:
        columns = {name.strip().casefold(): name for name in rows.fieldnames or () if name}
        if not {"question", "answer"} <= set(columns):
            found = ", ".join(columns)[:80] or "none"
            raise BadInput(f"{path.name} must have the columns question and answer; it has {found}")
        for row in rows:
            yield from _pair(row[columns["question"]], row[columns["answer"]])
    except csv.Error as error:
        raise BadInput(f"{path.name}, line {rows.line_num}: {error}") from error


def _jsonl(path: Path, content: bytes) -> Iterator[Passage]:
    # Not splitlines(): JSON texts may hold line separators that are none of the file's.
    for number, line in enumerate(_decoded(path, content).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        match row:
            case {"question": str(question), "answer": str(answer)}:
                yield from _pair(question, answer)
            case _:
                raise BadInput(f'{path.name}, line {number}: it must be {{"question": "…", "answer": "…"}}')


def _pair(question: str | None, answer: str | None) -> Iterator[Passage]:
    """A long answer in pieces, each with the question: both are embedded together, and found by each other."""
    question, answer = scrub(question or "").strip(), scrub(answer or "").strip()
    if question and answer:
        room = max(PIECE - len(question) - 1, PIECE // 2)
        whole = (answer,) if len(answer) <= room else pieces(answer, most=room)
        yield from (Passage(piece, question=question) for piece in whole)


def pieces(text: str, *, most: int = PIECE) -> Iterator[str]:
    """`text` in pieces of at most so many characters: whole paragraphs together, long ones cut between sentences."""
    held = ""
    for part in _parts(text, most):
        if held and len(held) + 2 + len(part) > most:
            yield held
            held = ""
        held = f"{held}\n\n{part}" if held else part
    if held:
        yield held


def _parts(text: str, most: int) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text):
        whole = " ".join(paragraph.split())
        while len(whole) > most:
            cut = max(whole.rfind(mark, 0, most) for mark in (". ", "! ", "? "))
            cut = cut + 1 if cut > most // 3 else whole.rfind(" ", 0, most)
            cut = cut if cut > 0 else most
            yield whole[:cut].strip()
            whole = whole[cut:].strip()
        if whole:
            yield whole
