"""The pure parts of the page: what a conversation shows, what tables say, which version comes before."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from assistant.ui import branches, plots, reports, tables, talk
from assistant.ui.beside import beside
from assistant.ui.markup import marked
from assistant.ui.talk import Said, Talk
from assistant.versions import previous_version
from memory import Ledger, testing
from memory.history import Conversation
from memory.records import AdapterState, Lesson, LessonEvent, LessonState, NightStatus


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
        ("a <b>c</b>", "a ¤b>c¤/b>"),
        ("`a<b` < c", "`a¤b` ¤ c"),
        ("```html\n<p>\n```\n<p>", "```html\n<p>\n```\n¤p>"),
        ("~~~\n<p>\n```\n~~~~\n<p>", "~~~\n<p>\n```\n~~~~\n¤p>"),
        ("```\n<p>", "```\n<p>"),
        ("````\n<p>\n```\n<p>", "````\n<p>\n```\n<p>"),
        ("```a`b\n<p>\n```", "```a`b\n¤p>\n```"),
        ("- a\n  ```\n  <p>\n<p>", "- a\n  ```\n  ¤p>\n¤p>"),
        ("```\n<p> $$ x\n```\n$$", "```\n&#x00003C;p> $$ x\n```\n$$".replace("&#x00003C;", "¤", 1)),
        ("\\(a<b\\) < `<`", "\\(a&#x00003C;b\\) ¤ `¤`"),
        ("`$$ <a> \\(<b>\\) $$`", "`$$ &#x00003C;a> \\(&#x00003C;b>\\) $$`"),
        ("lone ` <b>\n`", "lone ` ¤b>\n`"),
        ("<https://a.example/x>, <a>", "¤https://a.example/x¶, ¤a>"),
        ("```\n<https://a.example>\n```", "```\n<https://a.example>\n```"),
        ("\\(a\\) <HTTP://a.example>", "\\(a\\) ¤HTTP://a.example¶"),
        ("\tx\n```\n\ty\n```", "\tx\n```\n\ufdd2y\n```"),
    ],
)
def test_tags_are_shown_as_they_were_written(text: str, shown: str) -> None:
    """No `<` is left but in code between fences that nothing holds, where Markdown escapes it by itself; an address
    between `<` and `>` ends where it ends.
    """
    assert talk.literal(text) == shown.replace("¤", talk.SIGN).replace("¶", talk.END)


def test_an_answer_without_words_says_so() -> None:
    """Each question keeps its answer's place, so that a thumb's index holds."""
    said = Talk((Said("q", ""),))
    assert talk.messages(said)[1]["content"]["text"] == "*stopped before the first word*"
    assert talk.messages(said, unfinished=True)[1]["content"]["text"] == "…"


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
    assert "verified (v7)" in html
    assert "<so>" not in html


def test_empty_tables_say_what_to_do() -> None:
    """A fresh ledger shows sentences, not empty tables."""
    assert "No lessons yet" in tables.lessons([])
    assert "No versions yet" in tables.versions([])


def test_progress_marks_the_present_stage() -> None:
    """Stages before the present one are done; the percentage is of the whole night."""
    night = replace(testing.night(), status=NightStatus.RUNNING, stage="train", progress=0.416, detail="step 3 of 9")
    html = tables.progress(night)
    assert "<li class='done'>exam before</li>" in html
    assert "<li class='now' aria-current=step>train</li>" in html
    assert "42%" in html
    assert "step 3 of 9" in html


def test_text_is_shortened_to_one_line() -> None:
    """Long and many-lined texts fit a table's cell."""
    assert tables.short("a\n  b") == "a b"
    assert tables.short("x" * 200, 10) == "x" * 9 + "…"


NIGHTS = [(testing.NOON, 0.5, 10), (testing.NOON, 0.02, None), (None, 0.5, None)]


@pytest.mark.parametrize(("started", "progress", "left"), NIGHTS)
def test_the_minutes_left_come_of_those_that_were_taken(started: datetime | None, progress: float, left: int) -> None:
    """Nothing is said while that would be a guess."""
    night = replace(testing.night(), status=NightStatus.RUNNING, started_at=started, progress=progress)
    assert tables.minutes_left(night, testing.NOON + timedelta(minutes=10)) == left


