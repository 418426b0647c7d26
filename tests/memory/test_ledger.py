"""The ledger: what is written is read again, whoever else writes, and whatever happens to the disk."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from memory import (
    BASE,
    AdapterState,
    AlreadyRunning,
    BadInput,
    LeaseLost,
    Ledger,
    LedgerUnreadable,
    LessonEvent,
    LessonState,
    NightStatus,
    NotFound,
    NotRemembered,
    Votes,
)
from memory.accounts import Deed
from memory.database import RETRY_SECONDS
from memory.testing import KEY, NOON, Clock, adapter, exchange, lesson, night, rating

TTL = timedelta(minutes=2)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A new ledger on disk."""
    opened = Ledger.open(tmp_path / "ledger.db")
    assert opened.read_only is None
    yield opened
    opened.close()


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB of our own; skips where we may not mount one."""
    folder, mount, umount = tmp_path / "disk", shutil.which("mount"), shutil.which("umount")
    folder.mkdir()
    if os.geteuid() != 0 or mount is None or umount is None:
        pytest.skip("only root can mount a file system")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode != 0:
        pytest.skip("mount is not allowed here")
    yield folder
    subprocess.run([umount, "-l", str(folder)], check=True)


@contextmanager
def read_only_view(folder: Path, view: Path) -> Iterator[None]:
    """The same files once more at `view`, where nothing can be written."""
    mount, umount = str(shutil.which("mount")), str(shutil.which("umount"))
    subprocess.run([mount, "--bind", str(folder), str(view)], check=True)
    try:
        subprocess.run([mount, "-o", "remount,bind,ro", str(view)], check=True)
        yield
    finally:
        subprocess.run([umount, "-l", str(view)], check=True)


def event(state: LessonState, reason: str = "because", **more: str) -> LessonEvent:
    """A step of a lesson's life at noon."""
    return LessonEvent(NOON, state, reason, **more)


def test_sql_stands_where_it_should() -> None:
    """Nobody but the ledger's own modules imports a database's library."""
    root = Path(__file__).parents[2]
    known = ("memory/database.py", "memory/tables.py", "memory/sql/", "memory/migrations/")
    files = [file for name in ("app", "memory", "assistant", "training") for file in root.glob(f"{name}/**/*.py")]
    using = {
        file for file in files if re.search(r"^\s*(import|from) (sqlalchemy|sqlite3|alembic)\b", file.read_text(), re.M)
    }
    found = {file.relative_to(root).as_posix() for file in using}
    assert "memory/sql/nights.py" in found
    assert {name for name in found if not name.startswith(known)} == set()


# ---------------------------------------------------------------------- exchanges


def test_exchange_is_read_as_it_was_written(ledger: Ledger) -> None:
    """An exchange comes back equal, with its time in UTC, and still verifies."""
    said = exchange(history=[{"role": "user", "content": "Grüße 👋"}, {"role": "assistant", "content": ""}])
    assert ledger.add_exchange(said) == 1
    assert ledger.exchange("e1") == said
    with pytest.raises(NotFound, match="there is no exchange 'e9'"):
        ledger.exchange("e9")


def test_exchange_outlives_the_process(tmp_path: Path) -> None:
    """A ledger that is opened again holds what was written."""
    first = Ledger.open(tmp_path / "ledger.db")
    first.add_exchange(exchange())
    first.close()
    second = Ledger.open(tmp_path / "ledger.db")
    assert second.exchange("e1") == exchange()
    second.close()


def test_thread_follows_the_parents(ledger: Ledger) -> None:
    """A thread is the branch that leads to an exchange, without its siblings; a conversation is all of them."""
    for name, parent in [("e1", None), ("e2", "e1"), ("e3", "e1"), ("e4", "e3")]:
        ledger.add_exchange(exchange(name, parent_id=parent))
    assert [e.id for e in ledger.thread("e4")] == ["e1", "e3", "e4"]
    assert ledger.thread(None) == []
    assert [e.id for e in ledger.conversation("c1")] == ["e1", "e2", "e3", "e4"]


def test_latest_conversation_is_the_users_own(ledger: Ledger) -> None:
    """The latest conversation is where this user spoke last; a stranger has none."""
    ledger.add_exchange(exchange("e1", conversation_id="c1", user="ann"))
    ledger.add_exchange(exchange("e2", conversation_id="c2", user="ann"))
    ledger.add_exchange(exchange("e3", conversation_id="c3", user="bob"))
    assert (ledger.latest_conversation("ann"), ledger.latest_conversation("eve")) == ("c2", None)


def test_questions_come_in_the_order_of_writing(ledger: Ledger) -> None:
    """What an index must take in comes after its mark, in order, so many at once."""
    assert (ledger.last_seq(), ledger.questions_after(0, limit=9)) == (0, [])
    for n in range(1, 6):
        ledger.add_exchange(exchange(f"e{n}", question=f"q{n}"))
    assert ledger.questions_after(2, limit=2) == [(3, "q3"), (4, "q4")]
    assert (ledger.last_seq(), ledger.count_exchanges()) == (5, 5)


def test_foreign_keys_hold(ledger: Ledger) -> None:
    """Nothing can be written that points to an exchange that is not there, and a refused write leaves nothing."""
    with pytest.raises(NotFound, match="no exchange 'e9'"):
        ledger.rate(rating(exchange_id="e9"), None)
    with pytest.raises(NotFound, match="no exchange 'e9'"):
        ledger.add_exchange(exchange("e2", conversation_id="c2", parent_id="e9"))
    assert (ledger.count_exchanges(), ledger.latest_conversation("local")) == (0, None)


