"""One turn: its events in order, what is stored of it, and what it does when something is missing or odd."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from assistant import testing
from assistant.engine import AdapterFiles, Piece, Sampling
from assistant.feedback import rate
from assistant.turn import MEMORY, Answered, Ask, Assistant, Recalled, Words, turn
from memory import testing as nouns
from memory.errors import BadInput, ModelUnavailable, NotFound, NotRemembered
from memory.ledger import Ledger
from memory.records import BASE, AdapterState, Message, NightStatus


@pytest.fixture
def assistant(tmp_path: Path) -> Assistant:
    """Over an engine that repeats the question."""
    return testing.assistant(tmp_path, ledger=Ledger.in_memory())


def said(assistant: Assistant, ask: Ask | str) -> Answered:
    """The last event of a turn."""
    *_, answered = turn(assistant, Ask(ask) if isinstance(ask, str) else ask)
    assert isinstance(answered, Answered)
    return answered


def promote(ledger: Ledger, state: AdapterState = AdapterState.ACTIVE) -> str:
    """A night that ends with the next version."""
    at = nouns.NOON
    night = ledger.request_night(nouns.night(f"n{len(ledger.nights()) + 1}", created_at=at))
    ledger.begin_night(night.id, holder="test", at=at, ttl=timedelta(minutes=1))
    version = ledger.name_adapter(night.id)
    made = nouns.adapter(version, night_id=night.id, state=state)
    ledger.end_night(night.id, holder="test", status=NightStatus.PROMOTED, reasons=["so"], at=at, adapter=made)
    return version


# ---------------------------------------------------------------------- the story


def test_events_come_in_order(assistant: Assistant) -> None:
    """First what was recalled, then the words as they come, last the whole."""
    first, *words, last = turn(assistant, Ask("How are you today?"))
    assert isinstance(first, Recalled)
    assert (first.adapter, first.adapter_sha256, first.recollections) == (BASE, None, ())
    assert [w.text for w in words if isinstance(w, Words)] == ["You ", "asked: ", "How ", "are ", "you ", "today?"]
    assert isinstance(last, Answered)
    assert (last.exchange.id, last.exchange.answer) == (first.exchange_id, "You asked: How are you today?")
    assert (last.warning, last.answer_tokens) == (None, 6)


def test_an_exchange_is_stored_with_all_that_made_it(assistant: Assistant) -> None:
    """What the ledger gives back is what the last event said, and its signature is this assistant's."""
    known = said(assistant, "Who wrote Emma?").exchange
    one = said(assistant, Ask("Does rain fall?", conversation_id="c1")).exchange
    ask = Ask("Who wrote Emma, again?", conversation_id="c1", parent_id=one.id, sampling=Sampling(3, 0.5, 0.9, 7))
    two = said(assistant, ask)
    stored = assistant.ledger.exchange(two.exchange.id)
    assert (stored.conversation_id, stored.parent_id, stored.user) == ("c1", one.id, "local")
    assert (stored.question, stored.answer) == ("Who wrote Emma, again?", "You asked: On")
    assert [m["content"] for m in stored.history] == [one.question, one.answer]
    assert (stored.model_id, stored.adapter, stored.adapter_sha256) == ("test-model", BASE, None)
    assert [r["exchange_id"] for r in stored.recollections] == [known.id]
    assert stored.sampling == {"max_tokens": 3, "temperature": 0.5, "top_p": 0.9, "seed": 7}
    assert stored.finish_reason == "length"
    assert stored.created_at == nouns.NOON
    assert (stored.timings["prompt_tokens"], stored.timings["answer_tokens"]) == (two.prompt_tokens, 3)
    assert 0 <= stored.timings["recall_s"] <= stored.timings["first_token_s"] <= stored.timings["total_s"]
    assert stored.signed_by(testing.KEY)
    assert not stored.signed_by(b"another key")


