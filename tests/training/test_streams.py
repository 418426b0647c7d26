"""Reading streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assistant.models import embedder_path
from assistant.settings import load
from memory.embedder import SentenceEmbedder
from memory.errors import BadInput
from training import checks, general, streams
from training.replay import SAME
from training.settings import Settings
from training.streams import StreamItem, read, read_all, shipped


def test_the_shipped_stream_is_held_out() -> None:
    """Five facts and ten controls, none of which any night replays or asks in its exam."""
    items = shipped()
    used = {item.question for item in [*general.replayed(), *general.controls()]}
    assert [sum(item.split == split for item in items) for split in ("teach", "control")] == [5, 10]
    assert not [q for item in items for q in (item.question, *item.paraphrases) if q in used]
    assert all(item.right(item.answer) for item in items)


@pytest.mark.model
def test_the_stream_of_a_house_can_be_read() -> None:
    """Twenty facts over four days, each with three other wordings, and twenty controls; no answer stands in two."""
    items = read(Path(streams.__file__).parent / "data" / "house.jsonl")
    taught = [item for item in items if item.split == "teach"]
    assert [item.split for item in items].count("control") == 20
    assert sorted({item.session for item in taught}) == [1, 2, 3, 4]
    assert {len(item.paraphrases) for item in taught} == {3}
    assert all(checks.passes(item.check, item.answer) for item in taught)
    assert len({item.answer for item in taught}) == 20


def test_no_control_of_the_shipped_stream_is_replayed_in_other_words() -> None:
    """Nor in nearly its own: "the chemical symbol for" is "of" as well."""
    embedder = SentenceEmbedder(embedder_path(load(Settings).models))
    replayed = [item.question for item in general.replayed()]
    held = embedder.embed([item.question for item in shipped() if item.split == "control"])
    same = (embedder.embed(replayed) @ held.T).max(axis=1) >= SAME
    assert [question for question, found in zip(replayed, same, strict=True) if found] == []


GOOD: dict[str, Any] = {
    "id": "a",
    "stream": "s",
    "session": 1,
    "split": "teach",
    "question": "Who?",
    "answer": "Ada.",
    "check": {"kind": "contains", "any": ["Ada"]},
}


def refused(tmp_path: Path, line: str) -> str:
    """The line with which a stream is refused whose third line, after a good one and an empty one, is `line`."""
    file = tmp_path / "mine.jsonl"
    file.write_text(f"{json.dumps(GOOD)}\n\n{line}\n", encoding="utf-8", errors="surrogateescape")
    with pytest.raises(BadInput) as caught:
        read(file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("line", ["no json", "[1, 2]", '{"id": "x"}', "3", "null", "{" * 100_000, "[" * 100_000])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    """One line says where it is."""
    assert refused(tmp_path, line).startswith("mine.jsonl, line 3, is no item of a stream: ")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, "the id 'a' stands in mine.jsonl, line 1, already"),
        ({"id": 7}, "id is 7: it must be a text"),
        ({"stream": " "}, "stream is ' ': it must be a text"),
        ({"question": ""}, "question is '': it must be a text"),
        ({"question": "\u200b"}, "question is '\\u200b': it must be a text"),
        ({"id": "b", "answer": "\u200b \u2060"}, "it must be a text"),
        ({"id": "b", "paraphrases": ["\u200b"]}, "it must be a list of texts"),
        ({"answer": None}, "answer is None: it must be a text"),
        ({"split": "train"}, "split is 'train': it must be one of teach, probe, control"),
        ({"split": ["teach"]}, "split is ['teach']"),
        ({"session": "1"}, "session is '1': the day of a teach item is a whole number from 1"),
        ({"session": 1.0}, "session is 1.0"),
        ({"session": True}, "session is True"),
        ({"session": 0}, "session is 0: the day of a teach item is a whole number from 1"),
        ({"split": "control", "session": -1}, "session is -1: the day of a control item is a whole number from 0"),
        ({"paraphrases": "Which?"}, "paraphrases is 'Which?': it must be a list of texts"),
        ({"paraphrases": [""]}, "it must be a list of texts"),
        ({"paraphrases": None}, "it must be a list of texts"),
        ({"difficulty": 3}, "unknown field 'difficulty': the fields are id, stream, session, split"),
        ({"check": {"kind": "bleu"}}, "unknown check 'bleu'"),
        ({"check": {"kind": "contains"}}, "the check contains lacks its field 'any'"),
        ({"check": None}, "a check is an object with a kind"),
        ({"check": {"kind": "regex", "pattern": "a{99999999999}"}}, "is no regular expression: repeat count too big"),
        ({"id": "b", "answer": "\ud800"}, "surrogates not allowed"),
        ({"id": "b" * 201}, "id has 201 characters: the most is 200"),
        ({"id": "b", "stream": "s" * 201}, "stream has 201 characters: the most is 200"),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    """With the reason, and what is allowed."""
    found = refused(tmp_path, json.dumps(GOOD | change))
    assert found.startswith("mine.jsonl, line 3, is no item of a stream: ")
    assert why in found


def test_where_a_line_is_no_json(tmp_path: Path) -> None:
    """By the character: the line is named already."""
    found = refused(tmp_path, '{"id": nothing}')
    assert found == "mine.jsonl, line 3, is no item of a stream: Expecting value at character 8"


@pytest.mark.parametrize("name", ["question", "answer", "paraphrases"])
def test_what_nobody_could_send(tmp_path: Path, name: str) -> None:
    """A text longer than a message may be is refused at once, not on the day on which it would be sent."""
    change = {name: ["?" * 21] if name == "paraphrases" else "?" * 21}
    (tmp_path / "s.jsonl").write_text(json.dumps(GOOD | change))
    with pytest.raises(BadInput, match=r"s\.jsonl, line 1, .* has 21 characters: the most is 20$"):
        read(tmp_path / "s.jsonl", longest=20)
    assert len(read(tmp_path / "s.jsonl", longest=21)) == 1


@pytest.mark.parametrize(
    "check",
    [
        {"kind": "contains", "any": ["yes", "x" * 21]},
        {"kind": "contains", "any": ["yes"], "none": ["x" * 21]},
        {"kind": "regex", "pattern": "x" * 21},
        {"kind": "chrf", "reference": "x" * 21, "min": 0.5},
    ],
)
def test_a_check_that_no_answer_could_meet(tmp_path: Path, check: dict[str, Any]) -> None:
    """What is longer than any answer may be would be looked for in each of thousands."""
    (tmp_path / "s.jsonl").write_text(json.dumps(GOOD | {"check": check}))
    with pytest.raises(BadInput, match=r"of the check .* has 21 characters: the most is 20$"):
        read(tmp_path / "s.jsonl", longest=20)
    assert len(read(tmp_path / "s.jsonl", longest=21)) == 1


def test_a_pattern_that_does_not_come_to_an_end() -> None:
    """Nested repetitions look for longer than anybody waits, each time that the bench is started: its item is named."""
    item = StreamItem("a-7", "mine", 1, "teach", "q?", "a", {"kind": "regex", "pattern": "^(a|aa)+$"})
    assert item.right("aaa")
    with pytest.raises(BadInput, match="the item a-7 of mine can't be judged: its pattern was still looking"):
        item.right("a" * 40 + "!")


@pytest.mark.parametrize("field", GOOD)
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    """Paraphrases alone may be left out."""
    line = json.dumps({name: value for name, value in GOOD.items() if name != field})
    assert refused(tmp_path, line).endswith(f"it lacks {field}")


@pytest.mark.parametrize("text", ["", "\n\n", "  \n"])
def test_an_empty_stream_is_told(tmp_path: Path, text: str) -> None:
    """There is nothing to do with it."""
    (tmp_path / "none.jsonl").write_text(text)
    with pytest.raises(BadInput, match=r"none\.jsonl is empty: it must hold one item a line"):
        read(tmp_path / "none.jsonl")


def test_an_id_of_another_file(tmp_path: Path) -> None:
    """Several streams are one run, in which an item is known by its id."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(GOOD))
    with pytest.raises(BadInput, match=r"two\.jsonl, line 1, .*: the id 'a' stands in one\.jsonl, line 1, already"):
        read_all([tmp_path / "one.jsonl", tmp_path / "two.jsonl"])


