"""Which lessons one night has room for, whose they are, and that a large ledger costs no more than a small one."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from memory.ledger import Ledger
from memory.records import Lesson, LessonEvent, LessonState, Message, NightStatus, sign
from memory.testing import KEY, NOON, Clock, exchange, lesson, night
from training.budget import Plan, choose, limit, plan
from training.nightly import run
from training.settings import NightSettings
from training.syllabus import Syllabus, collect
from training.testing import ScriptedTeacher, rate, school

THINGS = ("capital", "colour", "price", "author")
VERIFIED, QUEUED, HELD = LessonState.VERIFIED, LessonState.QUEUED, LessonState.HELD


def lessons(count: int, *, verified: int = 0, user: str = "local", first: int = 0) -> list[Lesson]:
    """The oldest of them verified; every third is a liked answer, and there are four topics."""
    return [
        replace(
            lesson(
                f"{user}{n}",
                question=f"What is the {THINGS[n % 4]} of number {n}?",
                wanted=f"It is {n}.",
                unwanted=None if n % 3 == 0 else "Nobody knows.",
                state=VERIFIED if n - first < verified else QUEUED,
                user=user,
            ),
            adapter="v1" if n - first < verified else None,
        )
        for n in range(first, first + count)
    ]


def numbers(chosen: Sequence[Lesson]) -> list[int]:
    """Which they are."""
    return [int(x.id.removeprefix(x.user)) for x in chosen]


# ---------------------------------------------------------------------- a bounded number


def test_within_the_budget_all_are_chosen() -> None:
    """Nothing is drawn where there is room for everything, in whatever state it is."""
    all_of_them = lessons(10, verified=5)
    assert choose(all_of_them, most=10, seed=0) == all_of_them


def test_half_are_the_newest_and_half_are_drawn() -> None:
    """Of 100 new and 100 earlier ones ten new ones are taken, the newest, and ten earlier ones from all ages."""
    chosen = numbers(choose(lessons(200, verified=100), most=20, seed=0))
    earlier = [n for n in chosen if n < 100]
    assert chosen == sorted(chosen)
    assert [n for n in chosen if n >= 100] == list(range(190, 200))
    assert len(earlier) == 10
    assert all(2 <= sum(n // 25 == age for n in earlier) <= 3 for age in range(4))


def test_earlier_ones_are_of_every_label_and_topic() -> None:
    """A rare label and a rare topic come in, where by chance they would hardly."""
    earlier = [
        replace(x, unwanted="Nobody knows.", question=x.question if n % 100 else "Who painted Guernica?")
        for n, x in enumerate(lessons(1000, verified=1000))
    ]
    earlier[500] = replace(earlier[500], unwanted=None)
    chosen = choose(earlier, most=40, seed=0)
    assert Counter(x.unwanted is None for x in chosen) == {False: 39, True: 1}
    topics = Counter(next((thing for thing in (*THINGS, "Guernica") if thing in x.question), "") for x in chosen)
    assert len(topics) == 5
    assert min(topics.values()) >= 4


@pytest.mark.parametrize(("new", "earlier", "expected"), [(100, 2, (18, 2)), (3, 100, (3, 17)), (0, 100, (0, 20))])
def test_what_one_half_leaves_free_the_other_takes(new: int, earlier: int, expected: tuple[int, int]) -> None:
    """The budget is used up."""
    chosen = numbers(choose(lessons(new + earlier, verified=earlier), most=20, seed=0))
    assert (sum(n >= earlier for n in chosen), sum(n < earlier for n in chosen)) == expected


def test_the_seed_draws_and_nothing_else() -> None:
    """The same lessons under other ids are the same choice; another seed draws others, but for the newest."""
    known = lessons(200, verified=100)
    other_ids = [replace(x, id=f"{x.user}{n}", rating_id=f"other{n}") for n, x in enumerate(known)]
    chosen = numbers(choose(known, most=20, seed=0))
    assert numbers(choose(other_ids, most=20, seed=0)) == chosen
    other = numbers(choose(known, most=20, seed=1))
    assert other != chosen
    assert other[-10:] == chosen[-10:]


def test_a_new_lesson_hardly_changes_what_is_drawn() -> None:
    """Each lesson draws its own lot, so that the earlier half of a night is nearly that of the night before."""
    before = set(numbers(choose(lessons(1000, verified=1000), most=100, seed=0)))
    after = set(numbers(choose(lessons(1001, verified=1001), most=100, seed=0)))
    assert len(before & after) >= 95


def test_what_was_tried_does_not_keep_the_others_waiting() -> None:
    """Lessons that a night has failed with, or could not get in, come after those that no night has had."""
    known = lessons(8)
    failed = LessonEvent(NOON, QUEUED, "night n1 was rejected (damages): back in the queue", "n1")
    waited = LessonEvent(NOON, QUEUED, "left out tonight: past the budget of 4 lessons", "n1")
    known = [replace(x, events=[failed] if n in (6, 7) else [waited]) for n, x in enumerate(known)]
    known[5] = replace(known[5], adapter="v1", state=LessonState.NOT_LEARNED)
    assert numbers(choose(known, most=4, seed=0)) == [1, 2, 3, 4]
    assert numbers(choose(known, most=6, seed=0)) == [0, 1, 2, 3, 4, 7]


def planned(known: Sequence[Lesson], *, most: int = 400, share: float = 0.1) -> Plan:
    """Tonight's."""
    return plan(known, most=most, share=share, seed=0)