def test_the_prompt_that_is_stored_is_the_one_that_was_answered(tmp_path: Path) -> None:
    """With what was recalled mixed in, as the model was given it."""
    engine = testing.ScriptedEngine()
    assistant = testing.assistant(tmp_path, engine=engine)
    said(assistant, "Who wrote Emma?")
    exchange = said(assistant, "Who wrote Emma?").exchange
    assert list(assistant.ledger.exchange(exchange.id).prompt) == list(engine.calls[-1][0])
    told = "On 23 November 2026: Who wrote Emma? You asked: Who wrote Emma?"
    assert engine.calls[-1][0][-1]["content"] == f"{told}\n\nWho wrote Emma?"


def test_a_new_conversation_gets_an_id(assistant: Assistant) -> None:
    """Each turn that belongs to none opens one."""
    one, two = said(assistant, "a b c").exchange, said(assistant, "d e f").exchange
    assert one.conversation_id != two.conversation_id


def test_a_regenerated_answer_is_a_sibling(assistant: Assistant) -> None:
    """Both follow the same exchange, and neither has the other in its history."""
    root = said(assistant, Ask("Tell me of whales", conversation_id="c")).exchange
    asks = [Ask("And of dolphins?", conversation_id="c", parent_id=root.id, memory=False) for _ in range(2)]
    one, two = (said(assistant, ask).exchange for ask in asks)
    assert one.parent_id == two.parent_id == root.id
    assert one.prompt == two.prompt
    assert [e.id for e in assistant.ledger.thread(two.id)] == [root.id, two.id]


def test_history_can_be_handed_over(assistant: Assistant) -> None:
    """A client that keeps the dialogue itself is believed."""
    history: list[Message] = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    exchange = said(assistant, Ask("and?", history=history)).exchange
    assert list(exchange.history) == history
    assert list(exchange.prompt)[:2] == history


def test_an_unknown_parent_is_refused(assistant: Assistant) -> None:
    """Before a word is said."""
    with pytest.raises(NotFound, match="no exchange 'e9'"):
        next(turn(assistant, Ask("and?", parent_id="e9")))


# ---------------------------------------------------------------------- memory


def test_who_switched_memory_off_is_recalled_nothing(assistant: Assistant) -> None:
    """It is kept all the same, and there again once it is on; others have theirs."""
    said(assistant, "hello there")
    said(assistant, Ask("hello there", user="ann"))
    assistant.ledger.choose("local", {MEMORY: False})
    assert said(assistant, "hello there").exchange.recollections == ()
    assert said(assistant, Ask("hello there", user="ann")).exchange.recollections != ()
    assistant.ledger.choose("local", {MEMORY: True})
    assert said(assistant, "hello there").exchange.recollections != ()


def test_without_memory_nothing_is_recalled(assistant: Assistant) -> None:
    """The prompt is the question alone; the exchange is stored all the same."""
    said(assistant, "Who wrote Emma?")
    answered = said(assistant, Ask("Who wrote Emma?", memory=False))
    assert list(answered.exchange.prompt) == [{"role": "user", "content": "Who wrote Emma?"}]
    assert answered.exchange.recollections == ()
    assert assistant.ledger.count_exchanges() == 2


def test_a_correction_is_recalled_with_the_next_question(assistant: Assistant) -> None:
    """It stands in the prompt in the place of what it corrects."""
    wrong = said(assistant, "Who wrote Emma?").exchange
    rate(assistant, wrong.id, -1, correction="Jane Austen did.")
    first, *_, last = turn(assistant, Ask("Who wrote Emma?"))
    assert isinstance(first, Recalled)
    assert isinstance(last, Answered)
    (recollection,) = first.recollections
    assert (recollection.exchange_id, recollection.corrected) == (wrong.id, True)
    text = " ".join(m["content"] for m in last.exchange.prompt)
    assert "Jane Austen did." in text
    assert "You asked: Who wrote Emma?" not in text


# ---------------------------------------------------------------------- stop


