"""What is told of second turns and of versions that change under load, over an engine that says what it is told to."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event

from assistant.engine import AdapterFiles, Piece, Sampling
from assistant.testing import ScriptedEngine
from memory.records import Message
from training.bench import talk_speed

VERSIONS = [AdapterFiles(version, version * 32, Path(version)) for version in ("v1", "v2")]


class Versioned(ScriptedEngine):
    """Says which version it is; `wrong` of its answers under way are of another, and `broken` fail."""

    wrong = 0
    broken = 0

    def generate(
        self, prompt: Sequence[Message], sampling: Sampling, *, adapter: AdapterFiles | None, stop: Event
    ) -> Iterator[Piece]:
        version = adapter.version if adapter else "base"
        under_way = len(self.calls) > 8
        if under_way and self.broken:
            self.broken -= 1
            raise OSError
        if under_way and self.wrong:
            self.wrong -= 1
            version = "another"
        self.script = lambda _: "one two three"
        yield Piece(f"{version} ")
        yield from super().generate(prompt, sampling, adapter=adapter, stop=stop)


def test_versions_that_change_are_told_apart() -> None:
    """All of both are right; nobody waited long."""
    found = talk_speed.switch_under_load(Versioned(pause=0.0005), VERSIONS, users=3, tokens=4)
    assert (found["users"], found["failed"], found["mixed"], found["told_apart"]) == (3, 0, 0, 3)
    assert found["answers"] >= 2 * 3 * (1 + talk_speed.SWITCHES)
    assert 0 <= found["pause_s"] <= found["longest_silence_s"] < 1


def test_failed_and_mixed_answers_are_counted() -> None:
    """Each as what it is."""
    engine = Versioned(pause=0.0005)
    engine.wrong, engine.broken = 2, 1
    found = talk_speed.switch_under_load(engine, VERSIONS, users=3, tokens=4)
    assert (found["failed"], found["mixed"]) == (1, 2)


def test_a_second_turn_is_compared_with_the_first() -> None:
    """A history as long as asked for, another one each time; the ratio is that of the two times."""
    engine = ScriptedEngine(script=lambda prompt: "Yes.", pause=0.001)
    found = [talk_speed.second_turn(engine, None, 500) for _ in range(2)]
    assert all(500 <= one["history_tokens"] < 800 and one["ratio"] > 0 for one in found)
    prompts = [prompt for prompt, _, _ in engine.calls]
    assert prompts[1][: len(prompts[0])] == prompts[0]
    assert prompts[2][0] != prompts[0][0]


TRAINS = "import sys, time; print('loading', file=sys.stderr); print('0.1 step', file=sys.stderr, flush=True); "


def test_chatting_beside_a_night() -> None:
    """Measured once it trains, and ended when it is not needed any more."""
    engine = ScriptedEngine(script=lambda _: "a b c d", pause=0.001)
    found = talk_speed.beside_a_night(engine, None, [sys.executable, "-c", TRAINS + "time.sleep(60)"], 4)
    assert found["share"] > 0
    assert found["night_ran_all_the_while"]


def test_a_night_that_does_not_run_is_told() -> None:
    """Its figure would be none."""
    engine = ScriptedEngine(script=lambda _: "a b c d", pause=0.01)
    found = talk_speed.beside_a_night(engine, None, [sys.executable, "-S", "-c", "raise SystemExit"], 4)
    assert not found["night_ran_all_the_while"]
