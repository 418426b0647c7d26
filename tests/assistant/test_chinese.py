"""That nothing is said in English on a Chinese page: each line that the code makes has a template that knows it."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from string import Formatter

import pytest

import assistant
import memory
import training
from assistant.chinese import ALL, DEEDS, DETAILS, EXACT, detail, said
from assistant.feedback import DOWN_ALONE
from assistant.live import CHANGEABLE
from assistant.settings import Settings
from assistant.ui.reports import told
from memory import Ledger, errors
from memory.recall import Memory
from memory.testing import NOON, HashingEmbedder, exchange, lesson, rating
from training import gate, report
from training.bisect import Found
from training.canaries import Canary
from training.paper import Exam, Item, Kind
from training.settings import NightSettings

ASSISTANT, MEMORY, TRAINING = (Path(str(package.__file__)).parent for package in (assistant, memory, training))
REFUSING = (
    *(ASSISTANT / name for name in ("accounts.py", "feedback.py", "review.py", "versions.py", "turn.py")),
    *sorted((ASSISTANT / "ui").glob("*.py")),
    MEMORY / "documents.py",
    *(MEMORY / "sql" / name for name in ("accounts.py", "lessons.py", "nights.py", "adapters.py")),
)
DECIDING = [TRAINING / f"{name}.py" for name in ("clean", "doubts", "outcome", "nightly", "watch", "bisect", "drift")]
FORGED = ("there is no button", "there is no role", "unknown reason", "a rating is")
"""What no page can send: whoever forges it gets English."""
BY_PIECES = ("only 7 7 may do that", "night 7 has ended: 7", "7 can't be read: 7", "7 is no file that can be read")
"""Made of pieces that have samples below, or about files that no browser sends."""
WITH_PIECES = (
    "7 lesson 7, which stays",
    "without 7 of tonight's 7 lessons, because 7 (7)",
    "nothing to learn, because no rating says what a better answer would be7",
)
"""Likewise, of reasons: with their pieces they are in the test below."""
ENGLISH = re.compile(r"[a-z]{2,} [a-z]{2,}")
"""Two English words in a row."""


def sample(node: ast.expr) -> str | None:
    """What a string of the code may look like, with 7 for each value; None for no string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(sample(part))
            if not isinstance(part, ast.FormattedValue)
            else "'7'"
            if part.conversion == ord("r")
            else "7"
            for part in node.values
        )
    return None


def _value(part: ast.FormattedValue) -> str:
    return "'7'" if part.conversion == ord("r") else "7"


def refusals(path: Path) -> Iterator[str]:
    """The lines of the errors that a file raises."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            line = sample(node.exc.args[0])
            if line and " " in line:
                yield line


def reasons(path: Path) -> Iterator[str]:
    """What a file says of why something was decided: under the name `why`, or in a `Decision`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        found: list[ast.expr] = []
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id in ("why", "left") for t in node.targets
        ):
            found = [node.value]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Decision":
            found = node.args[1:2]
        elif isinstance(node, ast.Return) and isinstance(node.value, (ast.JoinedStr, ast.Constant)):
            found = [node.value]
        for line in filter(None, map(sample, found)):
            if ENGLISH.search(line):
                yield line


@pytest.mark.parametrize("part", ALL)
def test_templates_fill_in_what_they_find(part: tuple[tuple[str, str], ...]) -> None:
    """Each Chinese template has the fields of its English one, of which `to_do` and a plural may go."""
    for english, chinese in part:
        fields, filled = ({name for _, name, _, _ in Formatter().parse(text) if name} for text in (english, chinese))
        assert filled <= fields, english
        assert fields - filled <= {"to_do", "users"}, english


def test_every_refusal_is_said_in_chinese() -> None:
    """Of those that a page can bring about."""
    lines = {line for path in REFUSING for line in refusals(path) if not line.startswith((*FORGED, *BY_PIECES))}
    assert len(lines) > 30
    assert [line for line in lines if said(line, "zh") == line] == []
    assert said("only an admin may do that, and you are user", "zh") == "只有管理员可以这样做，而你是用户"
    assert said(str(errors.NotFound("lesson", "l1")), "zh") == "没有这样的课程：“l1”"
    for error in (errors.Busy(8, seconds=3, own=2), errors.Studying(300), errors.AlreadyRunning("me", "n1", NOON)):
        assert not ENGLISH.search(said(str(error), "zh"))


