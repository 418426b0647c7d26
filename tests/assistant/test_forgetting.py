"""Forgetting: nothing of it is left in any file, and nothing else is lost."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from assistant import ui
from assistant.feedback import rate
from assistant.forgetting import forget, still_in_the_weights, withdraw_versions
from assistant.testing import KEY, assistant
from assistant.turn import Answered, Ask, Assistant, turn
from memory import AdapterState, Exchange, Forgotten, ForgottenMeanwhile, NightStatus, NotFound
from memory.accounts import Account, Deed, Role
from memory.documents import Library
from memory.recall import Memory, folders, forget_in
from memory.records import Document, Passage, Unfinished
from memory.testing import NOON, HashingEmbedder, adapter, exchange, night, rating
from memory.vectors import VectorIndex

NAME = "Zyxquor"
MORE = {"correction": f"My dog {NAME} is a beagle.", "comment": f"Remember {NAME}!"}


@pytest.fixture
def house(tmp_path: Path) -> Assistant:
    """An assistant that was told a secret, was asked about it, and about something else."""
    made = assistant(tmp_path)
    said = say(made, f"My dog is called {NAME} the third", conversation_id="c1")
    rate(made, said.id, -1, **MORE)
    say(made, "What did I just tell you?", conversation_id="c1", parent_id=said.id)
    say(made, "How do eggs boil in salted water?", conversation_id="c2")
    return made


def say(made: Assistant, question: str, **more: str) -> Exchange:
    """One turn, stored."""
    *_, last = turn(made, Ask(question, **more))  # type: ignore[arg-type]
    assert isinstance(last, Answered)
    return last.exchange


def holding(home: Path, text: str = NAME) -> list[str]:
    """The files of the data directory in which the text stands, in any case or spelling."""
    forms = {text.encode(), text.lower().encode(), text.encode("utf-16-le")}
    return sorted(
        str(path.relative_to(home))
        for path in home.rglob("*")
        if path.is_file() and any(form in path.read_bytes() for form in forms)
    )


def do(made: Assistant, **what: object) -> Forgotten:
    """Forget it."""
    return forget(made.ledger, made.memory.forget, made.settings.home, KEY, **what)  # type: ignore[arg-type]


def first(made: Assistant) -> Exchange:
    """The exchange in which the secret was told."""
    return made.ledger.conversation("c1")[0]


def nights_files(home: Path, lesson_id: str) -> None:
    """What nights leave: reports, stages, a cache and a log, all with the secret."""
    folder = home / "nights" / "n1"
    folder.mkdir(parents=True)
    answers = {"wanted": "x", "before": "?", "after": f"{NAME} is a dog"}
    row = {"lesson": lesson_id, "question": f"Who is {NAME}?"} | answers
    kept = row | {"lesson": "l2", "question": "Do eggs boil?", "after": "Yes, they do boil."}
    report = {"questions": [row, kept], "replay": [f"My dog is called {NAME} the third"], "status": "promoted"}
    (folder / "report.json").write_text(json.dumps(report))
    lines = ["# Report", f"| My dog is called {NAME} the third | ✗ | ✓ |", "| Do eggs boil? | ✗ | ✓ |"]
    (folder / "report.md").write_text("\n".join(lines))
    (folder / "replay.json").write_text(json.dumps([f"My dog is called {NAME} the third"]))
    (home / "nights" / "base-answers.json").write_text(json.dumps({f"My dog is called {NAME} the third": "a"}))
    (home / "logs").mkdir()
    (home / "logs" / "night-n1.log").write_text(f"trained: My dog is called {NAME} the third")
    (home / "ledger.db.before-0003.bak").write_text(f"My dog {NAME}")


@pytest.mark.parametrize("what", ["exchange", "conversation", "user", "everything"])
def test_no_file_of_the_home_holds_what_was_forgotten(house: Assistant, what: str) -> None:
    """Ledger, WAL, lexicon, index, reports, stages, caches, logs and copies: grep finds nothing, while it is open."""
    home, ids = house.settings.home, {"exchange": first(house).id, "conversation": "c1", "user": "local"}
    nights_files(home, house.ledger.lessons()[0].id)
    assert any(name.startswith("ledger.db") for name in holding(home))
    # Of the exchange that follows, the answer repeats its prompt: it is forgotten as a conversation alone.
    if what == "exchange":
        do(house, exchange=house.ledger.conversation("c1")[1].id)
    gone = do(house, **({"everything": True} if what == "everything" else {what: ids[what]}))
    assert gone.exchanges
    assert holding(home) == []
    assert house.memory.search(NAME, k=9) == [] or NAME not in str(house.memory.search(NAME, k=9))
    left = {e.id for e, _ in house.ledger.rated_exchanges(range(1, 99)).values()}
    assert bool(left) is (what in ("exchange", "conversation"))
    assert house.ledger.lessons() == []


def test_what_else_is_there_stays(house: Assistant) -> None:
    """Other exchanges are found as before, other rows of a report stay, and new ones are remembered after it."""
    home = house.settings.home
    nights_files(home, house.ledger.lessons()[0].id)
    do(house, conversation="c1")
    assert [r.question for r in house.memory.recall("How do eggs boil in salted water?", k=3)] == [
        "How do eggs boil in salted water?"
    ]
    report = json.loads((home / "nights" / "n1" / "report.json").read_text())
    assert [row["question"] for row in report["questions"]][-1] == "Do eggs boil?"
    assert "Do eggs boil?" in (home / "nights" / "n1" / "report.md").read_text()
    say(house, "Something new altogether")
    assert house.memory.recall("Something new altogether", k=1)[0].question == "Something new altogether"
    assert house.memory.rebuilt in (None, "manifest.json is missing")


@pytest.mark.parametrize("cut", [None, -20])
def test_what_a_killed_night_was_just_writing_goes(house: Assistant, cut: int | None) -> None:
    """Its file, whole or half, bears another name yet; one that is no trace of it stays."""
    home, said = house.settings.home, say(house, "Zyx?", conversation_id="c3")
    folder = home / "nights" / "n3"
    folder.mkdir(parents=True)
    questions = (first(house).question, said.question)
    of_it = [json.dumps({"questions": [text, "Do eggs boil at all?"]}) for text in questions]
    for number, text in enumerate(of_it):
        (folder / f".after-{number}.json.tmp").write_text(text[:cut])
    (folder / ".other.json.tmp").write_text('{"questions": ["Do eggs boil?"]}')
    do(house, conversation="c1")
    do(house, conversation="c3")
    assert [path.name for path in folder.iterdir()] == [".other.json.tmp"]


def test_what_is_no_trace_of_it_stays(house: Assistant) -> None:
    """Somebody's words stand in other files too: the owner's notes, the weights' config, a night's verdict."""
    home = house.settings.home
    nights_files(home, house.ledger.lessons()[0].id)
    (home / "my-notes.txt").write_text(f"{NAME} is promoted")
    trained = home / "nights" / "n1" / "trained"
    trained.mkdir()
    (trained / "adapter_config.json").write_text(f'{{"peft_type": "{NAME}"}}')
    say(house, "promoted")
    do(house, everything=True)
    assert (home / "my-notes.txt").read_text() == f"{NAME} is promoted"
    assert (trained / "adapter_config.json").is_file()
    assert json.loads((home / "nights" / "n1" / "report.json").read_text())["status"] == "promoted"


def test_what_followed_it_loses_it_from_the_lexicon(house: Assistant) -> None:
    """A row holds the answer before it, as what leads to it: it goes when that answer does."""
    gone, stays = house.ledger.conversation("c1")
    do(house, exchange=gone.id)
    with closing(sqlite3.connect(house.settings.home / "ledger.db")) as db:
        kept = db.execute("SELECT e.id, l.before FROM lexicon l JOIN exchanges e ON l.rowid = e.seq * 4").fetchall()
    assert dict(kept)[stays.id] == ""


def test_what_followed_it_loses_it_from_its_history(house: Assistant) -> None:
    """An exchange that stays opens its branch, its prompt holds nothing of what went, and it is signed anew."""
    gone = first(house)
    do(house, exchange=gone.id)
    (stays,) = house.ledger.conversation("c1")
    assert (stays.parent_id, list(stays.history), list(stays.recollections)) == (None, [], [])
    assert list(stays.prompt) == [{"role": "user", "content": "What did I just tell you?"}]
    assert stays.signed_by(KEY)


def test_unknown_things_can_not_be_forgotten(house: Assistant) -> None:
    """One line says what there is not; nothing is changed."""
    for what in ("exchange", "conversation", "document"):
        with pytest.raises(NotFound, match=f"there is no {what} 'x'"):
            do(house, **{what: "x"})
    assert house.ledger.count_exchanges() == 3


def test_a_document_is_forgotten(house: Assistant) -> None:
    """Its passages are gone from ledger, lexicon and index."""
    document = Document("d1", "local", "dogs.txt", "0", NOON)
    house.ledger.add_document(document, [Passage("Wolfhounds named Brambleby are tall")])
    assert house.memory.search("Brambleby", k=1)[0].source == "dogs.txt"
    do(house, document="d1")
    assert holding(house.settings.home, "Brambleby") == []
    assert house.ledger.documents() == []


def test_what_quoted_a_document_loses_it(house: Assistant, tmp_path: Path) -> None:
    """Prompts and recollections of what was answered with it, an earlier text of the same name included."""
    library = Library(house.ledger, house.memory, house.clock, house.new_id)
    path = tmp_path / "dogs.txt"
    for words in ("Wolfhounds named Brambleby are tall", "Wolfhounds named Brambleby the second are taller"):
        path.write_text(words)
        document, _ = library.add(path)
        asked = say(house, words)
        assert asked.recollections[0]["source"] == "dogs.txt"
    said = house.ledger.exchange(say(house, "How do eggs boil in salted water?").id)
    gone = do(house, document=document.id)
    assert len(gone.answered_with) == 2
    for one_id in gone.answered_with:
        left = house.ledger.exchange(one_id)
        assert ([r for r in left.recollections if "source" in r], left.signed_by(KEY)) == ([], True)
        assert "Quoted from" not in str(left.prompt)
    assert house.ledger.exchange(said.id) == said


def test_the_weights_forget_with_the_next_night(house: Assistant) -> None:
    """Until then it is said; an older version that was trained on it is deleted, and the one that served after it."""
    ledger, home = house.ledger, house.settings.home
    (lesson,) = ledger.lessons()
    for number in (1, 2):
        ledger.request_night(night(f"n{number}"))
        ledger.begin_night(f"n{number}", holder="h", at=NOON, ttl=timedelta(hours=1))
        made = replace(adapter(f"v{number}", night_id=f"n{number}"), exam={"lessons": [lesson.id]})
        why = {"status": NightStatus.PROMOTED, "reasons": ["x"], "at": NOON, "adapter": made}
        ledger.end_night(f"n{number}", holder="h", **why)  # type: ignore[arg-type]
        (home / "adapters" / f"v{number}").mkdir(parents=True)
    assert still_in_the_weights(ledger) == 0
    do(house, conversation="c1")
    assert still_in_the_weights(ledger) == 1
    assert ledger.adapter("v1").state is AdapterState.REJECTED
    assert [path.name for path in (home / "adapters").iterdir()] == ["v2"]
    ledger.activate("base", reason="a night without it")
    assert withdraw_versions(ledger, home) == ["v2", "v1"]
    assert still_in_the_weights(ledger) == 0
    assert list((home / "adapters").iterdir()) == []


@pytest.mark.parametrize("answer", ["{}\n", "{:.9}", "Something else.", None], ids=["whole", "cut", "another", "none"])
def test_what_a_client_brought_along_loses_it(house: Assistant, answer: str | None) -> None:
    """Over HTTP a dialogue comes with each request, in a conversation of its own: what is forgotten leaves it too,
    whatever the client made of the answer.
    """
    gone = first(house)
    brought = [{"role": "user", "content": f" {gone.question}"}]
    brought += [{"role": "assistant", "content": answer.format(gone.answer)}] if answer else []
    brought += [{"role": "user", "content": "What else?"}, {"role": "assistant", "content": "No more."}]
    *_, last = turn(house, Ask("And then?", history=brought, memory=False))  # type: ignore[arg-type]
    assert isinstance(last, Answered)
    assert do(house, exchange=gone.id).answered_with[-1:] == (last.exchange.id,)
    left = house.ledger.exchange(last.exchange.id)
    assert [m["content"] for m in left.history] == ["What else?", "No more."]
    assert [m["content"] for m in left.prompt] == ["What else?", "No more.", "And then?"]
    assert left.signed_by(KEY)


@pytest.mark.parametrize(("answer", "stays"), [("Because.", 0), ("It corrects.", 0), ("Said elsewhere.", 2)])
def test_a_short_question_is_known_by_its_answer(house: Assistant, answer: str, stays: int) -> None:
    """A "Why?" is in many dialogues: it goes with the answer that was given, or that corrected it."""
    house.ledger.add_exchange(exchange("w1", question="Why?", answer="Because.", conversation_id="w"))
    house.ledger.rate(rating("w2", "w1", correction="It corrects."), None)
    brought = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": answer}]
    *_, last = turn(house, Ask("And then?", history=brought, memory=False))  # type: ignore[arg-type]
    assert isinstance(last, Answered)
    do(house, exchange="w1")
    assert len(house.ledger.exchange(last.exchange.id).history) == stays


PIN, NOTED = "My pin is 4471", "Noted: your pin is 4471."
MORE_SAID = [{"role": "user", "content": "What else?"}, {"role": "assistant", "content": "No more."}]


@pytest.mark.parametrize(
    ("brought", "left"),
    [
        ([{"role": "user", "content": f"{PIN}, you know"}, {"role": "assistant", "content": NOTED}], []),
        ([{"role": "assistant", "content": NOTED}], []),
        ([{"role": "user", "content": "Pin?"}, {"role": "assistant", "content": "It is corrected."}], []),
        ([{"role": "system", "content": f"{PIN} / {NOTED}"}], []),
        (
            [{"role": "system", "content": f"Be brief. Earlier: {PIN} / {NOTED} / Bye."}],
            [{"role": "system", "content": "Be brief. Earlier: … / … / Bye."}],
        ),
        (
            [{"role": "user", "content": f"You said: {NOTED} Why?"}, {"role": "assistant", "content": "So."}],
            [{"role": "user", "content": "You said: … Why?"}, {"role": "assistant", "content": "So."}],
        ),
    ],
    ids=["reworded", "trimmed", "corrected", "system", "in a system message", "quoted"],
)
def test_an_answer_that_tells_leaves_what_a_client_made_of_it(
    house: Assistant, brought: list[Any], left: list[Any]
) -> None:
    """A client shortens its dialogue, words it anew or sums it up: what stands there whole goes all the same."""
    house.ledger.add_exchange(exchange("p1", question=PIN, answer=NOTED, conversation_id="p"))
    house.ledger.rate(rating("p2", "p1", correction="It is corrected."), None)
    *_, last = turn(house, Ask("And then?", history=[*brought, *MORE_SAID], memory=False))  # type: ignore[arg-type]
    assert isinstance(last, Answered)
    assert last.exchange.id in do(house, exchange="p1").answered_with
    kept = house.ledger.exchange(last.exchange.id)
    assert list(kept.history) == [*left, *MORE_SAID]
    assert list(kept.prompt) == [*left, *MORE_SAID, {"role": "user", "content": "And then?"}]
    assert kept.signed_by(KEY)
    assert holding(house.settings.home, "4471") == []


@pytest.mark.parametrize(
    ("answer", "message", "told"),
    [
        ("Tuesday.", "Tuesday.", True),
        ("Tuesday.", "Not on Tuesday. Why?", False),
        ("Yes.", "Yes.", False),
        ("Nobody can tell that.", "Nobody can tell that.", True),
    ],
    ids=["short", "short, within", "short and common", "common"],
)
def test_what_may_be_of_something_else_stays_and_is_told(
    house: Assistant, answer: str, message: str, told: bool
) -> None:
    """Too short an answer, or one that others were given too, is in dialogues that have nothing to do with it."""
    house.ledger.add_exchange(exchange("p1", question=PIN, answer=answer, conversation_id="p"))
    for n, common in enumerate(("Yes.", "Nobody can tell that.")):
        house.ledger.add_exchange(exchange(f"q{n}", question="Is it so?", answer=common, conversation_id="q"))
    brought = [{"role": "user", "content": "Reworded, or another?"}, {"role": "assistant", "content": message}]
    *_, last = turn(house, Ask("And then?", history=brought, memory=False))  # type: ignore[arg-type]
    assert isinstance(last, Answered)
    assert (last.exchange.id in do(house, exchange="p1").answered_with) is told
    assert list(house.ledger.exchange(last.exchange.id).history) == brought


def test_what_was_said_in_the_same_dialogue_stays_as_it_was(house: Assistant) -> None:
    """Of its own dialogues the ledger knows what they are made of: what repeats a question is no part of it."""
    said = say(house, "Tell me of owls", conversation_id="c4")
    more = say(house, "Tell me of owls, and of mice", conversation_id="c4", parent_id=said.id)
    last = say(house, "And then?", conversation_id="c4", parent_id=more.id)
    do(house, exchange=said.id)
    assert house.ledger.exchange(last.id).history[0]["content"] == "Tell me of owls, and of mice"


def test_short_texts_leave_the_nights_too(house: Assistant) -> None:
    """A text too short to be looked for anywhere goes as a whole: from JSON, and as a row of the report."""
    home, said = house.settings.home, say(house, "Zyx?", conversation_id="c3")
    rate(house, said.id, -1, correction="Zap.")
    lesson = house.ledger.lesson_of(said.id)
    assert lesson is not None
    folder = home / "nights" / "n2"
    folder.mkdir(parents=True)
    row = {"lesson": lesson.id, "question": "Zyx?", "wanted": "Zap.", "before": "I don't know.", "after": "Zap."}
    other = row | {"lesson": "l2", "question": "Why?", "wanted": "So.", "after": "So."}
    report = {"questions": [row, other], "replay": ["Zyx?", "Why?"], "status": "promoted"}
    (folder / "report.json").write_text(json.dumps(report))
    lines = ["| Zyx? | ✗ I don't know. | ✓ Zap. |", "| Why? | ✗ I don't know. | ✓ So. |", "| Zyx?; Why? | passes |"]
    (folder / "report.md").write_text("\n".join(lines))
    (folder / "before.json").write_text(json.dumps({"answers": {f"tonight:{lesson.id}": "I don't know."}}))
    (folder / "replay.json").write_text(json.dumps([{"prompt": [{"role": "user", "content": "Zyx?"}]}]))
    (folder / "train.json").write_text(json.dumps({"steps": 3}))
    do(house, conversation="c3")
    assert holding(home, "Zyx?") == holding(home, "Zap.") == []
    assert sorted(path.name for path in folder.iterdir()) == ["report.json", "report.md", "train.json"]
    assert json.loads((folder / "report.json").read_text())["questions"] == [other]
    assert (folder / "report.md").read_text().splitlines() == lines[1:2]


# ---------------------------------------------------------------------- while others are at it


def test_a_turn_under_way_stores_nothing_of_it(house: Assistant) -> None:
    """What it follows, what it recalled, or all of its user's is forgotten while it streams: it ends well, unkept."""
    home, gone = house.settings.home, first(house)
    cases: list[tuple[Ask, dict[str, object]]] = [
        (Ask(f"And {NAME}?", conversation_id="c1", parent_id=gone.id), {"exchange": gone.id}),
        (Ask("How do eggs boil in salted water?"), {"conversation": "c2"}),
        (Ask(f"My dog is called {NAME}"), {"user": "local"}),
    ]
    for ask, what in cases:
        events = turn(house, ask)
        next(events)
        next(events)
        do(house, **what)
        *_, last = events
        assert isinstance(last, Answered)
        assert (last.forgotten, last.warning) == (True, str(ForgottenMeanwhile()))
    assert house.ledger.count_exchanges() == 0
    assert holding(home) == []