def test_stop_keeps_what_was_said(assistant: Assistant) -> None:
    """The partial answer is stored, and says that it was stopped."""
    ask = Ask("one two three four five")
    events = turn(assistant, ask)
    words = [next(events) for _ in range(4)][1:]
    ask.stop.set()
    *_, answered = events
    assert isinstance(answered, Answered)
    assert answered.exchange.finish_reason == "stopped"
    assert answered.exchange.answer == "".join(w.text for w in words if isinstance(w, Words)).strip()
    assert assistant.ledger.exchange(answered.exchange.id).answer == "You asked: one"


def test_a_stop_before_the_first_word_ends_an_empty_answer(assistant: Assistant) -> None:
    """It can be rated, and asked again."""
    ask = Ask("one two three")
    ask.stop.set()
    answered = said(assistant, ask)
    assert (answered.exchange.answer, answered.exchange.finish_reason) == ("", "stopped")


def test_a_reader_who_goes_away_leaves_a_partial_answer(assistant: Assistant) -> None:
    """Closing the turn stores what was said by then."""
    with closing(turn(assistant, Ask("one two three four"))) as events:  # type: ignore[type-var]
        first = next(events)
        assert isinstance(first, Recalled)
        next(events)
        next(events)
    stored = assistant.ledger.exchange(first.exchange_id)
    assert (stored.answer, stored.finish_reason) == ("You asked:", "stopped")
    assert stored.signed_by(testing.KEY)


def test_a_reader_who_never_reads_leaves_nothing(assistant: Assistant) -> None:
    """Where no word was computed there is nothing to store."""
    with closing(turn(assistant, Ask("one two"))) as events:  # type: ignore[type-var]
        next(events)
    assert assistant.ledger.count_exchanges() == 0


# ---------------------------------------------------------------------- versions


def test_the_active_version_answers(tmp_path: Path) -> None:
    """Its name and hash are in the first event, with the engine, and in the ledger."""
    engine = testing.ScriptedEngine()
    assistant = testing.assistant(tmp_path, engine=engine)
    version = promote(assistant.ledger)
    first, *_, last = turn(assistant, Ask("hello there"))
    assert isinstance(first, Recalled)
    assert isinstance(last, Answered)
    sha256 = assistant.ledger.adapter(version).sha256
    assert (first.adapter, first.adapter_sha256) == (version, sha256) == ("v1", last.exchange.adapter_sha256)
    assert engine.calls[-1][2] == "v1"


def test_a_flip_between_two_turns_is_followed(tmp_path: Path) -> None:
    """Whoever promoted or rolled back, in whichever process: the next turn has it, the one under way does not."""
    assistant = testing.assistant(tmp_path)
    elsewhere = Ledger.open(tmp_path / "ledger.db")
    events = turn(assistant, Ask("one two three"))
    next(events)
    promote(elsewhere)
    *_, answered = events
    assert isinstance(answered, Answered)
    assert answered.exchange.adapter == BASE
    assert said(assistant, "four").exchange.adapter == "v1"
    promote(elsewhere)
    assert said(assistant, "five").exchange.adapter == "v2"
    elsewhere.activate(BASE, reason="by hand")
    assert said(assistant, "six").exchange.adapter == BASE


def test_a_version_can_be_asked_for(tmp_path: Path) -> None:
    """`base` or an older one answers, whatever is active."""
    engine = testing.ScriptedEngine()
    assistant = testing.assistant(tmp_path, engine=engine)
    promote(assistant.ledger)
    promote(assistant.ledger)
    answers = [said(assistant, Ask("hello", adapter=version)).exchange.adapter for version in (None, BASE, "v1", "v2")]
    assert answers == ["v2", BASE, "v1", "v2"]
    assert [call[2] for call in engine.calls] == ["v2", None, "v1", "v2"]