def test_every_reason_of_a_night_is_said_in_chinese() -> None:
    """Of nights, and of lessons that were left out, verified, or not."""
    lines = {line for path in DECIDING for line in reasons(path)} - set(WITH_PIECES)
    assert len(lines) > 25
    assert [line for line in lines if said(line, "zh") == line] == []
    assert said("waits for the next night", "zh") == "等待下一个夜晚"
    assert said(DOWN_ALONE, "zh").startswith("只点踩")
    why = "night n1 was rejected (nothing gained: 1 of tonight's 2 lessons right, 1 before): back in the queue"
    assert said(why, "zh") == "夜晚 n1 未被采用（没有进步：当晚 2 课答对 1 课，之前 1 课）：重新排队"
    assert said("held back by Tess", "zh") == "被 Tess 暂缓"
    whole = [
        Found(without, named, ()).told(3) for without, named in ((("l1",), True), (("l1", "l2"), False), ((), False))
    ]
    whole += [f"{how} lesson l1, which stays" for how in ("confirms", "says the same as", "agrees with")]
    nothing = "nothing to learn, because no rating says what a better answer would be"
    whole += [nothing, f"{nothing} (3 left out, each with its reason)"]
    assert [line for line in whole if ENGLISH.search(said(line, "zh"))] == []


def test_why_something_is_remembered_is_said_in_chinese() -> None:
    """Of exchanges, ratings and documents, as the memory gives it to prompts and pages."""
    ledger = Ledger.in_memory()
    ledger.add_exchange(exchange("e1", question="Where do owls sleep?"))
    memory_ = Memory(ledger, HashingEmbedder(), None, min_score=0.1)
    memory_.remember()

    def why(user: str = "local") -> str:
        (found,) = memory_.search("Where do owls sleep?", k=1, user=user)
        return said(found.reason, "zh")

    assert why() == f"{NOON:%Y-%m-%d} 提问"
    ledger.rate(rating("r1", "e1", value=1), None)
    assert why() == f"{NOON:%Y-%m-%d} 由你点赞"
    ledger.rate(rating("r2", "e1", correction="In trees."), None)
    memory_.remember()
    assert why() == f"{NOON:%Y-%m-%d} 由你更正"
    assert said("corrected by Tess on 2026-01-02", "zh") == "2026-01-02 由 Tess 更正"
    assert said("from owls.txt, page 3", "zh") == "来自 owls.txt 第 3 页"


def paper(**counts: int) -> list[Item]:
    """So many items of each kind."""
    kinds: tuple[Kind, ...] = ("tonight", "reworded", "earlier", "control")
    return [Item(f"{kind}:{i}", kind, ()) for kind in kinds for i in range(counts.get(kind, 0))]


def exam(items: list[Item], *, perplexity: float = 20.0, **right: int) -> Exam:
    """A sitting that is right on the first so many of each kind, and on all of a kind that is not named."""
    marks = {i.id: int(i.id.split(":")[1]) < right.get(i.kind, 10**6) for i in items}
    return Exam("v1", dict.fromkeys(marks, ""), marks, perplexity)


def test_every_verdict_of_the_gate_is_said_in_chinese() -> None:
    """What it finds for and against a version, each measure of how it talks, and several on one line."""
    bounds = NightSettings(perplexity_ratio_max=1.03, controls_kept_min=0.9, verified_kept_min=0.95)
    items = paper(tonight=9, reworded=4, earlier=20, control=20)
    verdicts = [
        gate.decide(items, exam(items, tonight=1), exam(items, control=19), bounds),
        gate.decide(items, exam(items, tonight=8), exam(items), bounds),
        gate.decide(items, exam(items), exam(items, tonight=2, earlier=3, control=3, perplexity=40), bounds),
        gate.decide(items, exam(items), exam(items, tonight=2), bounds.model_copy(update={"gated": False})),
    ]
    lines = {line for verdict in verdicts for line in verdict.reasons}
    for name in ("length", "repetition", "refusals", "flattery", "flips"):
        lines.add(gate._outside(Canary(name, 0.4, 0.9, 0.0, 0.5)))
    few = gate.Tally(total=3, before=2, after=2, gained=1, lost=1)
    many = gate.Tally(total=30, before=10, after=13, gained=11, lost=8)
    for tally in (few, many, replace(few, after=3)):
        lines.update(gate._not_gained(replace(tally, after=tally.before + 1), 0.05, gain_needed=True))
    # As ledgers from before have it.
    lines |= {"4 of 4 earlier lessons kept", "3 of 4 earlier lessons kept (more than chance: p = 0.010)"}
    assert len(lines) > 15
    assert [line for line in lines if ENGLISH.search(said(line, "zh"))] == []
    assert ENGLISH.search(said("; ".join(lines), "zh")) is None