def test_only_what_may_be_done_has_a_button() -> None:
    """A plain user undoes; a teacher decides over what waits, and over no more."""
    waiting = testing.lesson("l1")
    held = replace(testing.lesson("l2"), state=LessonState.HELD, hold="held back by Tess")
    alone = replace(testing.lesson("l4", wanted=None), state=LessonState.HELD)
    done = replace(testing.lesson("l3"), state=LessonState.UNDONE)

    def acts(lesson: Lesson, teacher: bool) -> list[str]:
        return re.findall(r"data-act='(\w+)'", tables.lessons([lesson], teacher=teacher))

    assert [acts(x, teacher=False) for x in (waiting, held, done)] == [["undo"], ["undo"], []]
    assert acts(waiting, teacher=True) == ["hold", "edit", "undo"]
    assert acts(held, teacher=True) == ["approve", "edit", "undo"]
    assert acts(alone, teacher=True) == ["hold", "edit", "undo"]
    assert acts(done, teacher=True) == []


@pytest.mark.parametrize(
    ("text", "words", "shown"),
    [
        ("Owls & owls <b>", ["owl"], "<mark>Owl</mark>s &amp; <mark>owl</mark>s &lt;b&gt;"),
        ("abcd", ["bc", "ab"], "<mark>abc</mark>d"),
        ("Die Straße", ["STRASSE"], "Die <mark>Straße</mark>"),
        ("cafe\u0301 au lait", ["caf\u00e9"], "<mark>cafe\u0301</mark> au lait"),
        ("鲸在哪里睡觉", ["哪里"], "鲸在<mark>哪里</mark>睡觉"),
        ("no", ["yes", "\u0307"], "no"),
    ],
)
def test_found_words_are_marked(text: str, words: list[str], shown: str) -> None:
    """Every time, in the letters that they were written in; what is marked is text."""
    assert marked(text, words) == shown


def test_a_column_for_what_nobody_may_do_is_none() -> None:
    """Of versions and nights a plain user has nothing to decide or to look at."""
    version, ended = testing.adapter("v1"), replace(testing.night(), report="/somewhere")
    assert "Decide" in tables.versions([version], teacher=True)
    assert "Decide" not in tables.versions([version])
    assert "Look" in tables.nights([ended], teacher=True)
    assert "Look" not in tables.nights([ended])


def test_a_buttons_data_is_no_markup() -> None:
    """Whatever a lesson says, in a button's data or beside it, is text."""
    html = tables.lessons([testing.lesson(question='"><img src=x>', wanted="' onfocus='alert(1)")], teacher=True)
    assert "<img" not in html
    assert "onfocus='" not in html


def test_the_list_beside_the_chat_marks_what_is_on_the_page() -> None:
    """By date, with titles that are no markup; what to expect where there is none."""
    found = [
        Conversation(name, title, testing.NOON - timedelta(days=days), 1)
        for name, title, days in (("c1", "Owls", 0), ("c2", 'A "<b>" & more', 0), ("c3", "Whales", 1))
    ]
    shown = beside(found, "c2", testing.NOON, "en")
    assert re.findall(r"<h3>(.*?)</h3>", shown) == ["Today", "Yesterday"]
    assert re.findall(r'href="(.*?)"', shown) == ["./?c=c1", "./?c=c2", "./?c=c3"]
    assert shown.count("aria-current") == 1
    assert "aria-current='page'>A &quot;&lt;b&gt;&quot; &amp; more</a>" in shown
    assert "aria-current" not in beside(found, None, testing.NOON, "zh")
    assert "found here again" in beside([], None, testing.NOON, "en")