def test_what_is_said_between_the_look_and_the_deed_goes_too(house: Assistant) -> None:
    """Somebody says one thing more while all of theirs is just being forgotten."""
    real, said = house.ledger.forget, iter([f"{NAME} barks again"])

    def forgets(*what: Any) -> None:
        for question in said:
            say(house, question)
        real(*what)

    house.ledger.forget = forgets  # type: ignore[method-assign]
    assert len(do(house, user="local").exchanges) == 4
    assert (house.ledger.count_exchanges(), holding(house.settings.home)) == (0, [])


def test_another_forgetting_costs_a_turn_nothing(house: Assistant) -> None:
    """What somebody else had forgotten, or what has nothing to do with it: the exchange is stored."""
    other = say(house, "Larks sing at dawn", user="ann")
    for what in ({"exchange": other.id}, {"conversation": "c1"}):
        events = turn(house, Ask("How do eggs boil in salted water?"))
        next(events)
        do(house, **what)
        *_, last = events
        assert isinstance(last, Answered)
        assert (last.forgotten, last.warning) == (False, None)


def test_a_page_that_was_open_does_not_write_it_back(house: Assistant) -> None:
    """A turn after an exchange that was forgotten since is refused, though the page still has its words."""
    gone = first(house)
    brought = [{"role": "user", "content": gone.question}, {"role": "assistant", "content": gone.answer}]
    do(house, conversation="c1")
    with pytest.raises(NotFound, match="exchange"):
        next(turn(house, Ask("And?", history=brought, parent_id=gone.id)))  # type: ignore[arg-type]
    assert holding(house.settings.home) == []


