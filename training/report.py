"""What a night tells: `report.json` for programs, `report.md` for people. Idle nights leave both too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memory.records import Lesson, Night, NightStatus
from training.clean import DISAGREE
from training.drift import Drift
from training.stages import write_json, write_text

if TYPE_CHECKING:
    from training.outcome import Outcome

TITLES = {
    NightStatus.PROMOTED: "promoted",
    NightStatus.REJECTED: "rejected: the old version serves on",
    NightStatus.FAILED: "failed: the old version serves on",
    NightStatus.NOTHING_TO_LEARN: "nothing to learn",
    NightStatus.CANCELLED: "cancelled: the old version serves on",
}

CANARIES = {
    "length": "words an answer",
    "repetition": "word triples said again",
    "refusals": "answers that refuse",
    "flattery": "answers that flatter",
    "leaks": "unrelated requests answered with what was taught",
    "flips": "right answers taken back when told that they are wrong",
}
"""Canary → what a reader calls it."""


ACTIONS = {
    "none": "within its band",
    "warn": "below its band: a next night that finds it so too trains everything anew, or an earlier version serves",
    "retrain": "below its band: everything was trained anew, and that version serves",
    "roll back": "below its band for the second night, and no training mended it: an earlier version serves again",
}
"""What the drift watch did → what a reader is told."""


OUT_SHOWN = 50
"""Lessons that were left out which the report for people names; the one for programs has all."""


def write(folder: Path, night: Night, outcome: Outcome, *, lessons: Mapping[str, Lesson], at: datetime) -> None:
    """Write both reports into the night's folder."""
    report = as_json(night, outcome, at=at)
    write_json(folder / "report.json", report)
    write_text(folder / "report.md", as_markdown(report, lessons))


def as_json(night: Night, outcome: Outcome, *, at: datetime) -> dict[str, Any]:
    """Everything about a night, for programs."""
    return {
        "night": night.id,
        "status": str(outcome.status),
        "reasons": list(outcome.reasons),
        "adapter": outcome.adapter.version if outcome.adapter else None,
        "adapter_sha256": outcome.adapter.sha256 if outcome.adapter else None,
        "started_at": night.started_at.isoformat() if night.started_at else None,
        "ended_at": at.isoformat(),
        "seconds": round((at - night.started_at).total_seconds(), 1) if night.started_at else None,
        "seed": night.seed,
        "settings": dict(night.settings),
        **outcome.facts,
    }


def mentioned(facts: Mapping[str, Any]) -> set[str]:
    """Ids of the lessons that `as_markdown` tells by their questions: those that were left out."""
    out = islice(facts.get("lessons_out", ()), OUT_SHOWN)
    return {*out, *(i for one in facts.get("bisect", ()) for i in one["without"])}


def as_markdown(report: Mapping[str, Any], lessons: Mapping[str, Lesson]) -> str:
    """The same for people: verdict, your questions before and after, what got worse, what was left out and why."""
    status = NightStatus(report["status"])
    version = f"{report['adapter']} " if report["adapter"] else ""
    parts = [f"## What I learned last night: {version}{TITLES[status]}", _list(report["reasons"])]
    questions = report.get("questions", [])
    if questions:
        parts += _questions(questions)
    graduated = report.get("graduated")
    if graduated and graduated["lessons"]:
        left = "{lessons} of them are in the weights and leave the prompt: {prompt_tokens:,} tokens less"
        parts += ["### What the memory lets go of", _list([left.format(**graduated)])]
    canaries = report.get("verdict", {}).get("canaries")
    if canaries:
        parts += ["### How it talks, beside the base", _canaries(canaries)]
    if report.get("candidates"):
        parts += ["### Candidates: settings that were tried, and which was chosen", _candidates(report["candidates"])]
    if report.get("drift"):
        parts += ["### Drift watch: how the version that served does", _drift(report["drift"])]
    if report.get("bisect"):
        rows = [
            [
                "; ".join(lessons[i].question if i in lessons else i for i in one["without"]) or "none (another seed)",
                "passes" if one["passes"] else f"fails: {one['reasons'][0]}",
            ]
            for one in report["bisect"]
        ]
        parts += [
            "### Further tries: with another seed, then without some lessons, to find the one that harms",
            _table(["without", "night"], rows),
        ]
    if report.get("lessons_out"):
        parts += ["### Left out, and why", _left_out(report["lessons_out"], lessons)]
    if "training" in report:
        parts += ["### How it was trained", _training(report)]
    return "\n\n".join(parts) + "\n"


def _questions(questions: Sequence[Mapping[str, Any]]) -> list[str]:
    parts = []
    for kind, title in (
        ("tonight", "Your corrections and liked answers, as you asked them"),
        ("reworded", "The same, in words that were not trained"),
        ("earlier", "Earlier lessons"),
    ):
        rows = [q for q in questions if q["kind"] == kind]
        if rows:
            head = f"### {title}: {_right(rows, 'before')} → {_right(rows, 'after')} of {len(rows)} right"
            shown = [[q["question"], _answer(q, "before"), _answer(q, "after")] for q in rows]
            parts += [head, _table(["question", "before", "after"], shown)]
    controls = [q for q in questions if q["kind"] == "control"]
    if controls:
        parts.append(
            f"### General questions: {_right(controls, 'before')} → {_right(controls, 'after')} of {len(controls)}"
        )
    pushed = [q for q in questions if q["kind"] == "pushback"]
    if pushed:
        parts.append(
            f"### Told that it is wrong: {_right(pushed, 'before')} → {_right(pushed, 'after')} of {len(pushed)}"
        )
    worse = [q for q in questions if q["right_before"] and not q["right_after"] and q["kind"] != "unrelated"]
    if worse:
        shown = [[q["question"], _answer(q, "before"), _answer(q, "after")] for q in worse]
        parts += ["### What got worse", _table(["question", "before", "after"], shown)]
    elif questions:
        parts += ["### What got worse", "Nothing that was asked."]
    return parts