# ---------------------------------------------------------------------- ratings and lessons


def test_a_waiting_lesson_follows_its_rating(ledger: Ledger) -> None:
    """A thumb, and then a better answer: the last rating holds, and there is one lesson, which says what it says."""
    ledger.add_exchange(exchange())
    ledger.rate(rating("r1"), lesson("l1", "r1", wanted=None))
    ledger.rate(rating("r2", correction="Paris!"), lesson("l2", "r2", wanted="Paris!"))
    assert ledger.rating("e1") == rating("r2", correction="Paris!")
    (one,) = ledger.lessons()
    assert (one.id, one.rating_id, one.wanted, one.state) == ("l1", "r2", "Paris!", LessonState.QUEUED)
    assert [e.state for e in one.events] == [LessonState.QUEUED, LessonState.QUEUED]


def test_a_lesson_that_follows_its_rating_is_its_raters(ledger: Ledger) -> None:
    """Whoever rates an exchange last is the one who wants what its lesson says."""
    ledger.add_exchange(exchange(user="ann"))
    ledger.rate(rating("r1", value=1, user="ann"), lesson("l1", "r1", unwanted=None, user="ann"))
    ledger.rate(rating("r2", correction="Paris!", user="bob"), lesson("l2", "r2", wanted="Paris!", user="bob"))
    assert [(x.id, x.user, x.wanted) for x in ledger.lessons()] == [("l1", "bob", "Paris!")]


@pytest.mark.parametrize("taken_up", ["verified", "running"])
def test_a_lesson_that_a_night_took_up_is_undone_by_another_rating(ledger: Ledger, taken_up: str) -> None:
    """What a night trains, or has trained, does not change under it: there is a new lesson, and the old says why."""
    ledger.add_exchange(exchange())
    ledger.rate(rating("r1", correction="Paris, I think."), lesson("l1", "r1"))
    if taken_up == "verified":
        ledger.advance_lessons({"l1": LessonEvent(NOON, LessonState.VERIFIED, "right", "n1", "v1")})
    else:
        ledger.request_night(night("n1"))
        ledger.begin_night("n1", holder="laptop", at=NOON, ttl=timedelta(seconds=30))
    ledger.rate(rating("r2", correction="Paris!"), lesson("l2", "r2"))
    assert [(x.id, x.state) for x in ledger.lessons()] == [("l1", LessonState.UNDONE), ("l2", LessonState.QUEUED)]
    assert ledger.lesson("l1").reason == "the exchange was rated again"


def test_rating_taken_back_is_none(ledger: Ledger) -> None:
    """A rating of 0 leaves no rating and no lesson in force; rating once more holds again."""
    ledger.add_exchange(exchange())
    ledger.rate(rating("r1", value=1), lesson("l1", "r1"))
    assert ledger.unrated_exchanges(limit=5) == []
    ledger.rate(rating("r2", value=0), None)
    assert (ledger.rating("e1"), ledger.ratings(["e1"])) == (None, {})
    # It was rated once: a night after an undo must not have it in its replay.
    assert ledger.unrated_exchanges(limit=5) == []
    assert ledger.rated_exchanges([1]) == {1: (exchange(), None)}
    assert ledger.lesson("l1").reason == "the rating was taken back"
    ledger.rate(rating("r3", value=1), lesson("l3", "r3"))
    assert ledger.rated_exchanges([1]) == {1: (exchange(), rating("r3", value=1))}


def test_what_was_spoken_can_be_checked_for_many(ledger: Ledger) -> None:
    """Of any number of exchanges, what their signatures are about; those that do not exist are left out."""
    for n in range(3):
        ledger.add_exchange(exchange(f"e{n}", question=f"Question {n}?"))
    found = ledger.spoken([f"e{n}" for n in range(2000)])
    assert set(found) == {"e0", "e1", "e2"}
    assert found["e1"].prompt == [{"role": "user", "content": "Question 1?"}]
    assert found["e1"].signed_by(KEY)
    assert not found["e1"].signed_by(b"another key")


def test_many_lessons_are_advanced_at_once(ledger: Ledger) -> None:
    """More than one query takes; each has its own event, and an undone one among them stays undone."""
    ledger.add_exchanges([exchange(f"e{n}") for n in range(510)])
    for n in range(510):
        ledger.rate(rating(f"r{n}", f"e{n}", value=1), lesson(f"l{n}", f"r{n}", f"e{n}"))
    ledger.rate(rating("back", "e5", value=0), None)
    ledger.advance_lessons({f"l{n}": LessonEvent(NOON, LessonState.HELD, f"because of {n}") for n in range(510)})
    found = ledger.lessons()
    assert [x.reason for x in found if x.state is LessonState.HELD] == [f"because of {n}" for n in range(510) if n != 5]
    assert found[5].state is LessonState.UNDONE
    assert {len(x.events) for x in found} == {2}


def test_rated_exchanges_can_be_one_users(ledger: Ledger) -> None:
    """Asked for a user's, the ledger gives no one else's exchanges, and none that do not exist."""
    ledger.add_exchange(exchange("e1", user="ann"))
    ledger.add_exchange(exchange("e2", user="bob"))
    assert set(ledger.rated_exchanges([1, 2, 3])) == {1, 2}
    assert set(ledger.rated_exchanges([1, 2, 3], user="bob")) == {2}


