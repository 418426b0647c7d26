"""What the pages say, and in which language."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

import assistant
from assistant.feedback import REASONS
from assistant.texts import TEXTS, language, text
from assistant.ui.tables import STAGES
from memory.accounts import Role
from memory.records import AdapterState, LessonState, NightStatus


@pytest.mark.parametrize(
    ("accepted", "wanted"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,zh;q=0.9", "en"),
        ("de,zh;q=0.3,en;q=0.7", "en"),
        ("de-DE", "en"),
        ("", "en"),
        ("zh;q=nonsense", "en"),
        ("*", "en"),
    ],
)
def test_the_language_is_the_one_of_ours_that_is_wanted_most(accepted: str, wanted: str) -> None:
    """English where neither is."""
    assert language(accepted) == wanted


def test_both_languages_say_the_same_with_the_same_values() -> None:
    """Neither is empty, and each fills in what the other does."""
    for key, (english, chinese) in TEXTS.items():
        fields = [sorted(str(name) for _, name, _, _ in Formatter().parse(said) if name) for said in (english, chinese)]
        assert fields[0] == fields[1], key
        assert english.strip(), key
        assert chinese.strip(), key


def test_one_is_not_told_as_many() -> None:
    """Where a number stands before what it counts there is another text for one of it."""
    counted = re.compile(r"\{(n|exchanges|passages)\} (\w+ )*\w+s\b")
    assert {key for key, (english, _) in TEXTS.items() if counted.search(english)} == {"history.exchanges"}


def test_values_are_filled_in() -> None:
    """By name."""
    assert text("night.left", "en", n=5) == "about 5 min left"
    assert text("night.left", "zh", n=5) == "大约还要 5 分钟"


def test_every_text_is_said_and_every_said_one_is_there() -> None:
    """No key in the code is missing, and none is left over."""
    code = "\n".join(path.read_text("utf-8") for path in Path(assistant.__file__).parent.rglob("*.py"))
    code = code.replace(Path(assistant.__file__).with_name("texts.py").read_text("utf-8"), "")
    made = re.findall(r"f[\"']([a-z]+\.[a-z.]*)\{", code)
    said = set(re.findall(r"[\"']([a-z]+\.[a-z.]+)[\"']", code))
    left_over = [key for key in TEXTS if key not in said and not any(key.startswith(start) for start in made)]
    assert left_over == []
    assert {f"stage.{stage}" for stage in STAGES} <= set(TEXTS)
    states = [*LessonState, *AdapterState, *NightStatus, *Role]
    assert {f"state.{state.replace('_', ' ')}" for state in states} <= set(TEXTS)
    assert {f"reason.{reason}" for reasons in REASONS.values() for reason in reasons} <= set(TEXTS)
