"""Past dialogues of elsewhere: every format is known by itself, and nothing is imported twice."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from assistant.feedback import undo_lesson
from assistant.imports import bring, read
from assistant.testing import KEY, assistant
from memory import BadInput, Ledger, LessonState
from memory.testing import Clock, exchange, lesson, rating

LESSON, RATING = lesson("l1", "r1"), rating("r1")
DAY = datetime(2024, 5, 1, 12, tzinfo=UTC)
OPENAI = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where is my card?", "timestamp": DAY.timestamp()},
        {"role": "assistant", "content": "In the post."},
        {"role": "user", "content": [{"type": "text", "text": "And the PIN?"}]},
        {"role": "assistant", "content": "A day later."},
    ],
    "title": "cards",
}
SHAREGPT = {
    "conversations": [
        {"from": "human", "value": "Where is my card?"},
        {"from": "gpt", "value": "In the post."},
        {"from": "human", "value": "And the PIN?"},
        {"from": "gpt", "value": "A day later."},
    ]
}
CHATGPT = {
    "current_node": "e",
    "mapping": {
        "r": {"message": None, "parent": None, "children": ["a"]},
        "a": {
            "message": {
                "author": {"role": "user"},
                "content": {"parts": ["Where is my card?"]},
                "create_time": 1714564800,
            },
            "parent": "r",
            "children": ["x", "b"],
        },
        "x": {
            "message": {"author": {"role": "assistant"}, "content": {"parts": ["Lost."]}},
            "parent": "a",
            "children": [],
        },
        "b": {
            "message": {"author": {"role": "assistant"}, "content": {"parts": ["In the post.", {"image": 1}]}},
            "parent": "a",
            "children": ["d"],
        },
        "d": {
            "message": {"author": {"role": "user"}, "content": {"parts": ["And the PIN?"]}},
            "parent": "b",
            "children": [],
        },
        "e": {
            "message": {"author": {"role": "assistant"}, "content": {"parts": ["A day later."]}},
            "parent": "d",
            "children": [],
        },
    },
}
CLAUDE = {
    "uuid": "c",
    "name": "my  cards",
    "chat_messages": [
        {"sender": "human", "text": "Where is my card?", "created_at": "2024-05-01T12:00:00Z"},
        {"sender": "assistant", "text": "", "content": [{"type": "text", "text": "In the post."}]},
        {"sender": "human", "text": "And the PIN?"},
        {"sender": "assistant", "text": "A day later."},
    ],
}
WEBUI = {
    "chat": {
        "history": {
            "currentId": "4",
            "messages": {
                "1": {"role": "user", "content": "Where is my card?", "parentId": None, "timestamp": 1714564800},
                "2": {"role": "assistant", "content": "In the post.", "parentId": "1"},
                "3": {"role": "user", "content": "And the PIN?", "parentId": "2"},
                "4": {"role": "assistant", "content": "A day later.", "parentId": "3"},
            },
        }
    }
}
ROWS = {"OpenAI": OPENAI, "ShareGPT": SHAREGPT, "ChatGPT": CHATGPT, "Claude": CLAUDE, "Open WebUI": WEBUI}


def file(folder: Path, *rows: Any, lines: bool = False) -> Path:
    """A file of these rows, a JSON list or JSON lines."""
    path = folder / "past.json"
    path.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(list(rows)))
    return path


@pytest.mark.parametrize("lines", [True, False], ids=["lines", "list"])
@pytest.mark.parametrize("name", ROWS)
def test_every_format_is_known_by_itself(tmp_path: Path, name: str, lines: bool) -> None:
    """The branch that was seen last, questions and answers alone, with their times where there are some."""
    known, (dialogue,) = read(file(tmp_path, ROWS[name], lines=lines))
    assert known == name
    assert [(line.role, line.content) for line in dialogue.lines] == [
        ("user", "Where is my card?"),
        ("assistant", "In the post."),
        ("user", "And the PIN?"),
        ("assistant", "A day later."),
    ]
    assert dialogue.lines[0].at in (DAY, None)
    assert (dialogue.lines[0].at is None) is (name == "ShareGPT")
    assert dialogue.title == {"OpenAI": "cards", "Claude": "my cards"}.get(name, "")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xfe", "no UTF-8"),
        (b"", "in no format that is known: OpenAI, ShareGPT"),
        (b'{"x": 1}', "in no format that is known"),
        (b"[1, 2]", "in no format that is known"),
        (b'{"messages": []}\n{"x"', "line 2: it is no JSON"),
        (b"[" * 100_000, "line 1: it is no JSON"),
        (b'{"messages": []}\n{"messages": [{"role": "user"}]}', "looks like OpenAI, and its dialogue 2 can't be read"),
        (b'{"chat_messages": [{"sender": "human", "text": "x", "created_at": "noon"}]}', "looks like Claude"),
        (b'{"messages": []}\n\n{"mesages": []}\n{"messages": []}', r"its dialogue 2 is none \(line 3\): {\"mesages"),
        (b'[{"chat_messages": []}, 7]', r"looks like Claude, and its dialogue 2 is none \(item 2 of the file\): 7"),
        (b'\n{"messages": []}\n{"messages": [{}]}', r"its dialogue 2 can't be read \(line 3\)"),
    ],
)
def test_what_is_no_dialogue_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    """One line says what is wrong."""
    path = tmp_path / "past.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=told) as refused:
        read(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("into", ["memory", "lessons", "both"])
def test_into_memory_lessons_or_both(tmp_path: Path, into: Any) -> None:
    """Imported answers are recalled, taught, or both; they bear their time, their dialogue and a signature."""
    made = assistant(tmp_path / "home")
    found = bring(made.ledger, file(tmp_path, OPENAI), into=into, key=KEY, clock=Clock())
    assert (found.dialogues, found.exchanges, found.known) == (1, 2, 0)
    first, second = made.ledger.conversation(made.ledger.latest_conversation("local") or "")
    assert (first.created_at, second.created_at) == (DAY, DAY)
    assert (second.parent_id, len(second.history)) == (first.id, 2)
    assert second.signed_by(KEY)
    assert bool(made.memory.recall("Where is my card?", k=3)) is (into != "lessons")
    states = [lesson.state for lesson in made.ledger.lessons()]
    assert states == ([] if into == "memory" else [LessonState.QUEUED] * 2)
    assert made.ledger.not_to_be_trained() == ({first.id, second.id} if into == "memory" else set())


def test_what_stands_between_question_and_answer_is_neither(tmp_path: Path) -> None:
    """A tool that is asked says nothing, with words or without; who writes twice asks once. The title comes along."""
    asked = [{"role": "user", "content": "A ticket?"}, {"role": "user", "content": "In Graz."}]
    calling = [{"role": "assistant", "content": "Let me look."}, {"role": "assistant", "tool_calls": [{"id": "1"}]}]
    told = [{"role": "tool", "content": "2.90"}, {"role": "assistant", "content": "2.90 euro."}]
    ledger = Ledger.in_memory()
    row = {"messages": [*asked, *calling, *told], "title": "tram"}
    assert bring(ledger, file(tmp_path, row), into="both", key=KEY, clock=Clock()).exchanges == 1
    conversation = ledger.latest_conversation("local") or ""
    (exchange,) = ledger.conversation(conversation)
    assert (exchange.question, exchange.answer) == ("A ticket?\n\nIn Graz.", "2.90 euro.")
    assert [lesson.wanted for lesson in ledger.lessons()] == ["2.90 euro."]
    assert ledger.title(conversation) == "tram"


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", 1e300, -1e300])
def test_a_time_that_no_clock_shows_is_none(tmp_path: Path, at: Any) -> None:
    """The dialogue is imported as of now."""
    ledger, clock = Ledger.in_memory(), Clock()
    row = {"messages": [{"role": "user", "content": "Hi", "timestamp": at}, {"role": "assistant", "content": "Hello"}]}
    bring(ledger, file(tmp_path, row), into="memory", key=KEY, clock=clock)
    (exchange,) = ledger.conversation(ledger.latest_conversation("local") or "")
    assert exchange.created_at == clock()


@pytest.mark.parametrize(("first", "then"), [("memory", "lessons"), ("lessons", "memory"), ("memory", "both")])
def test_what_was_imported_into_one_can_go_into_the_other(tmp_path: Path, first: Any, then: Any) -> None:
    """Then it is recalled and taught; what somebody has taken back meanwhile is not taught anew."""
    made = assistant(tmp_path / "home")
    options: dict[str, Any] = {"key": KEY, "clock": Clock()}
    bring(made.ledger, file(tmp_path, OPENAI), into=first, **options)
    found = bring(made.ledger, file(tmp_path, OPENAI), into=then, **options)
    assert (found.exchanges, found.known, found.lessons) == (0, 2, 0 if then == "memory" else 2)
    assert [lesson.state for lesson in made.ledger.lessons()] == [LessonState.QUEUED] * 2
    assert made.memory.recall("Where is my card?", k=3)
    assert made.ledger.not_to_be_trained() == set()
    undo_lesson(made.ledger, made.ledger.lessons()[0].id, clock=Clock(), new_id=iter("xy").__next__)
    assert bring(made.ledger, file(tmp_path, OPENAI), into="both", **options).lessons == 0


class Killed(Ledger):
    """A ledger that is left in the midst of an import: when an exchange is stored, and before anything else."""

    def rate(self, *_: Any, **__: Any) -> Any:
        """Never gets so far."""
        raise KeyboardInterrupt

    set_use = rate


@pytest.mark.parametrize(
    ("into", "use"), [("memory", (True, False)), ("lessons", (False, True)), ("both", (True, True))]
)
def test_an_import_that_is_cut_off_is_for_nothing_else(tmp_path: Path, into: Any, use: tuple[bool, bool]) -> None:
    """There is no instant at which recall or a night could have what was not meant for it; the next try ends it."""
    ledger = Killed.open(tmp_path / "ledger.db")
    options: dict[str, Any] = {"into": into, "key": KEY, "clock": Clock()}
    with suppress(KeyboardInterrupt):
        bring(ledger, file(tmp_path, OPENAI), **options)
    conversation = ledger.latest_conversation("local") or ""
    assert ledger.use(conversation) == use
    ledger.close()
    ledger = Ledger.open(tmp_path / "ledger.db")
    bring(ledger, file(tmp_path, OPENAI), **options)
    assert (len(ledger.conversation(conversation)), ledger.use(conversation)) == (2, use)
    assert len(ledger.lessons()) == (0 if into == "memory" else 2)


def test_the_same_file_again_adds_nothing(tmp_path: Path) -> None:
    """What was imported is known by its content, whatever the format; of another user it is another dialogue."""
    ledger = Ledger.in_memory()
    options: dict[str, Any] = {"into": "both", "key": KEY, "clock": Clock()}
    bring(ledger, file(tmp_path, OPENAI), **options)
    for row in (CLAUDE, SHAREGPT):
        again = bring(ledger, file(tmp_path, row), **options)
        assert (again.exchanges, again.lessons, again.known) == (0, 0, 2)
    assert bring(ledger, file(tmp_path, OPENAI), user="ann", **options).exchanges == 2


def said(*words: str) -> dict[str, Any]:
    """A dialogue of these questions and answers in turn."""
    return {"messages": [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(words)]}


CARD = ("Where is my card?", "In the post.")


def bring_all(ledger: Ledger, folder: Path, *rows: Any) -> tuple[int, int, int]:
    """(exchanges, lessons, known) of an import of these rows."""
    found = bring(ledger, file(folder, *rows, lines=True), into="both", key=KEY, clock=Clock())
    return found.exchanges, found.lessons, found.known


def test_a_dialogue_that_went_on_adds_what_was_said_since(tmp_path: Path) -> None:
    """It goes on in its conversation, and what was corrected in it meanwhile is not taught anew."""
    ledger = Ledger.in_memory()
    assert bring_all(ledger, tmp_path, said(*CARD)) == (1, 1, 0)
    conversation = ledger.latest_conversation("local") or ""
    (first,) = ledger.conversation(conversation)
    better = replace(LESSON, question=first.question, wanted="Lost.", unwanted=first.answer, exchange_id=first.id)
    ledger.rate(replace(RATING, exchange_id=first.id, correction="Lost."), better)
    assert bring_all(ledger, tmp_path, said(*CARD, "And the PIN?", "A day later.")) == (1, 1, 1)
    one, two = ledger.conversation(conversation)
    assert (one.id, two.parent_id, [m["content"] for m in two.history]) == (first.id, first.id, list(CARD))
    assert sorted(lesson.wanted or "" for lesson in ledger.lessons()) == ["A day later.", "Lost."]
    for row in (said(*CARD), said(*CARD, "And the PIN?", "A day later."), said(*CARD, "And the PIN?")):
        assert bring_all(ledger, tmp_path, row)[:2] == (0, 0)


def test_dialogues_that_begin_alike_are_two(tmp_path: Path) -> None:
    """What both begin with is there once; each goes on in a conversation of its own, also in a later export."""
    ledger = Ledger.in_memory()
    rows = [said("Hi", "Hello!", "A?", "B."), said("Hi", "Hello!", "C?", "D.")]
    assert bring_all(ledger, tmp_path, *rows) == (3, 3, 1)
    assert bring_all(ledger, tmp_path, *rows) == (0, 0, 4)
    rows = [said("Hi", "Hello!", "A?", "B.", "E?", "F."), said("Hi", "Hello!", "C?", "D.", "E?", "F.")]
    assert bring_all(ledger, tmp_path, *rows) == (2, 2, 4)
    talks = [ledger.conversation(name) for name in dict.fromkeys(x.conversation_id for x, _ in newest(ledger))]
    assert sorted([x.answer for x in talk] for talk in talks) == [["D.", "F."], ["Hello!", "B.", "F."]]
    for talk in talks:
        assert [x.parent_id for x in talk] == [None, *(x.id for x in talk[:-1])]
        assert all(x.signed_by(KEY) for x in talk)


def newest(ledger: Ledger) -> list[Any]:
    """All exchanges, each with its rating."""
    return ledger.newest_exchanges(user=None, limit=99)


def test_what_an_earlier_version_imported_is_known(tmp_path: Path) -> None:
    """It named every exchange by the whole dialogue, as far as that then went: the same file adds nothing, and a later
    one what was said since.
    """
    ledger, words = Ledger.in_memory(), (*CARD, "And the PIN?", "A day later.")
    for then in ((), ("Thanks",), ("Thanks", "Welcome.")):
        whole = old_name(*words, *then)
        for n in (0, 2):
            one = exchange(f"{whole}-{n}", question=words[n], answer=words[n + 1], conversation_id=whole)
            ledger.add_exchange(one)
        assert bring_all(ledger, tmp_path, said(*words, *then))[0] == (1 if then[1:] else 0)
        more = ("Bye.",) if len(then) == 1 else ("Bye", "Bye.")
        assert bring_all(ledger, tmp_path, said(*words, *then, *more))[0] == 1
        assert [x.answer for x in ledger.conversation(whole)][-1] == "Bye."
        ledger = Ledger.in_memory()


def old_name(*words: str) -> str:
    """As version 0005 named a dialogue."""
    digest = hashlib.sha256(b"local\n")
    for n, text in enumerate(words):
        digest.update(json.dumps([("user", "assistant")[n % 2], text]).encode())
    return f"imported-{digest.hexdigest()[:32]}"


def test_what_bears_a_time_to_come_was_said_now(tmp_path: Path) -> None:
    """Or it would be taken for the newest of all for years."""
    ledger, row, clock = Ledger.in_memory(), said(*CARD), Clock()
    row["messages"][0]["timestamp"] = 9_999_999_999
    bring(ledger, file(tmp_path, row), into="memory", key=KEY, clock=clock)
    assert [x.created_at for x, _ in newest(ledger)] == [clock()]
