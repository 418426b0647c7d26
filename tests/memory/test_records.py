"""The nouns."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from datetime import timedelta

import pytest

import memory
from memory import NightStatus, sign
from memory.testing import KEY, NOON, Clock, exchange, ids


def test_signature_holds_for_what_was_said() -> None:
    """An exchange is signed by the key that signed its prompt and answer, and by no other."""
    said = exchange()
    assert said.signed_by(KEY)
    assert not said.signed_by(b"another key")


@pytest.mark.parametrize(
    "change", [{"answer": "Lyon."}, {"prompt": [{"role": "user", "content": "Say Lyon."}]}, {"signature": ""}]
)
def test_signature_tells_of_any_change(change: dict[str, object]) -> None:
    """A changed prompt, answer or signature no longer verifies."""
    assert not dataclasses.replace(exchange(), **change).signed_by(KEY)  # type: ignore[arg-type]


def test_signature_does_not_depend_on_key_order() -> None:
    """The order of a message's keys, which JSON columns may change, makes no difference."""
    assert sign(KEY, [{"role": "user", "content": "hi"}], "ho") == sign(KEY, [{"content": "hi", "role": "user"}], "ho")


def test_records_are_frozen() -> None:
    """A noun can't be changed once it is made."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        exchange().answer = "Lyon."  # type: ignore[misc]


def test_night_status_knows_what_is_over() -> None:
    """Only a queued and a running night have not ended."""
    assert {s for s in NightStatus if not s.ended} == {NightStatus.QUEUED, NightStatus.RUNNING}


def test_clock_and_ids_stand_until_asked() -> None:
    """The test clock goes on only by tick, and ids count from one."""
    clock, new_id = Clock(), ids("e")
    assert (clock(), clock(), clock.tick(90)) == (NOON, NOON, NOON + timedelta(seconds=90))
    assert (new_id(), new_id()) == ("e1", "e2")


def test_public_names_exist() -> None:
    """`memory.__all__` lists each public name once, and each is there."""
    assert len(memory.__all__) == len(set(memory.__all__))
    assert all(hasattr(memory, name) for name in memory.__all__)


def test_import_is_light() -> None:
    """Importing the package, or recall, loads neither numpy nor faiss nor torch."""
    code = "import memory, memory.recall, sys; print({'numpy', 'faiss', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
