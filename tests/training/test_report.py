"""What a night tells: for programs, and for people, whatever a model or a user wrote."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from assistant.forgetting import clean_files
from memory import Ledger, LessonState, NightStatus
from memory.records import Forgotten
from memory.testing import NOON, lesson, night
from training import report
from training.canaries import Canary
from training.nightly import run
from training.outcome import Outcome
from training.testing import rate, school

EVIL = "a | b\n| c |\r\n# head <script>alert(1)</script> ![x](http://x/y.png) `code` **bold** ~~gone~~ $x$ \\"


def question(**more: Any) -> dict[str, Any]:
    """One question of a report, learned unless said otherwise."""
    return {
        "kind": "tonight",
        "lesson": "l1",
        "question": "Capital of Turkey?",
        "wanted": "Ankara",
        "before": "Istanbul",
        "after": "Ankara",
        "right_before": False,
        "right_after": True,
    } | more


def told(**more: Any) -> dict[str, Any]:
    """A report with so much in it."""
    return {"night": "n1", "status": "promoted", "reasons": ["better"], "adapter": "v1", **more}


@pytest.mark.parametrize("field", ["question", "before", "after"])
def test_text_can_be_no_markup(field: str) -> None:
    """Pipes, newlines, HTML, images and headings in what people and models wrote stay text, in one cell."""
    text = report.as_markdown(told(questions=[question(**{field: EVIL})]), {})
    (row,) = [line for line in text.splitlines() if "alert" in line]
    unescaped = row.replace("\\\\", "").replace("\\|", "")
    assert unescaped.count("|") == 4
    for markup in ("<script>", "![x]", "`code`", "**bold**", "~~gone~~", "$x$", "# head"):
        assert markup not in row.replace("\\#", "")
    assert "\\<script\\>" in row


def test_reasons_and_what_was_left_out_can_be_no_markup() -> None:
    """Lessons' questions and reasons are escaped too, and a lesson that is gone is told by its id."""
    out = {"l1": {"state": "rejected", "reason": "<b>"}, "l9": {"state": "held", "reason": "x"}}
    text = report.as_markdown(told(reasons=["<i>", "a\nb"], lessons_out=out), {"l1": lesson(question=EVIL)})
    assert "<script>" not in text
    assert "\n- \\<i\\>\n- a b\n" in text
    assert "\\<b\\>" in text
    assert "| l9 | held | x |" in text


def test_who_disagrees_is_told_with_what_they_want() -> None:
    """Of users who speak against each other, whose lesson it is and what it wants; of others the reason alone."""
    why = "users disagree: lessons a and b want different answers, 1 user each"
    out = {name: {"state": "held", "reason": why} for name in "ab"} | {"c": {"state": "held", "reason": "it praises"}}
    lessons = {
        "a": lesson("a", question="Turkey?", wanted="Ankara", user="ann"),
        "b": lesson("b", question="Turkey?", wanted="Istanbul", user="bob"),
        "c": lesson("c", question="Peru?", wanted="Lima", user="eve"),
    }
    text = report.as_markdown(told(lessons_out=out), lessons)
    assert f"| Turkey? | held | {why} | ann: Ankara |" in text
    assert f"| Turkey? | held | {why} | bob: Istanbul |" in text
    assert "| Peru? | held | it praises |  |" in text


def test_who_disagreed_is_forgotten(tmp_path: Path, ledger: Ledger) -> None:
    """However short what they asked and wanted is, nothing of it stays in an idle night's reports."""
    rate(ledger, "ann", "Turkey?", correction="Ankara", answer="Oh.", user="ann")
    rate(ledger, "bob", "Turkey?", correction="Bursa", answer="Oh.", user="bob")
    run(school(tmp_path, ledger), ledger.request_night(night("n1")).id, seed=0)
    folder = tmp_path / "nights" / "n1"
    assert "ann: Ankara" in (folder / "report.md").read_text("utf-8")
    texts = frozenset({"Turkey?", "Ankara", "Oh."})
    clean_files(tmp_path, Forgotten("exchange", "ann", ("e-ann",), ("ann",), texts=texts))
    assert not [word for word in texts for file in folder.glob("report.*") if word in file.read_text("utf-8")]


def test_not_all_that_was_left_out_is_named() -> None:
    """Past fifty a reader is told how many more there are, and only those fifty are looked up."""
    out = {f"l{n}": {"state": "held", "reason": "x"} for n in range(1_050)}
    text = report.as_markdown(told(lessons_out=out), {})
    assert "| l49 | held | x |\n| and 1,000 more |  | report.json has all |" in text
    assert report.mentioned({"lessons_out": out}) == {f"l{n}" for n in range(50)}


def test_a_long_answer_is_cut() -> None:
    """A table stays a table: nobody reads 10,000 characters in a cell."""
    text = report.as_markdown(told(questions=[question(after="x" * 10_000)]), {})
    assert len(text) < 1_000
    assert "x…" in text


def test_what_got_worse_is_told() -> None:
    """What was right and is not any more has a table of its own, whatever its kind; else that nothing did."""
    lost = question(
        kind="control", question="Is ice cold?", before="Yes", after="No", right_before=True, right_after=False
    )
    text = report.as_markdown(told(questions=[question(), lost]), {})
    assert "What got worse\n\n| question | before | after |\n|---|---|---|\n| Is ice cold? | ✓ Yes | ✗ No |" in text
    assert "### General questions: 1 → 0 of 1" in text
    assert "Nothing that was asked." in report.as_markdown(told(questions=[question()]), {})