def test_those_past_the_budget_keep_their_state() -> None:
    """Verified ones rest, queued ones stay queued and are told why, and what a night has rejected stays rejected."""
    known = lessons(20, verified=10)
    known[10] = replace(known[10], state=LessonState.REJECTED)
    found = planned(known, most=4)
    out = {(decision.state, decision.reason) for decision in found.left_out.values()}
    assert out == {(QUEUED, "left out tonight: past the budget of 4 lessons")}
    assert len(found.left_out) == 7
    assert found.resting == {x.id for x in known[:11]} - {x.id for x in found.chosen}


# ---------------------------------------------------------------------- a share of it


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([500], None),
        ([300, 2], 200),
        ([200, 2], None),
        ([300, 2, 1], 133),
        ([50, 1, 1], None),
        ([2] * 20 + [40], 4),
        ([1] * 10 + [50], 1),
        ([5] * 5 + [1] * 5 + [50], 5),
        ([20] * 10, None),
        ([5000] * 20, 40),
        ([1] * 100 + [60, 60], 12),
    ],
)
def test_limit(counts: Sequence[int], expected: int | None) -> None:
    """One alone and a household are left alone but for room; among many 10 % is the most, or what is usual."""
    assert limit({f"u{n}": count for n, count in enumerate(counts)}, share=0.1, room=400) == expected


def test_one_of_many_users_is_held_to_a_share() -> None:
    """A flood of one user's is a tenth of the night; the rest is held with a reason that names the user."""
    known = lessons(60, user="eve") + [x for n in range(20) for x in lessons(2, user=f"user{n}-", first=100 * n + 100)]
    found = planned(known)
    users = Counter(x.user for x in found.chosen)
    assert (users.pop("eve"), set(users.values())) == (4, {2})
    assert len(found.left_out) == 56
    assert {(d.state, d.reason) for d in found.left_out.values()} == {
        (HELD, "user eve already has 9% of tonight's lessons")
    }
    assert [x.id for x in found.chosen if x.user == "eve"] == ["eve56", "eve57", "eve58", "eve59"]
    assert planned(known, share=1.0).left_out == {}


def test_the_share_holds_within_the_budget() -> None:
    """A flood of new lessons in a large ledger is a share of tonight's, not of all that were ever given."""
    known = [x for n in range(20) for x in lessons(100, verified=100, user=f"user{n}-")]
    found = planned([*known, *lessons(200, user="eve")], most=100)
    users = Counter(x.user for x in found.chosen)
    assert len(found.chosen) == 100
    assert users["eve"] == 10
    assert max(users.values()) == 10


def test_a_single_user_is_never_capped() -> None:
    """Whatever the share."""
    assert planned(lessons(400), share=0.01).left_out == {}


# ---------------------------------------------------------------------- a night of a large ledger


def tonights(ledger: Ledger, **settings: Any) -> Syllabus:
    """What a night would teach."""
    return collect(ledger, ScriptedTeacher(), NightSettings(**settings), key=KEY, system="", seed=0)


def test_the_exam_is_bounded_too(ledger: Ledger) -> None:
    """Only what is trained tonight is asked, and a night of the rest follows until all have been taught."""
    for n in range(12):
        rate(ledger, f"l{n}", f"What is number {n}?", correction=f"It is {n}.")
    ledger.advance_lessons({f"l{n}": LessonEvent(NOON, VERIFIED, "right", "n1", "v1") for n in range(6)})
    found = tonights(ledger, lessons_max=4)
    asked = {item.lesson_id for item in found.paper if item.kind in ("tonight", "earlier")}
    assert [x.id for x in found.tonight] == ["l10", "l11"]
    assert (len(found.earlier), asked) == (2, {x.id for x in found.kept})
    assert len(found.dropped) == len(found.resting) == 4
    assert found.identity != tonights(ledger, lessons_max=5).identity