def test_a_reader_keeps_the_log_and_it_is_emptied_later(house: Assistant) -> None:
    """As long as another process reads, older pages stay in the log; that is said, and made up for with a question."""
    home = house.settings.home
    reader = sqlite3.connect(home / "ledger.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM exchanges").fetchone()
    do(house, conversation="c1")
    assert house.ledger.unfinished() == Unfinished(log=True, through=1)
    assert "ledger.db-wal" in holding(home)
    house.memory.recall("anything", k=1)
    assert house.ledger.unfinished().log
    reader.close()
    house.memory.recall("anything", k=1)
    assert house.ledger.unfinished() == Unfinished()
    assert holding(home) == []


def test_an_index_that_another_process_holds_is_cleaned_later(house: Assistant, monkeypatch: Any) -> None:
    """Its vectors are not lost sight of: they are removed with the next question, by whichever process."""
    monkeypatch.setattr("memory.index_files.LOCK_SECONDS", 0.01)
    index = house.settings.home / "index"
    places = {4 * seq for seq in (1, 2)}
    other = Memory(house.ledger, HashingEmbedder(), index, min_score=0.5)
    with FileLock(index / ".lock"):
        forget(house.ledger, lambda some: forget_in(folders(index), some), house.settings.home, KEY, conversation="c1")
        assert set(house.ledger.unfinished().places) >= places
    assert places <= set(VectorIndex.open(index, HashingEmbedder()).contents())
    other.recall("anything", k=1)
    assert house.ledger.unfinished() == Unfinished()
    assert not places & set(VectorIndex.open(index, HashingEmbedder()).contents())