def test_undone_lesson_stays_undone(ledger: Ledger) -> None:
    """What a night finds out about a lesson that was undone meanwhile is not written."""
    ledger.add_exchange(exchange())
    ledger.rate(rating("r1"), lesson("l1", "r1"))
    ledger.rate(rating("r2", value=0), None)
    ledger.advance_lessons({"l1": event(LessonState.VERIFIED, adapter="v1")})
    assert (ledger.lesson("l1").state, len(ledger.lesson("l1").events)) == (LessonState.UNDONE, 2)


def test_lesson_repeats_its_last_event(ledger: Ledger) -> None:
    """A lesson's state, reason, night and adapter are those of its last event."""
    ledger.add_exchange(exchange())
    ledger.rate(rating(), lesson())
    ledger.advance_lessons({"l1": event(LessonState.TRAINED, "in 12 steps", night_id="n1", adapter="v1")})
    found = ledger.lesson("l1")
    assert (found.state, found.reason, found.night_id, found.adapter) == (
        LessonState.TRAINED,
        "in 12 steps",
        "n1",
        "v1",
    )
    assert found.events[-1] == event(LessonState.TRAINED, "in 12 steps", night_id="n1", adapter="v1")


def test_lessons_are_advanced_all_or_none(ledger: Ledger) -> None:
    """One unknown lesson among several leaves the others as they were."""
    ledger.add_exchange(exchange())
    ledger.rate(rating(), lesson())
    with pytest.raises(NotFound, match="there is no lesson 'l9'"):
        ledger.advance_lessons({"l1": event(LessonState.HELD), "l9": event(LessonState.HELD)})
    assert ledger.lesson("l1").state == LessonState.QUEUED


def test_lessons_by_state_and_order(ledger: Ledger) -> None:
    """Lessons can be asked for by state, oldest or newest first, each with its own events."""
    for n in (1, 2, 3):
        ledger.add_exchange(exchange(f"e{n}"))
        ledger.rate(rating(f"r{n}", f"e{n}"), lesson(f"l{n}", f"r{n}", f"e{n}"))
    ledger.advance_lessons({"l2": event(LessonState.HELD)})
    assert [x.id for x in ledger.lessons(states=[LessonState.QUEUED], newest_first=True)] == ["l3", "l1"]
    assert [(x.id, len(x.events)) for x in ledger.lessons()] == [("l1", 1), ("l2", 2), ("l3", 1)]
    with pytest.raises(NotFound):
        ledger.lesson("l9")


# ---------------------------------------------------------------------- nights


def test_night_from_request_to_end(ledger: Ledger) -> None:
    """A night is queued, runs under a lease with its progress, and ends with its verdict and no lease."""
    clock = Clock()
    assert ledger.request_night(night(settings={"rank": 8})) == night(settings={"rank": 8})
    begun = ledger.begin_night("n1", holder="one", at=clock.tick(5), ttl=TTL)
    assert (begun.status, begun.started_at) == (NightStatus.RUNNING, clock())
    lease = ledger.lease()
    assert lease is not None
    assert (lease.holder, lease.night_id, lease.expires_at) == ("one", "n1", clock() + TTL)
    assert ledger.renew_lease("one", at=clock.tick(60), ttl=TTL)
    assert not ledger.renew_lease("two", at=clock(), ttl=TTL)
    ledger.night_progress("n1", stage="train", progress=1 / 3, detail="step 4 of 12")
    found = ledger.night("n1")
    assert (found.stage, found.progress, found.detail) == ("train", 0.3333, "step 4 of 12")
    ended = ledger.end_night(
        "n1", holder="one", status=NightStatus.NOTHING_TO_LEARN, reasons=["no lessons"], at=clock.tick(9), report="n1"
    )
    assert (ended.status, ended.reasons, ended.progress, ended.ended_at) == (
        NightStatus.NOTHING_TO_LEARN,
        ["no lessons"],
        1.0,
        clock(),
    )
    assert (ledger.lease(), [n.id for n in ledger.nights()]) == (None, ["n1"])


def test_night_keeps_what_it_runs_with(ledger: Ledger) -> None:
    """A night runs with the seed and settings of its request, unless its beginning says others."""
    ledger.request_night(night(seed=7, settings={"rank": 8}))
    begun = ledger.begin_night("n1", holder="one", at=NOON, ttl=TTL)
    assert (begun.seed, begun.settings) == (7, {"rank": 8})
    ledger.abandon_lease("n1", at=NOON)
    begun = ledger.begin_night("n1", holder="two", at=NOON, ttl=TTL, seed=9, settings={"rank": 4})
    assert (begun.seed, begun.settings) == (9, {"rank": 4})


def test_waiting_night_is_requested_once(ledger: Ledger) -> None:
    """Asking again for a night while one waits gives the one that waits."""
    ledger.request_night(night("n1"))
    assert ledger.request_night(night("n2")).id == "n1"
    assert [n.id for n in ledger.nights()] == ["n1"]