def test_a_queue_longer_than_a_night_is_taught_in_turn(tmp_path: Path, ledger: Ledger) -> None:
    """Night after night the newest that wait are taught beside earlier ones, until the queue is empty."""
    for n in range(10):
        rate(ledger, f"l{n}", f"What is number {n}?", correction=f"It is {n}.")
    clock, seen = Clock(), []
    for number in range(4):
        clock.tick(3600)
        made = school(tmp_path, ledger, settings=NightSettings(lessons_max=4), clock=clock)
        ended = run(made, ledger.request_night(night(f"n{number}", created_at=clock())).id, seed=0)
        assert ended.status is NightStatus.PROMOTED
        seen.append([x.id for x in ledger.lessons() if x.state is VERIFIED])
        waiting = [x for x in ledger.lessons() if x.state is QUEUED]
        assert {x.reason for x in waiting} <= {"left out tonight: past the budget of 4 lessons"}
    assert [len(found) for found in seen] == [4, 6, 8, 10]
    assert seen[0] == ["l6", "l7", "l8", "l9"]
    assert set(seen[1]) - set(seen[0]) == {"l4", "l5"}


def test_a_user_who_has_enough_is_held_and_told(tmp_path: Path, ledger: Ledger) -> None:
    """The night that leaves a lesson out for its user's share writes so, and it is taught when there is room."""
    for n in range(10):
        rate(ledger, f"l{n}", f"What is number {n}?", correction=f"It is {n}.", user=f"user{n}")
    for n in range(10, 13):
        rate(ledger, f"l{n}", f"What is number {n}?", correction=f"It is {n}.", user="eve")
    run(school(tmp_path, ledger), ledger.request_night(night("n1")).id, seed=0)
    why = "user eve already has 9% of tonight's lessons"
    assert [(x.state, x.reason) for x in ledger.lessons() if x.user == "eve"] == [
        (HELD, why),
        (HELD, why),
        (VERIFIED, "v1 answers it right"),
    ]
    made = school(tmp_path, ledger, settings=NightSettings(user_share_max=1.0))
    run(made, ledger.request_night(night("n2", created_at=NOON + timedelta(hours=1))).id, seed=0)
    assert {x.state for x in ledger.lessons()} == {VERIFIED}


def test_users_who_disagree_are_held_and_told(tmp_path: Path, ledger: Ledger) -> None:
    """The ledger's lessons say who disagrees, once however many nights pass, and a third user settles it."""
    question = "What is the capital of Turkey?"
    rate(ledger, "peru", "What is the capital of Peru?", correction="Lima.", user="ann")
    rate(ledger, "ann", question, correction="Ankara.", user="ann")
    rate(ledger, "bob", question, correction="Istanbul.", user="bob")
    for n in range(2):
        run(school(tmp_path, ledger), ledger.request_night(night(f"n{n}")).id, seed=0)
    why = "users disagree: lessons ann and bob want different answers, 1 user each"
    for n in range(2):
        told = json.loads((tmp_path / "nights" / f"n{n}" / "report.json").read_text("utf-8"))["lessons_out"]
        assert told == {name: {"state": "held", "reason": why} for name in ("ann", "bob")}
    assert [(x.state, x.reason) for x in ledger.lessons()][1:] == [(HELD, why)] * 2
    assert [x.state for x in ledger.lesson("ann").events] == [QUEUED, HELD]
    rate(ledger, "eve", question, answer="It is Ankara.", value=1, user="eve")
    run(school(tmp_path, ledger), ledger.request_night(night("n2")).id, seed=0)
    assert (ledger.lesson("ann").state, ledger.lesson("bob").state) == (VERIFIED, LessonState.REJECTED)


RATED, NEW = 100_000, 1_000


