"""Whose turn it is: users in turn, and who waits is told how many come before."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from assistant import testing
from assistant.engine import Capabilities
from assistant.turn import Answered, Ask, Recalled, TurnEvent, Waiting, Words, turn


class Crowd:
    """Users of an engine that answers one at a time, and goes on when it is let."""

    def __init__(self, home: Path, at_once: int = 1) -> None:
        self.capable: Capabilities = replace(testing.CAPABLE, at_once=at_once)
        self.engine = testing.ScriptedEngine(capabilities=self.capable)
        self.engine.go_on.clear()
        self.assistant = testing.assistant(home, engine=self.engine)
        self.events: dict[str, list[TurnEvent]] = {}
        self.threads: list[Thread] = []

    def ask(self, question: str, stop: Event | None = None) -> list[TurnEvent]:
        """Somebody asks, whose name is the question's first word; what has happened once they wait or are answered."""
        events = self.events[question] = []
        ask = Ask(question, user=question.split()[0], memory=False, temporary=True, stop=stop or Event())

        def run() -> None:
            for event in turn(self.assistant, ask):
                events.append(event)

        self.threads.append(Thread(target=run, daemon=True))
        self.threads[-1].start()
        until(lambda: len(events) > 1)
        return events

    def end(self) -> list[str]:
        """Let all be answered, and tell in which order they were."""
        self.engine.go_on.set()
        for thread in self.threads:
            thread.join(10)
        return [prompt[-1]["content"] for prompt, _, _ in self.engine.calls]


def until(true: Callable[[], bool]) -> None:
    """Wait for something that happens in another thread."""
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture
def crowd(tmp_path: Path) -> Crowd:
    """Nobody has asked yet."""
    return Crowd(tmp_path)


def test_who_asks_much_does_not_keep_others_waiting(crowd: Crowd) -> None:
    """Ann asks five things, then Bob two: he is answered after the first of hers, and from then on they take turns."""
    for i in range(5):
        crowd.ask(f"ann {i}")
    for i in range(2):
        crowd.ask(f"bob {i}")
    assert crowd.end() == ["ann 0", "bob 0", "ann 1", "bob 1", "ann 2", "ann 3", "ann 4"]


def test_who_waits_is_told_how_many_come_before(crowd: Crowd) -> None:
    """The one that is being answered among them; again whenever it is another number; and then come the words."""
    assert isinstance(crowd.ask("ann 0")[1], Words)
    assert crowd.ask("ann 1")[1:] == [Waiting(1)]
    third = crowd.ask("ann 2")
    assert third[1:] == [Waiting(2)]
    crowd.ask("bob 0")
    until(lambda: third[1:] == [Waiting(2), Waiting(3)])
    crowd.end()
    assert third[-6] == Waiting(0), "who waited is told that the question is being read"
    assert Waiting(0) not in crowd.events["ann 0"]
    assert [type(event) for event in third if not isinstance(event, Waiting)] == [
        Recalled,
        Words,
        Words,
        Words,
        Words,
        Answered,
    ]


def test_who_gives_up_while_waiting_is_not_in_the_way(crowd: Crowd) -> None:
    """Not a word of the answer is computed, and who came later moves up."""
    crowd.ask("ann 0")
    stop = Event()
    given_up = crowd.ask("bob 0", stop)
    last = crowd.ask("bob 1")
    stop.set()
    until(lambda: last[-1] == Waiting(1) and isinstance(given_up[-1], Answered))
    crowd.end()
    ended = given_up[-1]
    assert isinstance(ended, Answered)
    assert (ended.exchange.finish_reason, ended.exchange.answer) == ("stopped", "")
    assert Waiting(0) not in given_up


def test_an_engine_that_has_warmed_up_answers_who_waits(crowd: Crowd) -> None:
    """It answers more at once from then on, though nobody's answer has ended."""
    crowd.ask("ann 0")
    waiting = crowd.ask("ann 1")
    crowd.engine.capabilities = replace(crowd.capable, at_once=2)
    until(lambda: isinstance(waiting[-1], Words))
    assert isinstance(crowd.ask("ann 2")[-1], Waiting)
    crowd.end()


def test_who_is_answered_no_more_leaves_a_place(crowd: Crowd) -> None:
    """However it ends: an engine that fails, and a reader that goes away."""
    crowd.engine.script = lambda _: str(1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            list(turn(crowd.assistant, Ask("ann 0", memory=False)))
    crowd.engine.script = lambda _: "one two"
    reading = turn(crowd.assistant, Ask("ann 1", memory=False))
    assert isinstance(next(reading), Recalled)
    assert next(reading) == Words("one ")
    reading.close()  # type: ignore[attr-defined]
    crowd.ask("ann 2")
    assert crowd.end()[-1] == "ann 2"