def test_second_night_is_refused_and_told_who_runs(ledger: Ledger) -> None:
    """While a lease is in force, neither a request nor a beginning gets through, and the error names the holder."""
    ledger.request_night(night("n1"))
    ledger.begin_night("n1", holder="host 7", at=NOON, ttl=TTL)
    later = NOON + timedelta(seconds=60)
    with pytest.raises(AlreadyRunning, match="night n1 is running, held by host 7") as caught:
        ledger.request_night(night("n2", created_at=later))
    assert (caught.value.holder, caught.value.night_id) == ("host 7", "n1")
    with pytest.raises(AlreadyRunning, match="host 7"):
        ledger.begin_night("n1", holder="host 8", at=later, ttl=TTL)
    assert [n.id for n in ledger.nights()] == ["n1"]


def test_unknown_night_is_not_begun(ledger: Ledger) -> None:
    """Beginning a night that nobody requested takes no lease."""
    with pytest.raises(NotFound, match="there is no night 'n9'"):
        ledger.begin_night("n9", holder="one", at=NOON, ttl=TTL)
    assert ledger.lease() is None


def test_night_whose_lease_expired_is_resumed(ledger: Ledger) -> None:
    """A night whose process died is failed and resumable; the next request gives it again, with the same adapter."""
    ledger.request_night(night("n1"))
    ledger.begin_night("n1", holder="one", at=NOON, ttl=TTL)
    ledger.night_progress("n1", stage="train", progress=0.5)
    assert ledger.name_adapter("n1") == "v1"
    assert ledger.reap_nights(at=NOON + TTL / 2) == []
    [reaped] = ledger.reap_nights(at=NOON + TTL)
    assert (reaped.status, reaped.resumable, reaped.progress) == (NightStatus.FAILED, True, 0.5)
    assert "cut off in stage 'train'" in reaped.reasons[0]
    again = ledger.request_night(night("n2", created_at=NOON + 2 * TTL))
    assert (again.id, again.status, list(again.reasons)) == ("n1", NightStatus.QUEUED, [])
    begun = ledger.begin_night("n1", holder="two", at=NOON + 2 * TTL, ttl=TTL)
    assert (begun.resumable, begun.started_at) == (False, NOON)
    assert ledger.name_adapter("n1") == "v1"


def test_abandoned_night_is_resumable_at_once(ledger: Ledger) -> None:
    """Who saw the process die need not wait for the lease to expire; the dead one's end is no longer taken."""
    ledger.request_night(night("n1"))
    ledger.begin_night("n1", holder="one", at=NOON, ttl=TTL)
    ledger.abandon_lease("n1", at=NOON)
    assert ledger.night("n1").resumable
    with pytest.raises(LeaseLost, match="night n1"):
        ledger.end_night("n1", holder="one", status=NightStatus.REJECTED, reasons=[], at=NOON)
    assert ledger.night("n1").status == NightStatus.FAILED


def test_failed_night_is_resumable_only_if_it_says_so(ledger: Ledger) -> None:
    """A night that failed for good is not taken up again; one that can go on is, with its progress kept."""
    ledger.request_night(night("n1"))
    ledger.begin_night("n1", holder="one", at=NOON, ttl=TTL)
    ledger.end_night("n1", holder="one", status=NightStatus.FAILED, reasons=["bad data"], at=NOON)
    assert ledger.request_night(night("n2")).id == "n2"
    ledger.begin_night("n2", holder="one", at=NOON, ttl=TTL)
    ledger.night_progress("n2", stage="train", progress=0.4)
    ended = ledger.end_night(
        "n2", holder="one", status=NightStatus.FAILED, reasons=["disk full"], at=NOON, resumable=True
    )
    assert (ended.resumable, ended.progress) == (True, 0.4)
    assert ledger.request_night(night("n3")).id == "n2"


def test_adapters_are_named_in_a_row(ledger: Ledger) -> None:
    """Each night's adapter gets the next version, past v9 too, and a night asks as often as it likes."""
    for n in range(1, 12):
        ledger.request_night(night(f"n{n}"))
        ledger.begin_night(f"n{n}", holder="one", at=NOON, ttl=TTL)
        assert ledger.name_adapter(f"n{n}") == ledger.name_adapter(f"n{n}") == f"v{n}"
        ledger.end_night(f"n{n}", holder="one", status=NightStatus.REJECTED, reasons=[], at=NOON)


def promote(ledger: Ledger, n: int, *, holder: str = "one", **more: object) -> None:
    """Run night `n` and promote its adapter."""
    ledger.request_night(night(f"n{n}"))
    ledger.begin_night(f"n{n}", holder="one", at=NOON, ttl=TTL)
    ledger.end_night(
        f"n{n}",
        holder=holder,
        status=NightStatus.PROMOTED,
        reasons=["better"],
        at=NOON,
        adapter=adapter(f"v{n}", night_id=f"n{n}"),
        lessons=[("l1", event(LessonState.VERIFIED, adapter=f"v{n}"))],
    )


def test_promotion_flips_everything_at_once(ledger: Ledger) -> None:
    """A promoted adapter serves, the one before retires, and the lessons say so."""
    ledger.add_exchange(exchange())
    ledger.rate(rating(), lesson())
    assert ledger.active_adapter() is None
    promote(ledger, 1)
    promote(ledger, 2)
    assert ledger.active_adapter() == adapter("v2", night_id="n2")
    assert [(a.version, a.state) for a in ledger.adapters()] == [
        ("v2", AdapterState.ACTIVE),
        ("v1", AdapterState.RETIRED),
    ]
    assert ledger.lesson("l1").adapter == "v2"