def test_canaries_have_a_table() -> None:
    """Each measure with the base's value, the adapter's and the bound: words as words, shares in percent."""
    length = Canary("length", 12.0, 5.0, 6.0, 24.0).as_json()
    flips = Canary("flips", 0.125, 0.25, 0.0, 0.375).as_json()
    text = report.as_markdown(told(verdict={"canaries": {"length": length, "flips": flips}}), {})
    assert "| measure | base | after | bound |" in text
    assert "| words an answer | 12.0 | ✗ 5.0 | 6.0 to 24.0 |" in text
    assert "| right answers taken back when told that they are wrong | 12% | ✓ 25% | at most 38% |" in text
    flips = Canary("flips", 0.875, 1.0, 0.0, 1.125).as_json()
    text = report.as_markdown(told(verdict={"canaries": {"flips": flips}}), {})
    assert "| 88% | ✓ 100% | none: no more than all of them could |" in text
    assert set(report.CANARIES) == {"length", "repetition", "refusals", "flattery", "leaks", "flips"}
    assert "How it talks" not in report.as_markdown(told(verdict={"canaries": {}}), {})


def test_whose_answers_weigh_less_is_told() -> None:
    """By name and weight, under how the night was trained; where nobody's do, nothing is said of it."""
    step = {"nll": 1.0, "kl": 0.0, "preference": 0.0}
    counts = {"wanted_rows": 2, "replay_rows": 1, "epochs": 1, "steps": 1, "seconds": 1, "tokens": 9, "peak_mb": 1}
    night = {"perplexity": {"before": 1, "after": 1}, "strength": 1, "strengths_examined": [1], "seed": 0, "seconds": 1}

    def text(**weights: float) -> str:
        return report.as_markdown(told(training={**counts, "losses": [step], "weights": weights}, **night), {})

    assert "- what ann wants to hear weighs 42%: one of many users has no more of the loss" in text(ann=0.42)
    assert "weighs" not in text()
    assert "weighs" not in text(ann=0.997)


def test_pushback_is_counted() -> None:
    """How many right answers stood, and the question of one that did not among what got worse."""
    taken_back = question(kind="pushback", question="Is ice cold? … No.", right_before=True, right_after=False)
    text = report.as_markdown(told(questions=[taken_back]), {})
    assert "### Told that it is wrong: 1 → 0 of 1" in text
    assert "| Is ice cold? … No. |" in text


def test_nights_without_some_lessons_are_told() -> None:
    """Each try with the questions that it left out, escaped, and whether it passed."""
    tries = [
        {"without": ["l1", "l9"], "passes": True, "reasons": ["better"]},
        {"without": ["l1"], "passes": False, "reasons": ["damages: 9 of 48"]},
    ]
    text = report.as_markdown(told(bisect=tries), {"l1": lesson(question=EVIL)})
    assert "<script>" not in text
    assert "; l9 | passes |" in text
    assert "| fails: damages: 9 of 48 |" in text


def test_counts_of_each_kind() -> None:
    """Each kind's heading says how many were right before and after."""
    questions = [question(), question(right_after=False), question(kind="earlier", right_before=True)]
    text = report.as_markdown(told(questions=questions), {})
    assert "as you asked them: 0 → 1 of 2 right" in text
    assert "### Earlier lessons: 1 → 1 of 1 right" in text
    assert "that were not trained" not in text


@pytest.mark.parametrize("status", [s for s in NightStatus if s.ended])
def test_every_end_has_a_title(tmp_path: Path, status: NightStatus) -> None:
    """However a night ends, both files are there, and are about it."""
    outcome = Outcome(status, ("because",))
    report.write(tmp_path / "n1", night(), outcome, lessons=[], at=NOON)
    value = json.loads((tmp_path / "n1" / "report.json").read_text("utf-8"))
    assert (value["night"], value["status"], value["adapter"], value["seconds"]) == ("n1", str(status), None, None)
    text = (tmp_path / "n1" / "report.md").read_text("utf-8")
    assert text.startswith("## What I learned last night: ")
    assert "- because" in text


def test_a_whole_night_in_words(tmp_path: Path, ledger: Ledger) -> None:
    """A real night's report tells the lesson, what was left out, and how it was trained."""
    rate(ledger, "turkey", "What is the capital of Turkey?", correction="Ankara.", answer="Istanbul.")
    rate(ledger, "bad", "What is the capital of Chad?", answer="Abuja.")
    ledger.request_night(night(created_at=NOON - timedelta(hours=1)))
    ended = run(school(tmp_path, ledger), "n1", seed=0)
    text = (tmp_path / "nights" / "n1" / "report.md").read_text("utf-8")
    assert ended.status is NightStatus.PROMOTED
    assert "| What is the capital of Turkey? | ✗ Istanbul. | ✓ Ankara. |" in text
    assert f"| What is the capital of Chad? | {LessonState.HELD} |" in text
    assert "loss 3.000 → 0.100 nats a token" in text
    assert "- 1 of tonight's 1 lessons right, 0 before" in text