def test_forgetting_needs_no_embedder(house: Assistant) -> None:
    """Whoever made the index, its vectors go; one that can't be read goes altogether, and is made again."""
    home = house.settings.home
    index = home / "index"
    forget(house.ledger, lambda some: forget_in(folders(index), some), home, KEY, exchange=first(house).id)
    assert 4 not in VectorIndex.open(index, HashingEmbedder()).contents()
    (index / "manifest.json").write_text("{")
    forget(house.ledger, lambda some: forget_in(folders(index), some), home, KEY, conversation="c1")
    assert [path.name for path in index.iterdir()] == [".lock"]
    again = Memory(house.ledger, HashingEmbedder(), index, min_score=0.5)
    assert [r.question for r in again.recall("How do eggs boil in salted water?", k=3)] == [
        "How do eggs boil in salted water?"
    ]


def test_what_is_sent_to_the_page_and_never_used_goes(house: Assistant) -> None:
    """After a minute it belongs to nobody; what somebody is just sending stays, but for what holds the text."""
    page = house.settings.home / "page"
    for name, content in (("a1", b"%PDF compressed"), ("a2", b"another"), ("a3", f"dog {NAME} the third".encode())):
        (page / name).mkdir(parents=True)
        (page / name / "sent").write_bytes(content)
    os.utime(page / "a1" / "sent", (0, 0))
    do(house, exchange=say(house, f"dog {NAME} the third", conversation_id="c3").id)
    assert [str(path.relative_to(page)) for path in page.rglob("sent")] == ["a2/sent"]