def test_promotion_that_fails_changes_nothing(ledger: Ledger) -> None:
    """When any part of a night's end can't be written, the old adapter serves and the night still runs."""
    ledger.add_exchange(exchange())
    ledger.rate(rating(), lesson())
    promote(ledger, 1)
    ledger.request_night(night("n2"))
    ledger.begin_night("n2", holder="one", at=NOON, ttl=TTL)
    unwritable = replace(event(LessonState.VERIFIED), at="no time")  # type: ignore[arg-type]
    with pytest.raises(sa.exc.StatementError):
        ledger.end_night(
            "n2",
            holder="one",
            status=NightStatus.PROMOTED,
            reasons=[],
            at=NOON,
            adapter=adapter("v2", night_id="n2"),
            lessons=[("l1", event(LessonState.VERIFIED, adapter="v2")), ("l1", unwritable)],
        )
    active = ledger.active_adapter()
    assert active is not None and active.version == "v1"
    assert (ledger.lesson("l1").adapter, ledger.night("n2").status) == ("v1", NightStatus.RUNNING)
    assert [a.version for a in ledger.adapters()] == ["v1"]


def test_a_night_ends_without_the_lessons_that_were_deleted_meanwhile(ledger: Ledger) -> None:
    """The others get their state, and the version serves until the next night is made without what is gone."""
    ledger.add_exchange(exchange())
    ledger.rate(rating(), lesson())
    ledger.request_night(night("n1"))
    ledger.begin_night("n1", holder="one", at=NOON, ttl=TTL)
    verified = event(LessonState.VERIFIED, adapter="v1")
    ended = ledger.end_night(
        "n1",
        holder="one",
        status=NightStatus.PROMOTED,
        reasons=[],
        at=NOON,
        adapter=adapter("v1"),
        lessons=[("l9", verified), ("l1", verified)],
    )
    assert ended.status is NightStatus.PROMOTED
    assert [one.state for one in ledger.lessons()] == [LessonState.VERIFIED]


def test_night_that_lost_its_lease_changes_nothing(ledger: Ledger) -> None:
    """A process that slept through its lease can't end the night that another took up, nor promote its adapter."""
    ledger.add_exchange(exchange())
    ledger.rate(rating(), lesson())
    with pytest.raises(AlreadyRunning, match="held by one"):
        promote(ledger, 1, holder="sleeper")
    assert (ledger.active_adapter(), ledger.adapters()) == (None, [])
    assert (ledger.night("n1").status, ledger.lesson("l1").state) == (NightStatus.RUNNING, LessonState.QUEUED)
    ledger.end_night("n1", holder="one", status=NightStatus.REJECTED, reasons=[], at=NOON)
    with pytest.raises(LeaseLost):
        ledger.end_night(
            "n1", holder="sleeper", status=NightStatus.PROMOTED, reasons=[], at=NOON, adapter=adapter("v1")
        )
    assert (ledger.night("n1").status, ledger.adapters()) == (NightStatus.REJECTED, [])


def test_any_version_can_be_made_to_serve(ledger: Ledger) -> None:
    """An older version, or the base, serves when it is told to; an unknown one is refused and nothing changes."""
    ledger.add_exchange(exchange())
    ledger.rate(rating(), lesson())
    promote(ledger, 1)
    promote(ledger, 2)
    assert ledger.activate("v1", reason="rolled back") == replace(
        adapter("v1"), state=AdapterState.ACTIVE, reason="rolled back"
    )
    with pytest.raises(NotFound, match="there is no adapter 'v9'"):
        ledger.activate("v9", reason="no")
    assert ledger.adapter("v1").state == AdapterState.ACTIVE
    assert ledger.activate(BASE, reason="start over") is None
    assert {a.state for a in ledger.adapters()} == {AdapterState.RETIRED}
    with pytest.raises(NotFound):
        ledger.adapter("v9")


def test_night_can_go_back_to_the_base(ledger: Ledger) -> None:
    """A night whose lessons were all undone retires the version that serves."""
    ledger.add_exchange(exchange())
    ledger.rate(rating(), lesson())
    promote(ledger, 1)
    ledger.request_night(night("n2"))
    ledger.begin_night("n2", holder="one", at=NOON, ttl=TTL)
    ledger.end_night("n2", holder="one", status=NightStatus.PROMOTED, reasons=["nothing left"], at=NOON, back_to="base")
    assert (ledger.active_adapter(), ledger.adapter("v1").state) == (None, AdapterState.RETIRED)


def test_night_can_go_back_to_an_earlier_version(ledger: Ledger) -> None:
    """With the reason, and with what it found."""
    ledger.add_exchange(exchange())
    ledger.rate(rating(), lesson())
    promote(ledger, 1)
    promote(ledger, 2)
    for number, back_to in ((3, "v1"), (4, "base")):
        ledger.request_night(night(f"n{number}"))
        ledger.begin_night(f"n{number}", holder="one", at=NOON, ttl=TTL)
        ledger.end_night(
            f"n{number}",
            holder="one",
            status=NightStatus.NOTHING_TO_LEARN,
            reasons=["it drifted"],
            at=NOON,
            back_to=back_to,
            drift={"night": number},
        )
        active = ledger.active_adapter()
        assert (active.version if active else "base") == back_to
        assert ledger.last_drift() == {"night": number}
    assert ledger.adapter("v1").reason == "it drifted"


