"""Forgetting: nothing of it is left in any file, and nothing else is lost."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from assistant.feedback import rate
from assistant.forgetting import forget, still_in_the_weights, withdraw_versions
from assistant.testing import KEY, assistant
from assistant.turn import Answered, Ask, Assistant, turn
from memory import AdapterState, Exchange, Forgotten, NightStatus, NotFound
from memory.records import Document, Passage
from memory.testing import NOON, adapter, night

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
    return forget(made.ledger, lambda: made.memory, made.settings.home, KEY, **what)  # type: ignore[arg-type]


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
