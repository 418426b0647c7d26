"""What a record keeps of a night: how it ended, what it cost, and how exam and canaries went at each strength."""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from memory.records import Night
from training.canaries import canaries
from training.paper import Exam, Item, Kind
from training.settings import NightSettings
from training.streams import StreamItem

KEPT = ("adapter_sha256", "seconds", "strength", "perplexity", "verdict", "training", "candidates")
"""Of a night's report. Idle nights lack some."""


def outcome_of(night: Night | None, items: Sequence[StreamItem]) -> dict[str, Any] | None:
    """An excerpt of the night's report and of its sittings; None where there was no night.

    `replayed` are the items of the bench that the night's replay happened to hold itself: they are not held out.
    """
    if night is None:
        return None
    told: dict[str, Any] = {"status": str(night.status), "reasons": list(night.reasons), "adapter": night.adapter}
    if night.report is None:
        return told
    folder = Path(night.report)
    report = json.loads((folder / "report.json").read_text("utf-8"))
    told |= {name: report.get(name) for name in KEPT}
    told["peak_mb"] = (report.get("training") or {}).get("peak_mb")
    told["replayed"] = _replayed(report.get("replay", ()), items)
    asked = [
        Item(
            q["id"],
            q["kind"],
            ({"role": "user", "content": q["question"]},),
            wanted=q["wanted"] or "",
            unwanted=q["unwanted"],
        )
        for q in report.get("questions", ())
    ]
    return told | {"strengths": _strengths(asked, folder / "before.json", folder / report.get("stages", "."))}


def forget_peak() -> None:
    """Count the process's peak memory from now on, where the system can: a night's own, not that of those before it."""
    # What evaluations have let go of is the system's again, or it would be taken for the night's.
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the peak of the resident set, proc(5)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _replayed(questions: Sequence[str], items: Sequence[StreamItem]) -> list[str]:
    held = {question.casefold() for question in questions}
    return [x.id for x in items if any(wording.casefold() in held for wording in (x.question, *x.paraphrases))]


def _strengths(paper: Sequence[Item], before: Path, attempt: Path) -> list[dict[str, Any]]:
    """For each strength that was examined: right answers by kind of question, perplexity over that before, and canary
    by name, as `training.canaries` measures them.

    Args:
        before: file of the exam before the night.
        attempt: folder of the attempt that the night decided on.
    """
    after = attempt / "after.json"
    if not after.is_file():
        return []
    old = Exam.from_json(json.loads(before.read_text("utf-8")))
    found = []
    for sitting in json.loads(after.read_text("utf-8")):
        exam = Exam.from_json(sitting["exam"])
        found.append(
            {
                "strength": sitting["scale"],
                "perplexity_ratio": round(exam.perplexity / old.perplexity, 4),
                "kinds": _kinds(old.right, exam.right),
                "canaries": {canary.name: canary.after for canary in canaries(paper, old, exam, NightSettings())},
            }
        )
    return found


def _kind(item_id: str) -> Kind:
    """Of an item; its id begins with it, but for controls, whose ids are their own."""
    kind, marked, _ = item_id.partition(":")
    return cast(Kind, kind) if marked else "control"


def _kinds(before: Mapping[str, bool], after: Mapping[str, bool]) -> dict[str, dict[str, int]]:
    """Kind of question → how many, right before, right after, and lost."""
    kinds: dict[str, Counter[str]] = {}
    for item_id, right in after.items():
        kinds.setdefault(_kind(item_id), Counter(total=0, before=0, after=0, lost=0)).update(
            total=1, before=before[item_id], after=right, lost=before[item_id] and not right
        )
    return {kind: dict(counts) for kind, counts in kinds.items()}