def test_votes_by_version(ledger: Ledger) -> None:
    """The rating that holds counts, once an answer: what was taken back is none, what was changed is what it is now."""
    assert ledger.votes() == {}
    for name, version, values in (
        ("a", "base", [-1]),
        ("b", "v1", [-1, 1]),
        ("c", "v1", [1, -1]),
        ("d", "v1", [-1]),
        ("e", "v2", [1, 0]),
    ):
        ledger.add_exchange(exchange(name, adapter=version))
        for place, value in enumerate(values):
            ledger.rate(rating(f"{name}{place}", name, value=value), None)
    assert ledger.votes() == {"base": Votes(0, 1), "v1": Votes(1, 2)}
    assert Votes(1, 2).rated == 3


def test_lessons_are_counted(ledger: Ledger) -> None:
    """By the state that each is in now."""
    assert ledger.lesson_counts() == {}
    for name in ("a", "b", "c"):
        ledger.add_exchange(exchange(name))
        ledger.rate(rating(f"r-{name}", name), lesson(name, f"r-{name}", name))
    ledger.rate(rating("again", "c", value=0), None)
    assert ledger.lesson_counts() == {LessonState.QUEUED: 2, LessonState.UNDONE: 1}


def test_the_study_log_is_read_from_any_place(ledger: Ledger) -> None:
    """In the order of writing, whoever wrote."""
    ledger.append_study_log([])
    ledger.append_study_log([{"op": 0}, {"op": 1}])
    ledger.append_study_log([{"op": 2, "params": {"rank": 8}}])
    assert ledger.study_log(first=1) == [{"op": 1}, {"op": 2, "params": {"rank": 8}}]
    assert ledger.study_log(limit=1) == [{"op": 0}]
    assert ledger.study_log(first=3) == []


def test_rejected_version_never_serves(ledger: Ledger) -> None:
    """A version that failed its exam is kept with the reason, and can't be made to serve."""
    ledger.request_night(night())
    ledger.begin_night("n1", holder="one", at=NOON, ttl=TTL)
    failed = adapter(state=AdapterState.REJECTED, reason="it forgot")
    ledger.end_night("n1", holder="one", status=NightStatus.REJECTED, reasons=["it forgot"], at=NOON, adapter=failed)
    assert ledger.adapters() == [failed]
    with pytest.raises(BadInput, match="v1 was rejected by its exam: it forgot"):
        ledger.activate("v1", reason="I want it")
    assert ledger.active_adapter() is None


# ---------------------------------------------------------------------- several writers


def test_threads_share_a_ledger(ledger: Ledger) -> None:
    """Threads that write at once, on disk or in memory, each get their own place, and nothing is lost."""
    for shared in (ledger, Ledger.in_memory()):
        with ThreadPoolExecutor(8) as pool:
            seqs = list(pool.map(shared.add_exchange, [exchange(f"e{n}") for n in range(60)]))
        assert sorted(seqs) == list(range(1, 61))
        assert shared.count_exchanges() == 60


WRITER = """
import sys
from pathlib import Path
from memory import Ledger
from memory.testing import exchange
name = sys.argv[2]
ledger = Ledger.open(Path(sys.argv[1]))
assert ledger.read_only is None, ledger.read_only
for n in range(40):
    ledger.add_exchange(exchange(f"{name}{n}", conversation_id=name))
"""


def test_what_is_acknowledged_outlives_a_power_cut(ledger: Ledger) -> None:
    """SQLite is told to wait for the disk; that it really does is SQLite's to test."""
    full = 2
    with ledger._engine.connect() as connection:
        assert connection.connection.info["synchronous"] == full


def test_processes_share_a_ledger(tmp_path: Path) -> None:
    """Processes that make and write one ledger at once all succeed: one migrates it, and nothing is lost."""
    path = tmp_path / "ledger.db"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], stderr=subprocess.PIPE, text=True)
        for name in ("a", "b", "c")
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert (writer.returncode, errors) == (0, "")
    ledger = Ledger.open(path)
    assert (ledger.count_exchanges(), ledger.last_seq()) == (120, 120)
    assert [e.id for e in ledger.conversation("b")] == [f"b{n}" for n in range(40)]
    ledger.close()


# ---------------------------------------------------------------------- disks and damage


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """Where no folder can be made, an empty ledger reads, refuses to write, and says where and why."""
    ledger = Ledger.open(Path("/proc/nightschool/ledger.db"))
    assert ledger.read_only == "/proc/nightschool/ledger.db: No such file or directory"
    assert (ledger.count_exchanges(), ledger.nights(), ledger.reap_nights(at=NOON)) == (0, [], [])
    with pytest.raises(NotRemembered, match="nothing is being remembered: /proc/nightschool"):
        ledger.add_exchange(exchange())


