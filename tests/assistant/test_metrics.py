"""What Prometheus scrapes, parsed as Prometheus parses it: always what the ledger holds at that moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families

from assistant import api, testing
from assistant.turn import Ask, Assistant, turn
from memory.errors import BadInput
from memory.ledger import Ledger
from memory.records import LessonState, Message, NightStatus
from memory.testing import NOON, adapter, exchange, lesson, night, rating
from tests.assistant.test_places import until

HOST = "http://127.0.0.1"
Scrape = Callable[[], dict[str, float]]


@pytest.fixture
def ledger() -> Ledger:
    """An empty ledger."""
    return Ledger.in_memory()


@pytest.fixture
def engine() -> testing.ScriptedEngine:
    """It repeats the question."""
    return testing.ScriptedEngine()


@pytest.fixture
def assistant(tmp_path: Path, engine: testing.ScriptedEngine, ledger: Ledger) -> Assistant:
    """The assistant behind the routes."""
    return testing.assistant(tmp_path, engine=engine, ledger=ledger)


@pytest.fixture
def scrape(assistant: Assistant) -> Scrape:
    """`name{label="value"}` → value, as `/metrics` tells it now."""
    client = TestClient(api.create(assistant, ready=lambda: None), base_url=HOST)
    return lambda: scraped(client)


def scraped(client: TestClient) -> dict[str, float]:
    """See `scrape`; labels in the order of their names."""
    reply = client.get("/metrics")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(reply.text):
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def under_way(scrape: Scrape) -> dict[str, float]:
    """State → turns, as far as there are any. All states are told, always."""
    head, found = 'nightschool_turns_under_way{state="', scrape()
    states = {name.removeprefix(head).removesuffix('"}'): n for name, n in found.items() if name.startswith(head)}
    assert list(states) == ["recalling", "queued", "reading", "answering"]
    return {state: n for state, n in states.items() if n}


def sleeps(ledger: Ledger, number: int, status: NightStatus = NightStatus.PROMOTED, **more: object) -> None:
    """Night `number`, which ends an hour later than the one before; a promoted one has a version."""
    at = NOON + timedelta(hours=number)
    ledger.request_night(night(f"n{number}", created_at=at))
    ledger.begin_night(f"n{number}", holder="test", at=at, ttl=timedelta(minutes=1))
    made = adapter(f"v{number}", night_id=f"n{number}") if status is NightStatus.PROMOTED else None
    ledger.end_night(f"n{number}", holder="test", status=status, reasons=["so"], at=at, adapter=made, **more)  # type: ignore[arg-type]


def test_an_empty_ledger(scrape: Scrape) -> None:
    """Everything is there from the start, at nothing; what is not known yet is left out."""
    found = scrape()
    assert found['nightschool_serving_info{version="base"}'] == 1
    assert found["nightschool_active_version"] == found["nightschool_exchanges"] == 0
    assert found['nightschool_lessons{state="queued"}'] == 0
    assert found['nightschool_last_night{status="promoted"}'] == 0
    assert found['nightschool_drift{signal="thumbs"}'] == found['nightschool_drift{signal="exam"}'] == 0
    assert not [name for name in found if name.startswith(("nightschool_ratings", "nightschool_last_night_ended"))]


def test_it_follows_the_ledger(scrape: Scrape, ledger: Ledger) -> None:
    """Ratings by version, lessons by state, the last night and the version that serves, without a restart."""
    for name, version, value in (("a", "base", -1), ("b", "v1", 1), ("c", "v1", -1)):
        ledger.add_exchange(exchange(name, adapter=version))
        ledger.rate(rating(f"r-{name}", name, value=1 if value > 0 else -1), lesson(name, f"r-{name}", name))
    before = scrape()
    assert before["nightschool_exchanges"] == 3
    assert before['nightschool_ratings{value="down",version="base"}'] == 1
    assert before['nightschool_ratings{value="up",version="v1"}'] == 1
    assert before['nightschool_lessons{state="queued"}'] == 3
    sleeps(ledger, 1)
    sleeps(ledger, 2, NightStatus.REJECTED)
    ledger.rate(rating("back", "c", value=0), None)
    found = scrape()
    assert found["nightschool_active_version"] == 1
    (info,) = [name for name in found if name.startswith("nightschool_serving_info")]
    assert 'version="v1"' in info
    assert 'model="test-model"' in info
    assert found['nightschool_ratings{value="down",version="v1"}'] == 0
    assert found[f'nightschool_lessons{{state="{LessonState.UNDONE}"}}'] == 1
    assert found['nightschool_last_night{status="rejected"}'] == 1
    assert found['nightschool_last_night{status="promoted"}'] == 0
    ended = (NOON + timedelta(hours=2)).timestamp()
    assert found["nightschool_last_night_ended_timestamp_seconds"] == pytest.approx(ended)
    assert found['nightschool_adapters{state="active"}'] == 1


def test_a_night_that_runs(scrape: Scrape, ledger: Ledger) -> None:
    """It is told, and the last night is still the one that ended."""
    sleeps(ledger, 1)
    ledger.request_night(night("n2"))
    ledger.begin_night("n2", holder="test", at=NOON, ttl=timedelta(minutes=1))
    found = scrape()
    assert found["nightschool_night_running"] == 1
    assert found['nightschool_last_night{status="promoted"}'] == 1


def test_drift(scrape: Scrape, ledger: Ledger) -> None:
    """As the last night found the version that serves; of another one there is none."""
    sleeps(ledger, 1)
    thumbs = {"down": 16, "rated": 20, "usual_down": 2, "usual_rated": 20, "chance": 0.0, "drifted": True}
    exam = {"asked": 8, "right": 7, "drifted": False}
    told = {"adapter": "v1", "thumbs": thumbs, "exam": exam}
    sleeps(ledger, 2, NightStatus.NOTHING_TO_LEARN, drift=told)
    found = scrape()
    assert found['nightschool_drift{signal="thumbs"}'] == 1
    assert found['nightschool_drift{signal="exam"}'] == 0
    assert found['nightschool_drift_thumbs_down_share{of="serving"}'] == 0.8
    assert found['nightschool_drift_thumbs_down_share{of="usual"}'] == 0.1
    assert found["nightschool_drift_exam_share"] == 0.875
    sleeps(ledger, 3)
    found = scrape()
    assert found['nightschool_drift{signal="thumbs"}'] == 0
    assert "nightschool_drift_exam_share" not in found


def test_a_registry_of_ones_own(assistant: Assistant) -> None:
    """What is only known as it happens comes from a registry that is handed in."""
    mine = CollectorRegistry()
    Gauge("mine", "Of a test", registry=mine).set(7)
    client = TestClient(api.create(assistant, ready=lambda: None, registry=mine), base_url=HOST)
    assert scraped(client) == {"mine": 7}


def test_turns_are_measured(scrape: Scrape, assistant: Assistant) -> None:
    """First words, tokens, recall, how answers ended, and what is under way: of this process, as it happens."""
    assert under_way(scrape) == {}
    events = turn(assistant, Ask("hello there", memory=False))
    next(events)
    assert under_way(scrape) == {"queued": 1}
    next(events)
    assert under_way(scrape) == {"answering": 1}
    list(events)
    assert under_way(scrape) == {}
    found = scrape()
    assert found["nightschool_time_to_first_token_seconds_count"] == 1
    assert found["nightschool_time_per_output_token_seconds_count"] == 1
    assert found["nightschool_recall_seconds_count"] == found["nightschool_turn_seconds_count"] == 1
    assert found['nightschool_tokens_total{kind="prompt"}'] == 6
    assert found['nightschool_tokens_total{kind="answer"}'] == 4
    assert found['nightschool_answers_total{finish="stop"}'] == 1
    assert found["nightschool_chats_max"] == assistant.settings.chats_max
    assert found["nightschool_threads"] >= 1
    assert found["process_resident_memory_bytes"] > 1e6


def test_what_fails_is_counted(scrape: Scrape, assistant: Assistant) -> None:
    """By its kind; a reader who goes away is no error."""
    with pytest.raises(BadInput):
        list(turn(assistant, Ask(" ")))
    gone = turn(assistant, Ask("hello"))
    next(gone), next(gone)
    gone.close()
    found = scrape()
    assert found['nightschool_errors_total{kind="BadInput"}'] == 1
    assert found['nightschool_answers_total{finish="stopped"}'] == 1
    assert [name for name in found if name.startswith("nightschool_errors_total")] == [
        'nightschool_errors_total{kind="BadInput"}'
    ]
    assert under_way(scrape) == {}


def test_a_queue_is_told_from_a_prompt_that_is_read(
    scrape: Scrape, assistant: Assistant, engine: testing.ScriptedEngine
) -> None:
    """Of an engine that answers one at a time: who waits for a place, who has one and no word yet, who is answered."""
    engine.capabilities = replace(testing.CAPABLE, at_once=1)
    reads, read = Event(), Event()

    def script(prompt: Sequence[Message]) -> str:
        reads.set()
        assert read.wait(10)
        return "one two three"

    engine.script = script
    engine.go_on.clear()
    asked = [Thread(target=lambda: list(turn(assistant, Ask("hello", memory=False))), daemon=True) for _ in range(2)]
    for one in asked:
        one.start()
        assert reads.wait(10)
    until(lambda: under_way(scrape) == {"reading": 1, "queued": 1})
    read.set()
    until(lambda: under_way(scrape) == {"answering": 1, "queued": 1})
    engine.go_on.set()
    for one in asked:
        one.join(10)
    assert under_way(scrape) == {}