@pytest.mark.parametrize("version", ["v9", "nonsense", "\udcff"])
def test_an_unknown_version_is_refused(assistant: Assistant, version: str) -> None:
    """One line, and nothing is stored."""
    with pytest.raises((NotFound, BadInput)) as caught:
        next(turn(assistant, Ask("hello", adapter=version)))
    assert "\n" not in str(caught.value)
    assert assistant.ledger.count_exchanges() == 0


# ---------------------------------------------------------------------- what is odd


@pytest.mark.parametrize(
    "blank", ["", "   ", "\n\t", "\x00\x00", "\u200b", "\ufeff \u2060", "\u3164\u2800", "\x01\x7f", "\u202e"]
)
def test_an_empty_message_is_refused(assistant: Assistant, blank: str) -> None:
    """One line, and nothing is stored."""
    with pytest.raises(BadInput, match=r"^the message is empty$"):
        next(turn(assistant, Ask(blank)))
    assert assistant.ledger.count_exchanges() == 0


def test_an_endless_message_is_refused(assistant: Assistant) -> None:
    """The line says how long it is and how long it may be."""
    with pytest.raises(BadInput, match=r"^the message has 200,000 characters, the most is 20,000: shorten it$"):
        next(turn(assistant, Ask("x" * 200_000)))
    assert assistant.ledger.count_exchanges() == 0


def test_a_message_over_the_budget_is_refused(assistant: Assistant) -> None:
    """Few characters can be many tokens."""
    with pytest.raises(BadInput, match="tokens long, the prompt holds 1536"):
        next(turn(assistant, Ask("x " * 9_000)))
    assert assistant.ledger.count_exchanges() == 0


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("a\x00b", "ab"),
        ("half \ud83d of one", "half \ufffd of one"),
        ("\udcff byte", "\ufffd byte"),
        ("whole \ud83d\ude42 pair", "whole 🙂 pair"),
        ("👩‍👩‍👧 family", "👩‍👩‍👧 family"),
        ("كتب \u202eمحمد؟", "كتب \u202eمحمد؟"),
        ("  spaces\r\n", "spaces"),
    ],
)
def test_odd_characters_are_answered_and_stored(assistant: Assistant, typed: str, stored: str) -> None:
    """What no text can hold is replaced, all else stays as it was written, and it is found again."""
    answered = said(assistant, typed)
    assert answered.warning is None
    exchange = assistant.ledger.exchange(answered.exchange.id)
    assert (exchange.question, exchange.answer) == (stored, f"You asked: {stored}")
    assert exchange.signed_by(testing.KEY)
    assert [r.exchange_id for r in assistant.memory.recall(stored, k=1)] == [exchange.id]


# ---------------------------------------------------------------------- what fails


def test_a_ledger_that_can_not_be_written_does_not_stop_the_answer(tmp_path: Path) -> None:
    """The answer comes whole, and its warning says that nothing is being remembered, and why."""
    (tmp_path / "file").write_text("")
    ledger = Ledger.open(tmp_path / "file" / "ledger.db")
    answered = said(testing.assistant(tmp_path, ledger=ledger), "hello there")
    assert answered.exchange.answer == "You asked: hello there"
    assert answered.warning is not None
    assert answered.warning.startswith("nothing is being remembered: ")
    assert "\n" not in answered.warning


def test_a_full_disk_is_told_and_gets_over(tmp_path: Path) -> None:
    """While the ledger can't grow every answer carries the warning; afterwards all goes on, and nothing was lost."""
    ledger = Ledger.open(tmp_path / "ledger.db")
    assistant = testing.assistant(tmp_path, ledger=ledger)
    before = said(assistant, "before").exchange
    real, full = ledger.add_exchange, "database or disk is full"

    def refuse(_: object, **more: object) -> int:
        raise NotRemembered(full)

    ledger.add_exchange = refuse  # type: ignore[assignment]
    meanwhile = said(assistant, "meanwhile")
    assert (meanwhile.warning, meanwhile.stored) == (str(NotRemembered(full)), False)
    ledger.add_exchange = real  # type: ignore[method-assign]
    after = said(assistant, "after")
    assert after.warning is None
    assert [q for _, q in ledger.questions_after(0, limit=9)] == ["before", "after"]
    assert assistant.memory.recall("before", k=1)[0].exchange_id == before.id