class Seconds:
    """A clock that stands until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def blocked(tmp_path: Path, clock: Seconds) -> tuple[Ledger, Path]:
    """A ledger that could not be made, and the file that is in its way."""
    (tmp_path / "home").write_text("")
    return Ledger.open(tmp_path / "home" / "ledger.db", clock=clock), tmp_path / "home"


def test_a_ledger_that_could_not_be_written_is_tried_again(tmp_path: Path) -> None:
    """When something is to be written, at most every few seconds; then it is written, and outlives the process."""
    clock = Seconds()
    ledger, in_the_way = blocked(tmp_path, clock)
    clock.now = RETRY_SECONDS
    with pytest.raises(NotRemembered, match=r"\(make room or make it writable, and it goes on by itself\)$"):
        ledger.add_exchange(exchange())
    in_the_way.unlink()
    clock.now += RETRY_SECONDS / 2
    with pytest.raises(NotRemembered):
        ledger.add_exchange(exchange())
    clock.now += RETRY_SECONDS / 2
    assert (ledger.add_exchange(exchange()), ledger.read_only) == (1, None)
    assert ledger.exchange("e1") == exchange()
    ledger.close()
    assert Ledger.open(tmp_path / "home" / "ledger.db").count_exchanges() == 1


def test_it_is_tried_again_by_whoever_looks_after_nights(tmp_path: Path) -> None:
    """So that a server gets over it though nobody says anything; what another process wrote meanwhile is there."""
    clock = Seconds()
    ledger, in_the_way = blocked(tmp_path, clock)
    in_the_way.unlink()
    with closing(Ledger.open(tmp_path / "home" / "ledger.db")) as other:
        other.add_exchange(exchange())
    assert (ledger.reap_nights(at=NOON), ledger.count_exchanges()) == ([], 0)
    clock.now = RETRY_SECONDS
    assert (ledger.reap_nights(at=NOON), ledger.read_only, ledger.count_exchanges()) == ([], None, 1)
    ledger.close()


def test_what_must_come_before_can_forbid_it(tmp_path: Path) -> None:
    """Nothing is written until it has been done, and the reason is told."""
    clock = Seconds()
    ledger, in_the_way = blocked(tmp_path, clock)
    in_the_way.unlink()

    def refuse() -> None:
        raise BadInput("there is another key")

    ledger.before_writing_again = refuse
    clock.now = RETRY_SECONDS
    with pytest.raises(NotRemembered, match="nothing is being remembered: there is another key"):
        ledger.add_exchange(exchange())
    ledger.before_writing_again = lambda: None
    clock.now = 2 * RETRY_SECONDS
    assert ledger.add_exchange(exchange()) == 1
    ledger.close()


def test_a_ledger_that_was_replaced_meanwhile_stays_as_it_is(tmp_path: Path) -> None:
    """Another program's database in its place is told, not written, and stops no answer."""
    clock = Seconds()
    ledger, in_the_way = blocked(tmp_path, clock)
    in_the_way.unlink()
    in_the_way.mkdir()
    (in_the_way / "ledger.db").write_bytes(b"no database at all " * 1000)
    clock.now = RETRY_SECONDS
    with pytest.raises(NotRemembered, match="can't be read"):
        ledger.add_exchange(exchange())
    assert ledger.count_exchanges() == 0


def test_a_ledger_that_another_process_holds_is_told_as_that(tmp_path: Path) -> None:
    """There is nothing to make room for."""
    ledger = Ledger.open(tmp_path / "ledger.db")
    original = sqlite3.OperationalError("database is locked")
    original.sqlite_errorcode = sqlite3.SQLITE_BUSY
    told = r"database is locked \(another process holds it: try again\)"
    with pytest.raises(NotRemembered, match=told), ledger._write():
        raise sa.exc.OperationalError("BEGIN IMMEDIATE", None, original)
    ledger.close()


def test_read_only_disk_is_read(mounted: Path, tmp_path: Path) -> None:
    """A ledger on a read-only disk is read, with what is still in another's WAL, and refuses to write."""
    first = Ledger.open(mounted / "ledger.db")
    first.add_exchange(exchange())
    view = tmp_path / "view"
    view.mkdir()
    with read_only_view(mounted, view):
        second = Ledger.open(view / "ledger.db")
        assert second.read_only == f"the folder {view} can't be written"
        assert second.exchange("e1") == exchange()
        with pytest.raises(NotRemembered, match="view can't be written"):
            second.add_exchange(exchange("e2"))
        second.close()
        first.close()
        assert not (mounted / "ledger.db-wal").exists()
        third = Ledger.open(view / "ledger.db")
        assert third.read_only == second.read_only
        assert third.exchange("e1") == exchange()
        third.close()


def test_full_disk_refuses_the_write_and_reads_on(mounted: Path) -> None:
    """When the disk is full a write raises NotRemembered and leaves nothing half; reads work; with room it goes on."""
    ledger = Ledger.open(mounted / "ledger.db")
    ledger.add_exchange(exchange("e0"))
    (mounted / "fill").write_bytes(bytes(200_000))
    written = 0
    with pytest.raises(NotRemembered, match="full"):
        for written in range(1, 100):
            ledger.add_exchange(exchange(f"e{written}", answer="x" * 40_000))
    assert ledger.count_exchanges() == written
    assert ledger.exchange("e0").answer == "Paris."
    (mounted / "fill").unlink()
    ledger.add_exchange(exchange("after"))
    assert ledger.last_seq() == written + 1
    ledger.close()


