"""The speed bench: that it measures what it says, on engines and models that take no time."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from assistant import testing
from assistant.engine import AdapterFiles
from assistant.local import LocalEngine, check_adapter
from memory.errors import BadInput, NightschoolError
from training.bench import night_speed, peer_speed, peers, speed, talk_speed
from training.bench.night_speed import Work

VERSIONS = [AdapterFiles(f"v{i}", "0" * 64, Path("nowhere")) for i in (1, 2)]


@pytest.fixture
def scripted() -> testing.ScriptedEngine:
    """A word takes two hundredths of a second."""
    return testing.ScriptedEngine(script=lambda prompt: "word " * 50, pause=0.02)


def test_one_conversation(scripted: testing.ScriptedEngine) -> None:
    """Tokens a second after the first word: 1 / 0.02 at most, and not much fewer."""
    found = talk_speed.conversation(scripted, VERSIONS[0], 10)
    assert 10 < found["tokens_per_s"] <= 50
    assert found["first_token_s"] < 0.02
    assert {call[2] for call in scripted.calls} == {"v1"}


def test_many_users_are_asked_for_together(scripted: testing.ScriptedEngine) -> None:
    """All tokens over the time of all: four who need not wait for each other say far more."""
    one, four = (talk_speed.together(scripted, None, users, 10)["tokens_per_s"] for users in (1, 4))
    assert 2 * one < four


def test_a_switch_is_what_it_costs_beyond_the_usual(scripted: testing.ScriptedEngine) -> None:
    """Nothing, for an engine that loads nothing."""
    found = talk_speed.switch(scripted, VERSIONS)
    assert found["new_version_s"] < 0.02
    assert found["known_version_s"] < 0.02


def test_what_is_not_installed_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what would name it."""
    for name in (peers.LLAMA_CPP, peers.GGUF, peers.VLLM):
        monkeypatch.delenv(name, raising=False)
    assert "PEER_LLAMA_CPP" in peer_speed.llama_cpp(8)["not_installed"]
    assert peers.environment_of(peers.VLLM) is None
    monkeypatch.setenv(peers.VLLM, "/nowhere")
    with pytest.raises(BadInput, match="PEER_VLLM is '/nowhere': it must be the folder of an environment"):
        peers.environment_of(peers.VLLM)


def test_a_peer_that_fails_says_why() -> None:
    """Its last line."""
    with pytest.raises(NightschoolError, match="llama could not be measured: ValueError: no such file"):
        peer_speed.last_json([sys.executable, "-c", "raise ValueError('no such file')"], {}, "llama")


def test_figures_as_lines() -> None:
    """One for each engine and number of users."""
    found = {
        "one_conversation": {"local": {"tokens_per_s": 9.0}, "vllm": {"not_installed": "so"}},
        "users": {"1": {"local": {"tokens_per_s": 9.0}}, "8": {"local": {"tokens_per_s": 20.0}}},
    }
    assert list(speed.table(found)) == [
        ["one conversation", "local", "tokens_per_s 9.0"],
        ["one conversation", "vllm", "not installed: so"],
        ["1 user", "local", "tokens_per_s 9.0"],
        ["8 users", "local", "tokens_per_s 20.0"],
    ]


@pytest.mark.model
def test_both_trainers_are_given_the_same_tokens(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And both train: as many steps, and a loss on the same answers that begins alike."""
    given: list[Work] = []
    monkeypatch.setattr(speed, "NIGHT_ROWS", 8)
    monkeypatch.setattr(speed, "NIGHT_EPOCHS", 1)
    monkeypatch.setattr(speed, "NIGHT_WORDS", 6)

    def run(command: list[str], *_: Any) -> dict[str, float]:
        given.append(Work(**json.loads(Path(command[-1]).read_text())))
        return {"ours": night_speed.ours, "trl": night_speed.trl, "whole": night_speed.whole}[command[-2]](given[-1])

    monkeypatch.setattr(peer_speed, "last_json", run)
    found = speed.night(engine.files, tmp_path, say=lambda line: None)
    assert given[0] == given[1]
    assert given[0].tokens == sum(len(prompt) + len(answer) for prompt, answer in given[0].rows)
    assert found["local"]["steps"] == found["trl"]["steps"] == 1
    assert found["local"]["loss"] == pytest.approx(found["trl"]["loss"], rel=0.05)


@pytest.mark.model
def test_the_adapter_is_one_that_serves(engine: LocalEngine, tmp_path: Path) -> None:
    """Whole, and not nothing: with it the model says something else, plain generate() as well as ours."""
    files = speed.random_adapter(engine, tmp_path / "v1", seed=1)
    check_adapter(files)
    engine.admit(files)
    assert talk_speed.conversation(engine, files, 8)["tokens_per_s"] > 0
    assert peer_speed.generate_alone(engine.files, files, 8)["tokens_per_s"] > 0