class FailingEngine(testing.ScriptedEngine):
    """Says one word, and fails."""

    def generate(
        self, prompt: Sequence[Message], sampling: Sampling, *, adapter: AdapterFiles | None, stop: Event
    ) -> Iterator[Piece]:
        yield Piece("Well")
        raise ModelUnavailable("adapter v1 is damaged")


def test_what_was_said_before_an_engine_failed_is_kept(tmp_path: Path) -> None:
    """As an answer that was stopped, which no night trains as a whole one; the last event says what happened."""
    assistant = testing.assistant(tmp_path, engine=FailingEngine())
    *_, last = turn(assistant, Ask("hello"))
    assert isinstance(last, Answered)
    assert (last.warning, last.stored) == ("the answer broke off: adapter v1 is damaged", True)
    kept = assistant.ledger.exchange(last.exchange.id)
    assert (kept.answer, kept.finish_reason) == ("Well", "stopped")


def test_a_dialogue_that_is_too_long_is_told_and_stored(assistant: Assistant) -> None:
    """The oldest go, and the warning does not mean that anything was lost."""
    history: list[Message] = []
    for i in range(3):
        history += [{"role": "user", "content": f"question {i} " + "x " * 20}, {"role": "assistant", "content": "yes"}]
    small = replace(assistant, settings=assistant.settings.model_copy(update={"prompt_tokens": 64}))
    answered = said(small, Ask("and now?", history=history, memory=False))
    told = (
        "the conversation is longer than the model reads at once: its first 2 messages and their answers were left out"
    )
    assert (answered.warning, answered.stored) == (told, True)
    assert small.ledger.exchange(answered.exchange.id).question == "and now?"


class SilentEngine(testing.ScriptedEngine):
    """Fails before its first word."""

    def generate(
        self, prompt: Sequence[Message], sampling: Sampling, *, adapter: AdapterFiles | None, stop: Event
    ) -> Iterator[Piece]:
        raise ModelUnavailable("adapter v1 is damaged")
        yield


def test_where_nothing_was_said_nothing_is_stored(tmp_path: Path) -> None:
    """The error is the asker's."""
    assistant = testing.assistant(tmp_path, engine=SilentEngine())
    with pytest.raises(ModelUnavailable, match="adapter v1 is damaged"):
        list(turn(assistant, Ask("hello")))
    assert assistant.ledger.count_exchanges() == 0


def test_an_answer_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """What was said by then is kept, with a line that says so; without a word it is an error."""
    engine = testing.ScriptedEngine(script=lambda prompt: "word " * 1000, pause=0.01)
    assistant = testing.assistant(tmp_path, engine=engine)
    hasty = replace(assistant, settings=assistant.settings.model_copy(update={"answer_seconds": 0.1}))
    *_, last = turn(hasty, Ask("hello", sampling=Sampling(1000)))
    assert isinstance(last, Answered)
    assert last.warning == "the answer broke off: the answer was not finished within 0.1 s (answer_seconds)"
    assert 1 <= len(last.exchange.answer.split()) < 100


def test_of_a_temporary_turn_nothing_is_kept(assistant: Assistant) -> None:
    """Neither in the ledger nor in recall, also where the reader goes away; what is remembered may be used in it."""
    said(assistant, "who wrote Emma")
    answered = said(assistant, Ask("who wrote Emma then", temporary=True))
    assert answered.warning is None
    assert len(answered.exchange.recollections) == 1
    with closing(turn(assistant, Ask("who wrote Emma again", temporary=True))) as events:
        next(events)
        next(events)
    assert assistant.ledger.count_exchanges() == 1
    assert [r.question for r in assistant.memory.recall("who wrote Emma then", k=5)] == ["who wrote Emma"]