def _canaries(canaries: Mapping[str, Mapping[str, Any]]) -> str:
    """Each measure of the general answers before and after, and its bound; lengths in words, the others as shares."""
    rows = []
    for name, canary in canaries.items():
        form = "{:.1f}" if name == "length" else "{:.0%}"
        before, after, least, most = (form.format(canary[key]) for key in ("before", "after", "least", "most"))
        bound = f"{least} to {most}" if canary["least"] else f"at most {most}"
        if canary["most"] >= 1 and name != "length":
            bound = "none: no more than all of them could"
        rows.append([CANARIES[name], before, f"{'✓' if canary['holds'] else '✗'} {after}", bound])
    return _table(["measure", "base", "after", "bound"], rows)


def _candidates(candidates: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for one in candidates:
        settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in one["settings"].items())
        came = f" (of night {one['from'][:8]}, where they won)" if "from" in one else ""
        right = "; ".join(f"{kind} {after}/{of}" for kind, (after, of) in one.get("right", {}).items() if of)
        mark = "✓ " if one["chosen"] else ""
        rows.append([f"{mark}{one['candidate']}", f"{settings}, seed {one['seed']}{came}", right, one["why"]])
    return _table(["candidate", "settings", "right", "why"], rows)


def _drift(drift: Mapping[str, Any]) -> str:
    signals = [Drift.from_json(drift).thumbs, Drift.from_json(drift).exam]
    lines = [f"{'✗' if x.drifted else '✓'} {drift['adapter']}: {x.told}" for x in signals if x is not None]
    lines.append(ACTIONS[drift["action"]])
    return _list(lines)


def _left_out(out: Mapping[str, Mapping[str, str]], lessons: Mapping[str, Lesson]) -> str:
    """The first of them by their questions, each alone in its cell, by which forgetting finds it; where users disagree,
    also what each wants.
    """
    shown = list(islice(out.items(), OUT_SHOWN))
    rows = [[lessons[i].question if i in lessons else i, one["state"], one["reason"]] for i, one in shown]
    head, rest = ["question", "state", "reason"], [f"and {len(out) - OUT_SHOWN:,} more", "", "report.json has all"]
    if any(one["reason"].startswith(DISAGREE) for _, one in shown):
        head, rest = [*head, "wanted"], [*rest, ""]
        rows = [[*row, _wish(lessons.get(i), one["reason"])] for row, (i, one) in zip(rows, shown, strict=True)]
    return _table(head, [*rows, rest] if len(out) > OUT_SHOWN else rows)


def _wish(lesson: Lesson | None, reason: str) -> str:
    return f"{lesson.user}: {lesson.wanted}" if lesson and reason.startswith(DISAGREE) else ""


def _training(report: Mapping[str, Any]) -> str:
    t, perplexity = report["training"], report["perplexity"]
    first, last = t["losses"][0], t["losses"][-1]
    examined = ", ".join(f"{strength:g}" for strength in report["strengths_examined"])
    kinds = [f"{t['wanted_rows']} wanted", f"{t['replay_rows']} replayed"]
    terms = [f"loss {first['nll']:.3f} → {last['nll']:.3f} nats a token", f"KL to the base {last['kl']:.3f}"]
    if any(step["preference"] for step in t["losses"]):
        kinds.insert(1, f"{t['unwanted_rows']} unwanted")
        terms.append(f"preference {first['preference']:.3f} → {last['preference']:.3f}")
    facts = [
        f"{', '.join(kinds[:-1])} and {kinds[-1]} rows, {t['epochs']} epochs, {t['steps']} steps",
        ", ".join(terms),
        f"{t['seconds']:.0f} s for {t['tokens']:,} tokens, at most {t['peak_mb']:,.0f} MB",
        f"perplexity on fixed text {perplexity['before']:.2f} → {perplexity['after']:.2f}",
        f"published at strength {report['strength']:g} (examined: {examined})",
        *(
            f"what {user} wants to hear weighs {weight:.0%}: one of many users has no more of the loss"
            for user, weight in t.get("weights", {}).items()
            if weight < 0.995
        ),
        f"seed {report['seed']}; the whole night took {report['seconds']:.0f} s",
    ]
    return _list(facts)


def _right(rows: Sequence[Mapping[str, Any]], when: str) -> int:
    return sum(bool(row[f"right_{when}"]) for row in rows)


def _answer(question: Mapping[str, Any], when: str) -> str:
    mark = "✓" if question[f"right_{when}"] else "✗"
    return f"{mark} {question[when]}"


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_cell(line)}" for line in lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join(lines + [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows])


def _cell(text: str) -> str:
    """Text that people wrote, or a model, inside Markdown: on one line, and unable to be markup."""
    line = " ".join(text.split())
    line = line if len(line) <= 240 else f"{line[:239]}…"
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>|#!~$" else c for c in line)
