"""Many questions at once: the same as turns, one after another, would have made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from assistant import testing
from assistant.batch import ask_many, text_tokens
from assistant.engine import Sampling
from assistant.feedback import rate
from assistant.turn import Answered, Ask, Assistant, turn
from memory.errors import BadInput, NotFound, NotRemembered
from memory.ledger import Ledger
from memory.records import Exchange


@pytest.fixture
def assistant(tmp_path: Path) -> Assistant:
    """Over an engine that repeats the question, with one corrected exchange to recall."""
    made = testing.assistant(tmp_path, ledger=Ledger.in_memory())
    rate(made, said(made, Ask("Who wrote Emma?")).id, -1, correction="Jane Austen did.")
    return made


def said(assistant: Assistant, ask: Ask) -> Exchange:
    """The exchange of a turn."""
    *_, answered = turn(assistant, ask)
    assert isinstance(answered, Answered)
    return answered.exchange


def made_of(exchange: Exchange) -> Exchange:
    """An exchange without what no two of them share."""
    return replace(exchange, id="", conversation_id="", timings={})


ASKS = [
    Ask("Who wrote Emma, again, please?"),
    Ask("Who wrote Emma?", memory=False),
    Ask("And?", history=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]),
    Ask("one two three four five six seven eight", sampling=Sampling(6)),
    Ask("Who wrote Emma?", adapter="base", user="somebody"),
]


def test_it_is_what_turns_would_make(assistant: Assistant) -> None:
    """Recall, prompt, answer, end, provenance and signature are those of turns that leave no trace either."""
    together = ask_many(assistant, ASKS, store=False)

    def refuse(_: object, **more: object) -> int:
        raise NotRemembered("for this test")

    assistant.ledger.add_exchange = refuse  # type: ignore[assignment]
    alone = [said(assistant, ask) for ask in ASKS]
    assert [made_of(answered.exchange) for answered in together] == [made_of(exchange) for exchange in alone]
    assert [len(exchange.recollections) for exchange in alone] == [1, 0, 0, 0, 0]
    assert [exchange.finish_reason for exchange in alone] == ["stop", "stop", "stop", "length", "stop"]
    for answered, exchange in zip(together, alone, strict=True):
        assert answered.exchange.signed_by(testing.KEY)
        assert answered.exchange.timings.keys() == exchange.timings.keys()
        assert answered.prompt_tokens == exchange.timings["prompt_tokens"]
        assert answered.answer_tokens == exchange.timings["answer_tokens"]


def test_the_prompts_are_the_ones_that_were_computed(tmp_path: Path) -> None:
    """What the engine was given stands in each exchange."""
    engine = testing.ScriptedEngine()
    answered = ask_many(testing.assistant(tmp_path, engine=engine), [Ask("b b b"), Ask("a")], store=False)
    given = {prompt[-1]["content"]: prompt for prompt, _, _ in engine.calls}
    assert [given[a.exchange.question] for a in answered] == [a.exchange.prompt for a in answered]


def test_stored_in_their_order(assistant: Assistant) -> None:
    """The exchanges can be rated and recalled; the longest question, which a batch answers last, stands first."""
    asks = [Ask("a much longer question than the other"), Ask("short")]
    answered = ask_many(assistant, asks, store=True)
    assert [a.warning for a in answered] == [None, None]
    assert [q for _, q in assistant.ledger.questions_after(1, limit=9)] == [ask.question for ask in asks]
    rate(assistant, answered[1].exchange.id, -1, correction="better")
    assert assistant.memory.recall("short", k=1)[0].answer == "better"


def test_not_stored_leaves_no_trace(assistant: Assistant) -> None:
    """Neither in the ledger nor in recall."""
    ask_many(assistant, [Ask("a new question entirely")], store=False)
    assert assistant.ledger.count_exchanges() == 1
    assert assistant.memory.recall("a new question entirely", k=1) == []


def test_none_recalls_another(assistant: Assistant) -> None:
    """All have recalled before the first is answered."""
    one, two = ask_many(assistant, [Ask("Where is my hat?"), Ask("Where is my hat?")], store=True)
    assert (one.exchange.recollections, two.exchange.recollections) == ((), ())


def test_a_full_disk_is_told_with_each(assistant: Assistant) -> None:
    """The answers are there; each warning says that it was not stored."""

    def refuse(_: object, **more: object) -> int:
        raise NotRemembered("disk full")

    assistant.ledger.add_exchange = refuse  # type: ignore[assignment]
    answered = ask_many(assistant, [Ask("a"), Ask("b")], store=True)
    assert [a.exchange.answer for a in answered] == ["You asked: a", "You asked: b"]
    assert [a.warning for a in answered] == [str(NotRemembered("disk full"))] * 2


def test_always_greedy(tmp_path: Path) -> None:
    """Whatever the settings say; who asks for dice is refused before anything is computed."""
    engine = testing.ScriptedEngine()
    made = testing.assistant(tmp_path, engine=engine)
    made = replace(made, settings=made.settings.model_copy(update={"temperature": 0.9, "answer_tokens": 7}))
    (answered,) = ask_many(made, [Ask("a")], store=False)
    assert answered.exchange.sampling == {"max_tokens": 7, "temperature": 0.0, "top_p": 0.95}
    with pytest.raises(BadInput, match="greedily"):
        ask_many(made, [Ask("a", sampling=Sampling(5, temperature=0.5))], store=False)
    assert len(engine.calls) == 1


@pytest.mark.parametrize(("ask", "error"), [(Ask(" "), BadInput), (Ask("a", parent_id="e9"), NotFound)])
def test_a_bad_question_stops_them_all(assistant: Assistant, ask: Ask, error: type[Exception]) -> None:
    """Before anything is computed or stored."""
    with pytest.raises(error):
        ask_many(assistant, [Ask("fine"), ask], store=True)
    assert assistant.ledger.count_exchanges() == 1


def test_none_at_all(assistant: Assistant) -> None:
    """No questions, no answers."""
    assert ask_many(assistant, [], store=True) == []


def test_progress(assistant: Assistant) -> None:
    """After each answer."""
    told: list[tuple[int, int]] = []
    ask_many(assistant, ASKS[:3], store=False, progress=lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("one", 1), ("one two three", 3)])
def test_tokens_of_a_text(text: str, tokens: int) -> None:
    """Told from whole prompts alone, which is all that an engine counts."""
    assert text_tokens(testing.ScriptedEngine(), text) == tokens