def test_branches_of_a_tree() -> None:
    """What stands beside an exchange, and where the branch that it opens was last written to."""
    forks = [("a", None), ("b", "a"), ("c", "a"), ("d", "b"), ("e", "c"), ("f", "d"), ("g", None)]
    assert branches.siblings(forks) == {"b": ("b", "c"), "c": ("b", "c"), "a": ("a", "g"), "g": ("a", "g")}
    assert [branches.newest_end(forks, one) for one in "abcg"] == ["f", "f", "e", "g"]


def test_tools_name_version_and_branch_of_what_is_shown() -> None:
    """One entry an answer; what is not stored has no button."""
    said = Talk((Said("q", "a", "e1", "v2", ("e0", "e1")), Said("q", "a")))
    assert talk.tools(said) == [
        {"id": "e1", "stored": True, "version": "v2", "fork": [2, 2]},
        {"id": None, "stored": False, "version": "base", "fork": 0},
    ]


def test_a_line_plot_says_in_words_what_it_shows() -> None:
    """For who does not see it; a value that is missing leaves a gap, and none at all no plot."""
    svg = plots.lines("Scores <b>", ["v1", "v2", "v3"], [("tonight", [0.5, None, 1.0])], percent=True)
    assert "aria-label='Scores &lt;b&gt;: tonight from 50% to 100%'" in svg
    assert svg.count("<circle") == 2
    assert plots.lines("x", ["v1"], [("y", [None])]) == ""


@pytest.mark.parametrize("steps", [1, 8, 17, 156, 1_000])
def test_labels_of_a_line_plot_are_not_written_over_each_other(steps: int) -> None:
    """The last is named, and the others keep their distance from it as from each other."""
    svg = plots.lines("Loss", [str(n + 1) for n in range(steps)], [("nll", [0.5] * steps)])
    named = [int(n) for n in re.findall(r"class='mid'[^>]*>(\d+)<", svg)]
    assert named[-1] == steps
    distances = [b - a for a, b in pairwise(named)]
    assert min(distances, default=steps) >= max(1, steps // 8)


def night_report(*right: bool) -> dict[str, Any]:
    """A report of a night whose exam asked lessons l0, l1 and so on; the last one is tonight's."""
    last = len(right) - 1
    return {
        "questions": [
            {
                "kind": "tonight" if i == last else "earlier",
                "lesson": f"l{i}",
                "question": f"q{i}",
                "after": f"a{i}{ok}",
            }
            | {"right_before": i < last, "right_after": ok, "before": "b"}
            for i, ok in enumerate(right)
        ]
    }


def test_what_each_version_still_knows() -> None:
    """R[i, j] is of night j's lessons what version i has right."""
    table = reports.retention([("v1", night_report(True)), ("v2", night_report(False, True))], "en")
    assert re.findall(r"<td[^>]*>([^<]*)</td>", table) == ["100%", "", "0%", "100%"]
    assert reports.retention([("v1", night_report(True))], "en") == ""


def test_two_versions_are_compared_on_what_both_were_asked() -> None:
    """Where they differ both answers are shown; where they share nothing that is said."""
    found = {"v1": night_report(True), "v2": night_report(False, True)}
    html = reports.compared("v1", "v2", found, "en")
    assert "Questions that both were asked: 1. Right: v1 1, v2 0." in html
    assert "✓ a0True" in html
    assert "✗ a0False" in html
    assert "share no question" in reports.compared("v1", "base", found, "en")


def test_what_got_worse_is_plotted() -> None:
    """A line for each kind of question of which something was lost; where nothing was, no plot."""
    exams = [{"tallies": {"control": {"lost": n}, "earlier": {"lost": 0}}} for n in (2, 1)]
    made = [replace(testing.adapter(f"v{2 - n}"), exam=exam) for n, exam in enumerate(exams)]
    svg = reports.worse(made, "en")
    assert "general questions from 1 to 2" in svg
    assert "earlier lessons" not in svg
    assert reports.worse([testing.adapter()], "en") == ""


def test_a_damaged_report_is_none(tmp_path: Path) -> None:
    """The page shows what there is."""
    (tmp_path / "report.json").write_text("{")
    assert reports.read(replace(testing.night(), report=str(tmp_path))) is None
    assert reports.read(testing.night()) is None


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
