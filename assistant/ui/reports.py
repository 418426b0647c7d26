"""What the nights' reports say taken together: scores, losses, what holds of which night, two versions compared.

Pure over `report.json` as `training.report` writes it. A report that was damaged or is of another age is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from assistant import chinese
from assistant.texts import Language, text
from assistant.ui import plots
from assistant.ui.tables import empty, short, table
from memory.records import Adapter, Night

Report = Mapping[str, Any]
MARK = re.compile(r"#+ |- ")
CELLS = re.compile(r"(?<!\\)\|")
SIGNS = "\\`*_{}[]<>|#!~$"
"""What the night's reports escape."""
NO_LESSON = "none (another seed)"
"""What stands in the place of lessons where a night was tried with all of them."""
OURS = ("night", "state", "reason", "measure", "bound", "why")
"""Columns whose cells are the night's own words."""
KINDS = ("tonight", "reworded", "earlier", "control")


def read(night: Night) -> Report | None:
    """None where the night wrote none, or its folder was removed or damaged since."""
    if not night.report:
        return None
    try:
        found = json.loads((Path(night.report) / "report.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def told(markdown: str, language: Language) -> str:
    """A night's `report.md` in `language`: the night's own words, never what was asked or answered."""
    if language == "en":
        return markdown
    lines, ours = markdown.split("\n"), frozenset[int]()
    for place, line in enumerate(lines):
        if line.startswith("|---"):
            continue
        if not line.startswith("| "):
            ours = frozenset()
            mark = MARK.match(line)
            start = mark[0] if mark else ""
            lines[place] = start + _said(line[len(start) :], language)
            continue
        cells = CELLS.split(line)[1:-1]
        if lines[place + 1 : place + 2] and lines[place + 1].startswith("|---"):
            ours = frozenset(i for i, cell in enumerate(cells) if cell.strip() in OURS)
            cells = [_said(cell, language) for cell in cells]
        else:
            cells = [
                _said(cell, language) if i in ours or cell.strip() == NO_LESSON else cell
                for i, cell in enumerate(cells)
            ]
        lines[place] = f"| {' | '.join(cell.strip() for cell in cells)} |"
    return "\n".join(lines)


def _said(cell: str, language: Language) -> str:
    """Markdown in which signs are escaped, as the night writes it."""
    plain = re.sub(r"\\(.)", r"\1", cell.strip())
    return "".join(f"\\{c}" if c in SIGNS else c for c in chinese.said(plain, language))


def scores(adapters: Sequence[Adapter], language: Language) -> str:
    """A line for each kind of question: the share that is right after each version's exam, oldest first."""
    versions = [a for a in reversed(adapters) if a.exam.get("tallies")]
    if not versions:
        return ""
    series = [
        (text(f"exam.{kind}", language), [_share(a.exam["tallies"].get(kind), "after") for a in versions])
        for kind in KINDS
    ]
    series = [(name, values) for name, values in series if any(value is not None for value in values)]
    return plots.lines(text("plot.scores", language), [a.version for a in versions], series, percent=True)


def losses(report: Report | None, language: Language) -> str:
    """The loss of each step, and the KL to the base."""
    steps = ((report or {}).get("training") or {}).get("losses") or []
    if len(steps) < 2:
        return ""
    series = [
        (text(f"plot.{name}", language), [step.get(name) for step in steps])
        for name in ("nll", "kl", "match", "preference")
        if any(step.get(name) for step in steps)
    ]
    return plots.lines(text("plot.loss", language), [str(i + 1) for i in range(len(steps))], series)


def retention(reports: Sequence[tuple[str, Report]], language: Language) -> str:
    """R[i, j]: of the lessons that came in with version j, the share that version i answers right; oldest first."""
    born: dict[str, int] = {}
    rows: list[list[float | None]] = []
    for i, (_, report) in enumerate(reports):
        asked = [q for q in report.get("questions", ()) if q.get("kind") in ("tonight", "earlier") and q.get("lesson")]
        for question in asked:
            born.setdefault(question["lesson"], i)
        row: list[float | None] = []
        for j in range(len(reports)):
            right = [bool(q.get("right_after")) for q in asked if born[q["lesson"]] == j]
            row.append(sum(right) / len(right) if right else None)
        rows.append(row)
    if len(rows) < 2:
        return ""
    names = [version for version, _ in reports]
    return plots.matrix(text("plot.matrix", language), names, rows, text("plot.matrix.corner", language))


def worse(adapters: Sequence[Adapter], language: Language) -> str:
    """How many questions of each kind were right before each version and not with it, oldest first."""
    versions = [a for a in reversed(adapters) if a.exam.get("tallies")]
    series: list[plots.Series] = []
    for kind in KINDS:
        lost = [_count(a.exam["tallies"].get(kind), "lost") for a in versions]
        if any(lost):
            series.append((text(f"exam.{kind}", language), lost))
    return plots.lines(text("plot.worse", language), [a.version for a in versions], series)


def compared(one: str, other: str, reports: Mapping[str, Report], language: Language) -> str:
    """Where two versions answered the same exam question in different ways."""
    answers = [
        {q["question"]: q for q in (reports.get(version) or {}).get("questions", ()) if q.get("kind") in KINDS}
        for version in (one, other)
    ]
    shared = [question for question in answers[0] if question in answers[1]]
    title = f"<h3>{escape(text('compare.title', language, one=one, other=other))}</h3>"
    if not shared:
        return title + empty(text("compare.nothing", language))
    right = [sum(bool(found[question].get("right_after")) for question in shared) for found in answers]
    told = text("compare.right", language, one=one, other=other, a=right[0], b=right[1], n=len(shared))
    differ = [q for q in shared if answers[0][q].get("after") != answers[1][q].get("after")]
    rows = [[escape(short(q)), *(_answer(found[q]) for found in answers)] for q in differ]
    shown = table([text("report.question", language), escape(one), escape(other)], rows) if rows else ""
    return f"{title}<p>{escape(told)}</p>{shown}"


def _answer(question: Mapping[str, Any]) -> str:
    mark = "✓" if question.get("right_after") else "✗"
    return f"{mark} {escape(short(str(question.get('after', ''))))}"


def _count(tally: Any, what: str) -> float | None:
    return float(tally.get(what, 0)) if isinstance(tally, Mapping) else None


def _share(tally: Any, when: str) -> float | None:
    if not isinstance(tally, Mapping) or not tally.get("total"):
        return None
    return float(tally[when]) / float(tally["total"])
