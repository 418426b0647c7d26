"""Day and night on one card: the day lets go once its answers are finished, says so, and takes the card back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from assistant import takeover, testing
from assistant.engine import Sampling
from assistant.shared import SharedEngine
from memory import testing as nouns
from memory.errors import Studying
from memory.ledger import Ledger
from memory.records import Message, NightStatus
from memory.testing import Clock

pytestmark = pytest.mark.usefixtures("no_older_garbage")

PROMPT: list[Message] = [{"role": "user", "content": "hello there"}]


@dataclass
class Loaded(testing.ScriptedEngine):
    """An engine that is loaded when it is told to."""

    ready: bool = False
    closed: bool = False

    def load(self) -> None:
        self.ready = True

    def close(self) -> None:
        self.closed = True


@dataclass
class Made:
    """Every engine that was made."""

    engines: list[Loaded] = field(default_factory=list)
    pause: float = 0.0

    def __call__(self) -> Loaded:
        self.engines.append(Loaded(pause=self.pause))
        return self.engines[-1]


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """A new ledger."""
    opened = Ledger.in_memory()
    yield opened
    opened.close()


@pytest.fixture
def made() -> Made:
    """No engine yet."""
    return Made()


@pytest.fixture
def engine(made: Made, ledger: Ledger, clock: Clock) -> SharedEngine:
    """An engine that looks at the ledger when it is told to."""
    return SharedEngine(made, ledger, clock=clock)


def begin(ledger: Ledger, clock: Clock, name: str = "n1") -> None:
    """A night that runs and wants the card."""
    ledger.request_night(nouns.night(name, created_at=clock()))
    ledger.begin_night(name, holder="test", at=clock(), ttl=timedelta(seconds=30))
    takeover.want(ledger, name)


def said(engine: Any) -> str:
    """The whole answer."""
    return "".join(p.text for p in engine.generate(PROMPT, Sampling(9), adapter=None, stop=Event()))


def test_by_day_it_is_the_engine_it_makes(engine: SharedEngine, made: Made) -> None:
    """One, for everything."""
    assert (engine.model_id, engine.capabilities) == ("test-model", testing.CAPABLE)
    assert said(engine) == "You asked: hello there"
    assert engine.count_tokens(PROMPT) == 6
    assert dict(engine.complete([PROMPT], max_tokens=9, adapter=None)) == {0: "You asked: hello there"}
    assert len(made.engines) == 1


def test_a_night_gets_the_card_and_gives_it_back(
    engine: SharedEngine, made: Made, ledger: Ledger, clock: Clock
) -> None:
    """Meanwhile who asks is told for about how long; afterwards a new engine is loaded and answers."""
    begin(ledger, clock)
    ledger.night_progress("n1", stage="train", progress=0.25)
    clock.tick(20)
    ledger.renew_lease("test", at=clock(), ttl=timedelta(minutes=9))
    clock.tick(100)
    engine.look()
    assert takeover.is_free(ledger, "n1")
    assert not engine.ready
    assert made.engines[0].closed
    assert engine.trouble == "studying, back in about 6 minutes"
    for ask in (said, lambda e: e.count_tokens(PROMPT)):
        with pytest.raises(Studying, match="studying, back in about 6 minutes") as told:
            ask(engine)
        assert told.value.seconds == 360
    takeover.give_back(ledger)
    engine.look()
    assert (engine.ready, engine.trouble) == (True, None)
    assert said(engine) == "You asked: hello there"
    assert len(made.engines) == 2


def test_an_answer_under_way_is_finished_first(made: Made, ledger: Ledger, clock: Clock) -> None:
    """The night waits for it."""
    engine = SharedEngine(made, ledger, clock=clock)
    pieces = engine.generate(PROMPT, Sampling(9), adapter=None, stop=Event())
    words = [next(pieces).text]
    begin(ledger, clock)
    engine.look()
    assert not takeover.is_free(ledger, "n1")
    words += [piece.text for piece in pieces]
    assert "".join(words) == "You asked: hello there"
    engine.look()
    assert takeover.is_free(ledger, "n1")


def test_who_asks_when_it_is_nearly_over_waits(engine: SharedEngine, ledger: Ledger, clock: Clock) -> None:
    """And is answered."""
    begin(ledger, clock)
    ledger.night_progress("n1", stage="publish", progress=0.99)
    clock.tick(20)
    engine.look()
    answers: list[str] = []
    asking = Thread(target=lambda: answers.append(said(engine)))
    asking.start()
    takeover.give_back(ledger)
    engine.look()
    asking.join(10)
    assert answers == ["You asked: hello there"]


def test_somebody_else_answers_meanwhile(made: Made, ledger: Ledger, clock: Clock) -> None:
    """Where one is named."""
    other = testing.ScriptedEngine(script=lambda prompt: "from elsewhere")
    engine = SharedEngine(made, ledger, clock=clock, instead=other)
    begin(ledger, clock)
    engine.look()
    assert said(engine) == "from elsewhere"
    assert engine.count_tokens(PROMPT) == 6
    takeover.give_back(ledger)
    engine.look()
    assert said(engine) == "You asked: hello there"


@pytest.mark.parametrize("ends", ["ended", "dead"])
def test_a_night_that_is_over_wants_nothing(engine: SharedEngine, ledger: Ledger, clock: Clock, ends: str) -> None:
    """However it ended, and whether or not it could say so."""
    begin(ledger, clock)
    engine.look()
    assert not engine.ready
    if ends == "ended":
        ended = {"status": NightStatus.REJECTED, "reasons": ["worse"], "at": clock()}
        ledger.end_night("n1", holder="test", **ended)  # type: ignore[arg-type]
    else:
        clock.tick(31)
    engine.look()
    assert engine.ready


def test_nothing_is_known_of_a_first_night(ledger: Ledger, clock: Clock) -> None:
    """It is thought to be as long as most; a second one as long as the first."""
    begin(ledger, clock)
    found = takeover.standing(ledger, at=clock())
    assert found == takeover.Takeover("n1", takeover.USUAL_SECONDS)
    clock.tick(20)
    ledger.end_night("n1", holder="test", status=NightStatus.REJECTED, reasons=["worse"], at=clock())
    begin(ledger, clock, "n2")
    assert takeover.standing(ledger, at=clock()) == takeover.Takeover("n2", 20.0)


def test_over_http_it_says_when_to_come_back(tmp_path: Path, made: Made, clock: Clock) -> None:
    """503 with Retry-After, and one line."""
    from dataclasses import replace

    from fastapi.testclient import TestClient

    from assistant import api

    assistant = testing.assistant(tmp_path, ledger=Ledger.in_memory(), clock=clock)
    engine = SharedEngine(made, assistant.ledger, clock=clock)
    client = TestClient(
        api.create(replace(assistant, engine=engine), ready=lambda: engine.trouble), base_url="http://127.0.0.1"
    )
    begin(assistant.ledger, clock)
    engine.look()
    response = client.post("/v1/chat/completions", json={"messages": PROMPT})
    assert (response.status_code, response.headers["retry-after"]) == (503, "600")
    error = response.json()["error"]
    assert (error["message"], error["code"]) == ("studying, back in about 10 minutes", "studying")
    assert client.get("/ready").status_code == 503