@pytest.mark.parametrize("content", [b"hello", b"no database at all " * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_file_that_is_no_database_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """A file that is no ledger is refused in one line, and not a byte of it changes."""
    path = tmp_path / "ledger.db"
    path.write_bytes(content)
    with pytest.raises(LedgerUnreadable, match="put a backup in its place"):
        Ledger.open(path)
    assert path.read_bytes() == content
    assert [f.name for f in tmp_path.iterdir()] == ["ledger.db"]


def test_cut_ledger_is_left_alone(tmp_path: Path) -> None:
    """A ledger that lost its second half is refused, and stays as it is."""
    path = tmp_path / "ledger.db"
    ledger = Ledger.open(path)
    ledger.add_exchange(exchange())
    ledger.close()
    content = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(content)
    with pytest.raises(LedgerUnreadable):
        Ledger.open(path)
    assert path.read_bytes() == content


def test_damage_found_later_is_told_in_one_line(tmp_path: Path) -> None:
    """Pages that are damaged inside an openable file give LedgerUnreadable when they are read or written."""
    path = tmp_path / "ledger.db"
    ledger = Ledger.open(path)
    ledger.add_exchange(exchange())
    ledger.close()
    with closing(sqlite3.connect(path)) as db:
        [root] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'exchanges'").fetchone()
        [size] = db.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    ledger = Ledger.open(path)
    with pytest.raises(LedgerUnreadable, match="malformed"):
        ledger.last_seq()
    with pytest.raises(LedgerUnreadable, match="malformed"):
        ledger.add_exchange(exchange("e2"))
    ledger.close()


def test_other_programs_database_is_left_alone(tmp_path: Path) -> None:
    """A database that some other program made is not taken over."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE recipes (title)")
    before = path.read_bytes()
    with pytest.raises(LedgerUnreadable, match="another program's database"):
        Ledger.open(path)
    assert path.read_bytes() == before


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    """It is no empty ledger: whoever asks for lessons must not be told that there are none."""
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(LedgerUnreadable, match=r"can't be read \(it is no file\): put a backup in its place"):
        Ledger.open(tmp_path / "ledger.db")


def test_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    """A file of no bytes, such as a full disk leaves, is no ledger yet and is made one."""
    (tmp_path / "ledger.db").touch()
    ledger = Ledger.open(tmp_path / "ledger.db")
    assert (ledger.read_only, ledger.add_exchange(exchange())) == (None, 1)
    ledger.close()


# ---------------------------------------------------------------------- what people decide


def deed() -> Deed:
    """Somebody did something."""
    return Deed(NOON, "Tess", "decided")


def test_a_lesson_that_is_held_back_stays_so_however_it_is_rated() -> None:
    """Until somebody lets it go; a better answer may be put in place of its own."""
    ledger = Ledger.in_memory()
    ledger.add_exchange(exchange("e1"))
    ledger.rate(rating("r1", "e1"), lesson("l1", "r1", "e1"))
    held = LessonEvent(NOON, LessonState.HELD, "held by Tess")
    found = ledger.review_lesson("l1", hold="held by Tess", event=held, deed=deed())
    assert (found.state, found.hold) == (LessonState.HELD, "held by Tess")
    ledger.rate(rating("r2", "e1", value=1), lesson("l2", "r2", "e1", unwanted=None))
    (found,) = ledger.lessons()
    assert (found.id, found.state, found.reason, found.hold) == ("l1", LessonState.HELD, "held by Tess", "held by Tess")
    freed = LessonEvent(NOON, LessonState.QUEUED, "approved by Tess")
    found = ledger.review_lesson("l1", hold=None, event=freed, deed=deed(), wanted="Paris, in France.")
    assert (found.state, found.hold, found.wanted) == (LessonState.QUEUED, None, "Paris, in France.")
    assert [event.reason for event in found.events][-1] == "approved by Tess"
    assert len(ledger.deeds(limit=10)) == 2


def test_there_is_nothing_to_decide_while_a_night_runs_or_after_an_undo() -> None:
    """One line says why."""
    ledger = Ledger.in_memory()
    ledger.add_exchange(exchange("e1"))
    ledger.rate(rating("r1", "e1"), lesson("l1", "r1", "e1"))
    event = LessonEvent(NOON, LessonState.HELD, "held")
    ledger.request_night(night("n1"))
    ledger.begin_night("n1", holder="me", at=NOON, ttl=TTL)
    with pytest.raises(BadInput, match="a night is running"):
        ledger.review_lesson("l1", hold="held", event=event, deed=deed())
    ledger.cancel_night("n1", why="cancelled by Tess", at=NOON, deed=deed())
    ledger.rate(rating("r2", "e1", value=0), None)
    with pytest.raises(BadInput, match="taken back"):
        ledger.review_lesson("l1", hold="held", event=event, deed=deed())


def test_a_night_is_cancelled_for_good() -> None:
    """Its lease is gone, its process can change nothing, and the next night does not go on from there."""
    ledger = Ledger.in_memory()
    ledger.request_night(night("n1"))
    ledger.begin_night("n1", holder="me", at=NOON, ttl=TTL)
    ended = ledger.cancel_night("n1", why="cancelled by Tess", at=NOON, deed=deed())
    assert (ended.status, list(ended.reasons)) == (NightStatus.CANCELLED, ["cancelled by Tess"])
    assert ended.status.ended
    assert not ended.resumable
    assert ledger.lease() is None
    with pytest.raises(LeaseLost):
        ledger.end_night("n1", holder="me", status=NightStatus.PROMOTED, reasons=["so"], at=NOON)
    with pytest.raises(BadInput, match="has ended already: cancelled"):
        ledger.cancel_night("n1", why="again", at=NOON, deed=deed())
    assert ledger.request_night(night("n2")).id == "n2"