def large_ledger(path: Path) -> Ledger:
    """A ledger on disk of `RATED` rated exchanges, all verified but the `NEW` newest, two in three corrected: what
    `lessons` makes, made by SQLite itself, without log and fsync, in a third of the time.
    """
    Ledger.open(path).close()
    made = exchange()
    alike = {name: _stored(getattr(made, name)) for name in made.__dataclass_fields__ if name not in OWN}
    things = " ".join(f"WHEN {n} THEN '{thing}'" for n, thing in enumerate(THINGS))
    with closing(sqlite3.connect(path)) as db:
        # A night looks for no words: filling the lexicon would be most of the work here.
        db.executescript(
            f"""
            PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-200000;
            DROP TRIGGER lexicon_exchange; DROP TRIGGER lexicon_rating;
            CREATE TEMP TABLE said AS
            WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {RATED})
            SELECT n, n < {RATED - NEW} AS taught, 'It is ' || n || '.' AS wanted,
                'What is the ' || CASE n % {len(THINGS)} {things} END || ' of number ' || n || '?' AS question,
                CASE WHEN n % 3 THEN 'Nobody knows.' END AS unwanted,
                strftime('%Y-%m-%dT%H:%M:%S.000000+00:00', '{NOON:%Y-%m-%d %H:%M:%S}', n || ' seconds') AS at
            FROM numbers;
            INSERT INTO conversations (id, user, created_at) SELECT 'c1', 'local', at FROM said WHERE n = 0;
            """  # noqa: S608 - our own numbers and words
        )
        db.create_function("prompt", 1, lambda question: json.dumps(_prompt(question)))
        db.create_function("signed", 2, lambda question, answer: sign(KEY, _prompt(question), answer))

        def fill(table: str, *values: object, only: str = "1", **columns: str) -> None:
            made_of = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())}"
            db.execute(f"{made_of} FROM said WHERE {only} ORDER BY n", values)

        answer, taught = "coalesce(unwanted, wanted)", "CASE WHEN taught THEN {} END".format
        state = "CASE WHEN taught THEN 'verified' ELSE 'queued' END"
        mine = {"user": "'local'", "exchange_id": "'e' || n", "created_at": "at"}
        life = {"state": state, "reason": "'so'", "night_id": taught("'n0'"), "adapter": taught("'v1'")}
        said = {"id": "'e' || n", "created_at": "at", "question": "question", "answer": answer}
        said |= {"prompt": "prompt(question)", "signature": f"signed(question, {answer})"}
        fill("exchanges", *alike.values(), **dict.fromkeys(alike, "?"), **said)
        thumb = {"value": "CASE WHEN unwanted IS NULL THEN 1 ELSE -1 END", "reasons": "'[]'", "comment": "''"}
        fill("ratings", id="'r' || n", correction="CASE WHEN n % 3 THEN wanted END", **mine, **thumb)
        words = {"question": "question", "wanted": "wanted", "unwanted": "unwanted", "history": "'[]'"}
        fill("lessons", id="'local' || n", rating_id="'r' || n", **mine, **words, **life)
        event = {"lesson_id": "'local' || n", "at": "at"}
        fill("lesson_events", **event, state="'queued'", reason="'waits'")
        fill("lesson_events", only="taught", **event, **life)
        db.commit()
    return Ledger.open(path)


OWN = ("id", "created_at", "question", "answer", "prompt", "signature")
"""What is each exchange's own."""


def _prompt(question: str) -> list[Message]:
    return [{"role": "user", "content": question}]


def _stored(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def test_a_hundred_thousand_rated_exchanges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rows of a night and its exam are those of `lessons_max`, and before training it takes seconds."""
    clock = time.process_time  # the work that it is, however busy the machine
    began = clock()
    ledger = large_ledger(tmp_path / "ledger.db")
    built = clock() - began
    moments: dict[str, float] = {}

    def tell(stage: str, share: float, detail: str) -> None:
        moments.setdefault(stage, clock() - began)

    began = clock()
    ended = run(school(tmp_path, ledger, tell=tell), ledger.request_night(night()).id, seed=0)
    whole = clock() - began
    report = json.loads((tmp_path / "nights" / "n1" / "report.json").read_text("utf-8"))
    kinds = Counter(question["kind"] for question in report["questions"])
    states = ledger.lesson_counts()
    ledger.close()
    with capsys.disabled():
        print(  # noqa: T201 - the figures are what the test is for
            f"\n{RATED:,} rated exchanges (built in {built:.1f} CPU s): {report['training']['wanted_rows']} wanted"
            f" rows, {len(report['questions'])} questions; {moments['before']:.1f} s to choose the lessons,"
            f" {moments['train']:.1f} s before training, {whole:.1f} s the scripted night"
        )
    assert ended.status is NightStatus.PROMOTED
    assert len(report["lessons_in"]) == 400
    assert (kinds["tonight"], kinds["earlier"]) == (200, 200)
    assert report["training"]["wanted_rows"] <= 400 * (1 + 11)
    assert states == {VERIFIED: RATED - NEW + 200, QUEUED: NEW - 200}
    assert built < 20
    assert moments["train"] < 30