def test_the_same_file_twice(tmp_path: Path) -> None:
    """However it is spelt: told as what it is, not as an id that stands somewhere already."""
    (tmp_path / "s.jsonl").write_text(json.dumps(GOOD))
    with pytest.raises(BadInput, match=r"the stream .*s\.jsonl is named twice"):
        read_all([tmp_path / "s.jsonl", tmp_path / ".." / tmp_path.name / "s.jsonl"])


def test_a_mark_of_byte_order(tmp_path: Path) -> None:
    """What some editors write before everything else is no part of the first line."""
    (tmp_path / "s.jsonl").write_text(json.dumps(GOOD), encoding="utf-8-sig")
    assert [x.id for x in read(tmp_path / "s.jsonl")] == [GOOD["id"]]


def test_line_separators_within_a_text(tmp_path: Path) -> None:
    """They are the text's: only a line feed ends a line; a carriage return before it is no part of it."""
    line = json.dumps(GOOD | {"question": "one\u2028two\x85three"}, ensure_ascii=False)
    (tmp_path / "s.jsonl").write_bytes(f"{line}\r\n".encode())
    assert [x.question for x in read(tmp_path / "s.jsonl")] == ["one\u2028two\x85three"]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    """One line, no traceback."""
    (tmp_path / "s.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match=r"s\.jsonl can't be read: 'utf-8' codec"):
        read(tmp_path / "s.jsonl")


def test_a_missing_stream_is_told(tmp_path: Path) -> None:
    """One line, no traceback."""
    with pytest.raises(BadInput, match="can't be read"):
        read(tmp_path / "none.jsonl")
