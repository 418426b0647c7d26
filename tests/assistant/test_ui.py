"""The pure parts of the page: what a conversation shows, what tables say, which version comes before."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.ui import tables, talk
from assistant.ui.talk import Said, Talk
from assistant.versions import previous_version
from memory import Ledger, testing
from memory.records import AdapterState, LessonEvent, LessonState, NightStatus


def test_the_package_loads_no_gradio() -> None:
    """Whoever imports the assistant without its page does not wait for Gradio."""
    code = "import sys, assistant, assistant.turn, assistant.ui; sys.exit('gradio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_follows_is_attached_to_the_last_stored_exchange() -> None:
    """An answer that was not stored is in the prompt, but nothing is attached to it."""
    said = Talk((Said("a", "b", "e1"), Said("c", "d", None)), "c1")
    assert said.parent_id == "e1"
    assert [m["content"] for m in said.history] == ["a", "b", "c", "d"]


def test_an_empty_talk_has_no_parent() -> None:
    """The first message opens a conversation."""
    assert Talk().parent_id is None
    assert talk.from_branch([], "") == Talk()


def test_a_branch_of_the_ledger_becomes_a_talk() -> None:
    """After a reload the page knows each exchange by its id, and whose it is."""
    ledger = Ledger.in_memory()
    ledger.add_exchange(testing.exchange("e1"))
    ledger.add_exchange(testing.exchange("e2", parent_id="e1"))
    restored = talk.from_branch(ledger.branch("e2"), "local")
    assert (restored.conversation_id, restored.parent_id, restored.user) == ("c1", "e2", "local")
    assert [s.exchange_id for s in restored.said] == ["e1", "e2"]


def test_a_thumb_finds_its_exchange_in_a_long_conversation() -> None:
    """Only the last exchanges are shown, and indices count from the first of these."""
    long = Talk(tuple(Said("q", "a", f"e{i}") for i in range(talk.SHOWN + 5)))
    assert len(talk.messages(long)) == 2 * talk.SHOWN
    assert long.rated_at(1) == Said("q", "a", "e5")
    assert long.rated_at(2 * talk.SHOWN - 1) == Said("q", "a", f"e{talk.SHOWN + 4}")
    assert long.rated_at(2 * talk.SHOWN) is None


def test_thumbs_stand_beside_their_answers() -> None:
    """There is one entry an answer, also for those without a rating or without a row."""
    said = Talk((Said("q", "a", "e1"), Said("q", "a", "e2"), Said("q", "a", None), Said("q", "a", "e4")))
    ratings = {"e1": testing.rating(value=1), "e4": testing.rating(value=-1)}
    assert talk.thumbs(said, ratings) == ["Like", None, None, "Dislike"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a <b>c</b>", "a &lt;b>c&lt;/b>"),
        ("`a<b` < c", "`a<b` &lt; c"),
        ("```html\n<p>\n```\n<p>", "```html\n<p>\n```\n&lt;p>"),
        ("```\n<p>", "```\n<p>"),
        ("lone ` <b>\n`", "lone ` &lt;b>\n`"),
    ],
)
def test_tags_are_shown_as_they_were_written(text: str, shown: str) -> None:
    """No HTML is left outside of code, where Markdown escapes it by itself."""
    assert talk.literal(text) == shown


def test_an_answer_without_words_says_so() -> None:
    """Each question keeps its answer's place, so that a thumb's index holds."""
    said = Talk((Said("q", ""),))
    assert talk.messages(said)[1]["content"] == "*stopped before the first word*"
    assert talk.messages(said, unfinished=True)[1]["content"] == "…"


def test_where_an_answer_comes_from_names_version_and_scores() -> None:
    """Version, hash and each recollection's score are there, and no HTML of a question's own."""
    exchange = testing.exchange(adapter="v3", adapter_sha256="ab" * 32)
    html = talk.where_from(exchange, [{"question": "<i>Lyon?", "score": 0.871, "reason": "nearest"}])
    assert "version v3" in html
    assert "abababababab" in html
    assert "0.87" in html
    assert "&lt;i>Lyon?" in html.replace("&gt;", ">")
    assert "the base model" in talk.where_from(testing.exchange(), [])


def test_a_lesson_tells_its_life() -> None:
    """Each event of a lesson can be read, with the version it was trained into."""
    events = (
        LessonEvent(testing.NOON, LessonState.QUEUED, "waits for the next night"),
        LessonEvent(testing.NOON, LessonState.VERIFIED, "it answers <so>", "n1", "v7"),
    )
    lesson = replace(testing.lesson(state=LessonState.VERIFIED, reason="it answers <so>"), events=events)
    html = tables.lessons([lesson])
    assert "queued" in html
    assert "verified in v7" in html
    assert "<so>" not in html


def test_empty_tables_say_what_to_do() -> None:
    """A fresh ledger shows sentences, not empty tables."""
    assert "No lessons yet" in tables.lessons([])
    assert "No versions yet" in tables.versions([])


def test_progress_marks_the_present_stage() -> None:
    """Stages before the present one are done; the percentage is of the whole night."""
    night = replace(testing.night(), status=NightStatus.RUNNING, stage="train", progress=0.416, detail="step 3 of 9")
    html = tables.progress(night)
    assert "<li class='done'>before</li>" in html
    assert "<li class='now' aria-current=step>train</li>" in html
    assert "42%" in html
    assert "step 3 of 9" in html


def test_text_is_shortened_to_one_line() -> None:
    """Long and many-lined texts fit a table's cell."""
    assert tables.short("a\n  b") == "a b"
    assert tables.short("x" * 200, 10) == "x" * 9 + "…"


ACTIVE, RETIRED, REJECTED = AdapterState.ACTIVE, AdapterState.RETIRED, AdapterState.REJECTED


@pytest.mark.parametrize(
    ("states", "previous"),
    [
        ({}, "base"),
        ({"v1": ACTIVE}, "base"),
        ({"v1": RETIRED, "v2": ACTIVE}, "v1"),
        ({"v1": RETIRED, "v2": REJECTED, "v3": ACTIVE}, "v1"),
        ({"v1": RETIRED, "v2": ACTIVE, "v3": RETIRED}, "v1"),
        ({"v9": RETIRED, "v10": RETIRED, "v11": ACTIVE}, "v10"),
        ({"v1": RETIRED, "v2": RETIRED}, "base"),
    ],
)
def test_rolling_back_goes_to_the_version_before(states: dict[str, AdapterState], previous: str) -> None:
    """The newest retired version older than the active one, in any order, or the base."""
    adapters = [testing.adapter(version, state=state) for version, state in states.items()]
    assert previous_version(adapters) == previous
    assert previous_version(adapters[::-1]) == previous


def test_the_page_keeps_its_files_elsewhere_when_the_home_is_no_folder(tmp_path: Path) -> None:
    """A home that can't be written does not stop the page."""
    from assistant.ui import _temp_dir

    (tmp_path / "file").write_text("")
    assert _temp_dir(tmp_path) == tmp_path / "page"
    assert _temp_dir(tmp_path / "file").is_dir()