def test_a_report_is_said_in_chinese_but_for_what_was_asked_and_answered() -> None:
    """Headings, lists and the columns that are the night's own; questions stay, be they made of its words."""
    question = {
        "kind": "tonight",
        "lesson": "l1",
        "question": "waits for the next night",
        "wanted": "Ankara",
        "before": "passes",
        "after": "An \\ odd | answer",
        "right_before": False,
        "right_after": True,
    }
    losses = [{"nll": 2.0, "kl": 0.1, "preference": 0.5}, {"nll": 1.0, "kl": 0.2, "preference": 0.4}]
    canary = {"before": 0.1, "after": 0.2, "least": 0.0, "most": 0.3, "holds": True}
    written = report.as_markdown(
        {
            "night": "n1",
            "status": "promoted",
            "adapter": "v2",
            "reasons": ["4 of 4 earlier lessons and liked answers kept", "perplexity on fixed text times 1.010"],
            "questions": [
                {**question, "kind": kind} for kind in ("tonight", "reworded", "earlier", "control", "pushback")
            ],
            "graduated": {"lessons": 3, "prompt_tokens": 1200},
            "verdict": {"canaries": dict.fromkeys(report.CANARIES, canary)},
            "candidates": [
                {
                    "candidate": "1",
                    "settings": {"rank": 8},
                    "seed": 1,
                    "right": {"tonight": [1, 2]},
                    "why": "the only one",
                    "chosen": True,
                }
            ],
            "lessons_out": {"l1": {"state": "held", "reason": "the rating was taken back"}},
            "bisect": [{"without": [], "passes": True}],
            "training": {
                "losses": losses,
                "wanted_rows": 3,
                "unwanted_rows": 1,
                "replay_rows": 4,
                "epochs": 2,
                "steps": 9,
                "seconds": 31,
                "tokens": 4200,
                "peak_mb": 1500,
            },
            "perplexity": {"before": 20.1, "after": 20.2},
            "strength": 1.0,
            "strengths_examined": [1.0, 0.5],
            "seed": 3,
            "seconds": 99,
        },
        {"l1": lesson(question="Is it held?")},
    )
    chinese = told(written, "zh")
    assert "| waits for the next night | ✗ passes | ✓ An \\\\ odd \\| answer |" in chinese
    assert "| Is it held? | 已暂缓 | 评分已撤回 |" in chinese
    assert "昨晚学到了什么：v2 已启用" in chinese
    ours = [
        line for line in chinese.splitlines() if "waits for the next night" not in line and "Is it held" not in line
    ]
    assert [line for line in ours if ENGLISH.search(line)] == []
    assert told(written, "en") == written
    for action in report.ACTIONS.values():
        assert said(action, "zh") != action


def test_an_account_is_called_what_it_is_called() -> None:
    """Be it a word of ours; what the log says of it is in Chinese all the same."""
    for action, told_, chinese in (
        ("account removed", "user", "user"),
        ("password changed", "the last admin", "the last admin"),
        ("account added", "user, teacher", "user，教师"),
        ("role changed", "queued: admin", "queued：管理员"),
        ("API key made", "model, for disk", "model，用于 disk"),
        ("logged in", "from 127.0.0.1", "来自 127.0.0.1"),
        ("log-in refused", "from owls.txt, page 3", "来自 owls.txt, page 3"),
        ("lesson reviewed", "l1: approved by admin", "l1：由 admin 批准"),
        ("forgotten", "3 exchanges, 0 passages", "3 条问答，0 段文档"),
        ("forgotten", "1 exchange, 1 passage", "1 条问答，1 段文档"),
        ("settings changed", "top_p = '0.5'", "top_p = '0.5'"),
    ):
        assert detail(action, told_, "zh") == chinese
        assert detail(action, told_, "en") == told_


def test_a_line_of_any_length_is_said_at_once() -> None:
    """However many reasons stand on it, and whoever wrote it; what is ours among them is in Chinese."""
    pieces = [f"word {n}" for n in range(400)]
    begun = time.process_time()
    chinese = said("; ".join(["passes", *pieces, "passes"]), "zh")
    assert chinese == "；".join(["通过", *pieces, "通过"])
    long = "a: b, 1 of 2 (c); " * 20_000
    assert said(long, "zh") == long
    assert time.process_time() - begun < 5


def test_settings_and_deeds_have_their_chinese() -> None:
    """Every setting that may change, and every deed that any module writes down."""
    assert [n for n in CHANGEABLE if str(Settings.model_fields[n].description) not in EXACT] == []
    code = "\n".join(path.read_text("utf-8") for path in ASSISTANT.rglob("*.py"))
    deeds = set(re.findall(r"""(?:note|deed|Deed)\((?:[\w.\[\]:]+(?:\(\))?, )+"([^"{]+)"[,)]""", code))
    deeds |= set(re.findall(r"""deed\([\w]+, (?:"[^"]+") """, code))
    assert {"lesson undone", "settings changed", "API key made", "log-in refused", "account added"} <= deeds
    assert deeds == {english for english, _ in DEEDS}
    assert set(DETAILS) <= deeds
