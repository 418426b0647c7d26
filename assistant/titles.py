"""Titles of conversations, made by the model when it has nothing else to do.

The first words of a conversation stand for its title until the model has found a shorter one, and go on doing so where
what it found is no title of this conversation: small models wander off, and a wrong title is worse than none. Titles
never delay a turn: they wait until none has been under way for a while, and give the model up as soon as one begins.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from dataclasses import dataclass

from assistant.engine import Sampling
from assistant.turn import Assistant, serving
from memory.errors import NightschoolError
from memory.records import Message

MOST_TOKENS = 16
MOST_CHARS = 60
QUESTION_CHARS = 600
"""Of a question its beginning is enough, and keeps the prompt short."""
WAITING = 100
"""Conversations that may wait for a title; beyond them the longest waiting keeps its first words."""
TRIES = 5
"""How often a title that a turn broke off is begun again."""

SYSTEM = "You write the title of a chat: two to six words that say what it is about, in the language of the chat."
SHOTS = (
    ("My bicycle has a flat tyre since yesterday. How do I mend it?", "Mending a flat bicycle tyre"),
    ("What is the largest lake in Africa?", "Largest lake in Africa"),
    ("请帮我写一封给老板的辞职信", "给老板的辞职信"),
    ("Write a short poem about the sea in winter", "Poem about the sea in winter"),
)
NO_TITLE = re.compile(r"[`(){}\[\]<>=|_#*\\]|https?:", re.IGNORECASE)
"""Code, markup and addresses."""
CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
WORD = re.compile(rf"[{CJK}]|[^\W\d_{CJK}]+|\d+")
STEM = 4
"""Letters that two forms of a word share: `mend`, `mending`."""


@dataclass(frozen=True, slots=True)
class Untitled:
    """A conversation and the question that opens it."""

    conversation_id: str
    question: str
    tries: int = TRIES


class Titles:
    """Finds titles in a thread of its own, one after another.

    Args:
        quiet: seconds without a turn before it begins one.
    """

    def __init__(self, assistant: Assistant, *, quiet: float = 2.0) -> None:
        self._assistant, self._quiet = assistant, quiet
        self._waiting: deque[Untitled] = deque(maxlen=WAITING)
        self._wake = threading.Condition()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="titles", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End at once; what still waits keeps its first words."""
        self._ended.set()
        with self._wake:
            self._wake.notify_all()
        self._assistant.stops.give_way()
        if self._thread.ident is not None:
            self._thread.join(5)

    def want(self, conversation_id: str, question: str) -> None:
        """Have a title for a conversation some time. Returns at once."""
        with self._wake:
            self._waiting.append(Untitled(conversation_id, question))
            self._wake.notify_all()

    def _run(self) -> None:
        while not self._ended.is_set():
            with self._wake:
                while not self._waiting and not self._ended.is_set():
                    self._wake.wait()
                if self._ended.is_set():
                    return
                one = self._waiting.popleft()
            try:
                if not self._give(one) and one.tries > 1:
                    with self._wake:
                        self._waiting.append(Untitled(one.conversation_id, one.question, one.tries - 1))
            except NightschoolError as error:
                logging.getLogger(__name__).info("no title: %s", error)
            except Exception:
                # Whatever it is, the first words stand, and the next conversation has its turn.
                logging.getLogger(__name__).exception("no title")

    def _give(self, one: Untitled) -> bool:
        """Whether it is settled: a title was found, or there is none to be found."""
        with self._assistant.stops.between(self._quiet, unless=self._ended) as stop:
            found = None if stop.is_set() else suggest(self._assistant, one.question, stop)
            if stop.is_set():
                return self._ended.is_set()
        if found:
            self._assistant.ledger.suggest_title(one.conversation_id, found)
        return True


def suggest(assistant: Assistant, question: str, stop: threading.Event) -> str | None:
    """What the model calls a conversation that opens with `question`; None where that is no title of it, and where
    `stop` was set meanwhile.
    """
    asked = prompt(question)
    said, finish = [], None
    for piece in assistant.engine.generate(asked, Sampling(MOST_TOKENS), adapter=serving(assistant, None), stop=stop):
        said.append(piece.text)
        finish = piece.finish or finish
    return title_in("".join(said), question) if finish == "stop" else None


def prompt(question: str) -> list[Message]:
    """How the model is asked for a title."""
    messages: list[Message] = [{"role": "system", "content": SYSTEM}]
    for example, title in SHOTS:
        messages.append({"role": "user", "content": example})
        messages.append({"role": "assistant", "content": title})
    return [*messages, {"role": "user", "content": " ".join(question.split())[:QUESTION_CHARS]}]


def title_in(said: str, question: str) -> str | None:
    """The title in what the model said, if it is one of a conversation that opens with `question`: a line without code,
    of words of which more than half were said. So it is in the conversation's language, too.
    """
    title = said.strip().strip("\"'“”„«»「」").strip().rstrip(".。:：,，;；").strip()
    if not title or len(title) > MOST_CHARS or "\n" in title or NO_TITLE.search(title):
        return None
    known = {_stem(word) for word in WORD.findall(question)}
    words = [_stem(word) for word in WORD.findall(title)]
    heard = [word for word in words if word in known]
    if not words or 2 * len(heard) <= len(words) or len(words) >= len(WORD.findall(question)):
        return None
    return title[:1].upper() + title[1:]


def _stem(word: str) -> str:
    return word.casefold()[:STEM]
