"""Settings that are changed while the server runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from assistant import testing
from assistant.chinese import said
from assistant.live import change, live
from assistant.turn import Assistant
from memory import BadInput, Ledger
from memory.testing import NOON


@pytest.fixture
def assistant(tmp_path: Path) -> Assistant:
    """With the settings' defaults."""
    return testing.assistant(tmp_path, ledger=Ledger.in_memory())


def set_to(assistant: Assistant, **given: Any) -> Any:
    """What holds after a change."""
    change(assistant.ledger, given, at=NOON, by="Ada")
    return live(assistant).settings


def test_what_is_chosen_holds_over_what_it_was_started_with(assistant: Assistant) -> None:
    """As the setting's own kind, with the rest as it was; an empty text takes it back."""
    now = set_to(assistant, temperature="0.5", recall_k="5", review=True)
    assert (now.temperature, now.recall_k, now.review) == (0.5, 5, True)
    assert now.home == assistant.settings.home
    assert set_to(assistant, temperature="").temperature == assistant.settings.temperature
    (newest, _) = assistant.ledger.deeds(limit=5)
    assert (newest.by, newest.action, newest.detail) == ("Ada", "settings changed", "temperature = ''")


def test_the_clock_can_be_set_and_switched_off(assistant: Assistant) -> None:
    """Off is a choice as well, where the server was started with an hour."""
    assert set_to(assistant, nightly_at="03:45").nightly_at == "03:45"
    assert set_to(assistant, nightly_at="off").nightly_at is None


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("temperature", "3", "less than or equal to 2"),
        ("temperature", "warm", "valid number"),
        ("recall_k", "1.5", "valid integer"),
        ("nightly_at", "25:00", "match pattern"),
        ("home", "/tmp", "can't be changed while the server runs"),  # noqa: S108 - it is refused
        ("system_prompt", "x", "can't be changed while the server runs"),
    ],
)
def test_a_bad_value_changes_nothing(assistant: Assistant, name: str, value: str, why: str) -> None:
    """Nor does what is given beside it; one line names the setting."""
    with pytest.raises(BadInput, match=why) as refused:
        set_to(assistant, top_p="0.5", **{name: value})
    assert name in str(refused.value)
    assert live(assistant).settings == assistant.settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "-1"),
        ("temperature", "3"),
        ("temperature", "warm"),
        ("temperature", "nan"),
        ("top_p", "0"),
        ("answer_tokens", "1.5"),
        ("answer_tokens", 1.5),
        ("answer_tokens", "9" * 5000),
        ("recall_k", "many"),
        ("nightly_at", "25:00"),
        ("review", "perhaps"),
    ],
)
def test_why_a_value_is_refused_is_said_in_chinese(assistant: Assistant, name: str, value: str | float) -> None:
    """The whole line, but for the setting's own name and what was given."""
    with pytest.raises(BadInput) as refused:
        set_to(assistant, **{name: value})
    line = said(str(refused.value), "zh").replace(name, "").replace(str(value)[:40], "")
    assert set(re.findall(r"[a-z]{2,}", line)) <= {"true", "false"}
