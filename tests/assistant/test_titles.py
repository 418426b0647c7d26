"""Titles: what passes for one, when they are made, and what they never do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assistant import testing, titles
from assistant.forgetting import forget
from assistant.turn import Answered, Ask, Assistant, turn
from memory.records import Exchange

CAPITAL = "What is the capital of Turkey?"


@pytest.fixture
def assistant(tmp_path: Path) -> Iterator[Assistant]:
    """Asked for a title it names the capital of Turkey, asked anything else it repeats the question."""
    engine = testing.ScriptedEngine()
    repeat = engine.script
    engine.script = lambda p: "Capital of Turkey" if p[0]["content"] == titles.SYSTEM else repeat(p)
    made = testing.assistant(tmp_path, engine=engine)
    yield made
    made.ledger.close()


@pytest.fixture
def maker(assistant: Assistant) -> Iterator[titles.Titles]:
    """Titles in a thread of their own, after 10 ms without a turn."""
    made = titles.Titles(assistant, quiet=0.01)
    made.start()
    yield made
    made.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "titles"]


def told(assistant: Assistant, question: str, **more: Any) -> Exchange:
    """One turn."""
    *_, last = turn(assistant, Ask(question, **more))
    assert isinstance(last, Answered)
    return last.exchange


def wait_for(true: Callable[[], Any]) -> None:
    """Until `true()` is, or fail."""
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("said", "question", "title"),
    [
        ("Capital of Turkey", CAPITAL, "Capital of Turkey"),
        ('"mending a flat tyre."', "How do I mend the flat tyre of my bike?", "Mending a flat tyre"),
        ("给老板的辞职信", "请帮我写一封给老板的辞职信", "给老板的辞职信"),
        ("Die Hauptstadt der Türkei", "Wie heißt denn die Hauptstadt der Türkei?", "Die Hauptstadt der Türkei"),
        ("Ein Gespräch über Istanbul", CAPITAL, None),  # another language
        ("老板的信", CAPITAL, None),
        ("The capital of Turkey is Istanbul, a city", CAPITAL, None),  # no shorter than the question
        ("A great question", CAPITAL, None),
        ("def capital(turkey):", CAPITAL, None),
        ("capital\nof Turkey", CAPITAL, None),
        ("![Turkey](https://capital)", CAPITAL, None),
        ("", CAPITAL, None),
        ("turkey " * 20, CAPITAL * 10, None),
    ],
)
def test_what_passes_for_a_title(said: str, question: str, title: str | None) -> None:
    """One short line, without markup, of words that were said: so it is in the conversation's language."""
    assert titles.title_in(said, question) == title


def test_an_answer_that_was_cut_off_is_no_title(assistant: Assistant) -> None:
    """Half a sentence is none."""
    assistant.engine.script = lambda p: "capital Turkey " * 20  # type: ignore[attr-defined]
    assert titles.suggest(assistant, CAPITAL, threading.Event()) is None


def test_a_conversation_gets_its_title_later(assistant: Assistant, maker: titles.Titles) -> None:
    """First words until then; one that was given by hand stays."""
    first, second = told(assistant, CAPITAL), told(assistant, CAPITAL)
    assistant.ledger.rename(second.conversation_id, "Mine", user="local")
    assert assistant.ledger.title(first.conversation_id) == CAPITAL
    for exchange in (second, first):
        maker.want(exchange.conversation_id, exchange.question)
    wait_for(lambda: assistant.ledger.title(first.conversation_id) == "Capital of Turkey")
    assert assistant.ledger.title(second.conversation_id) == "Mine"


def test_a_turn_takes_the_model_from_a_title(assistant: Assistant, maker: titles.Titles) -> None:
    """At once, and not before the turn has ended is the title begun again."""
    exchange, engine = told(assistant, CAPITAL), assistant.engine
    assert isinstance(engine, testing.ScriptedEngine)
    engine.go_on.clear()
    maker.want(exchange.conversation_id, exchange.question)
    wait_for(lambda: len(engine.calls) == 2)
    events = turn(assistant, Ask("and now?"))
    next(events)
    wait_for(lambda: not assistant.stops._between)
    next(events)
    time.sleep(0.05)
    assert len(engine.calls) == 3
    engine.go_on.set()
    assert assistant.ledger.title(exchange.conversation_id) == CAPITAL
    list(events)
    wait_for(lambda: assistant.ledger.title(exchange.conversation_id) == "Capital of Turkey")


def test_an_engine_that_breaks_leaves_the_first_words(assistant: Assistant, maker: titles.Titles) -> None:
    """And the next conversation gets its title."""
    engine, exchanges = assistant.engine, [told(assistant, CAPITAL) for _ in range(2)]
    assert isinstance(engine, testing.ScriptedEngine)
    right, answers = engine.script, iter([0, 1])
    engine.script = lambda p: str(1 // next(answers)) if len(engine.calls) == 3 else right(p)
    for exchange in exchanges:
        maker.want(exchange.conversation_id, exchange.question)
    wait_for(lambda: assistant.ledger.title(exchanges[1].conversation_id) == "Capital of Turkey")
    assert assistant.ledger.title(exchanges[0].conversation_id) == CAPITAL


def test_a_title_goes_with_what_it_may_say(assistant: Assistant) -> None:
    """Of a conversation that loses an exchange the first words are the title again."""
    first = told(assistant, CAPITAL)
    told(assistant, "And of Peru?", conversation_id=first.conversation_id, parent_id=first.id)
    assistant.ledger.suggest_title(first.conversation_id, "Capital of Turkey")
    forget(assistant.ledger, assistant.memory.forget, assistant.settings.home, assistant.key, exchange=first.id)
    assert assistant.ledger.title(first.conversation_id) == "And of Peru?"