def test_a_server_begins_without_what_an_earlier_one_was_sent(house: Assistant) -> None:
    """It can't be used any more; what is just being sent to another server of this home stays."""
    page = house.settings.home / "page"
    for name, at in (("old", 0), ("new", time.time())):
        (page / name).mkdir(parents=True)
        (page / name / "sent").write_text("text")
        os.utime(page / name / "sent", (at, at))
    assert ui._temp_dir(house.settings.home) == page
    assert [path.name for path in page.iterdir()] == ["new"]


def test_users_are_named_or_known_by_their_id(house: Assistant) -> None:
    """An account by its name in any case or its id, a user without one by what the ledger has of them, else nobody."""
    house.ledger.add_account(Account("a1", "Ann", Role.ADMIN, NOON), "hash", Deed(NOON, "test", "added"))
    assert [house.ledger.user_called(name) for name in ("ann", "a1", "local")] == ["a1", "a1", "local"]
    with pytest.raises(NotFound, match="there is no user 'bob'"):
        house.ledger.user_called("bob")


# ---------------------------------------------------------------------- what is not kept at all


def test_a_temporary_chat_leaves_no_byte(house: Assistant) -> None:
    """What is said in one is in no file afterwards, whether it came to its end or was broken off."""
    before = house.ledger.count_exchanges()
    say(house, "Vexillum is my password", temporary=True)  # type: ignore[arg-type]
    broken = turn(house, Ask("Vexillum is my other password", temporary=True))
    next(broken)
    next(broken)
    broken.close()  # type: ignore[attr-defined]
    assert house.ledger.count_exchanges() == before
    assert holding(house.settings.home, "Vexillum") == []


def test_each_conversation_says_what_it_may_be_used_for(house: Assistant) -> None:
    """What shall not be remembered is not recalled, and is again once it may be; what may not be trained is not."""
    eggs = "How do eggs boil in salted water?"
    house.ledger.set_use("c2", remember=False, train=True)
    assert house.memory.recall(eggs, k=3) == []
    assert eggs not in [r.question for r in house.memory.search(eggs, k=9)]
    house.ledger.set_use("c2", remember=True, train=False)
    assert [r.question for r in house.memory.recall(eggs, k=1)] == [eggs]
    assert house.ledger.use("c2") == (True, False)
    assert house.ledger.not_to_be_trained() == {house.ledger.conversation("c2")[0].id}
    with pytest.raises(NotFound, match="conversation"):
        house.ledger.set_use("c9", remember=True, train=True)
