"""The nouns as JSON, for the HTTP routes and for `--json` on the command line alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from memory.records import Adapter, Lesson, Night, Recollection


def recollection(r: Recollection) -> dict[str, Any]:
    """What an answer was given to heed."""
    return {
        "question": r.question,
        "answer": r.answer,
        "score": round(r.score, 4),
        "reason": r.reason,
        "kind": r.kind,
        "exchange_id": r.exchange_id,
        "created_at": r.created_at.isoformat(),
    }


def found(r: Recollection) -> dict[str, Any]:
    """One result of a search. `dense` is a cosine and `lexical` BM25, None where that search did not find it."""
    return {
        "text": f"{r.question}\n{r.answer}".strip(),
        "score": round(r.score, 5),
        "dense": None if r.dense is None else round(r.dense, 4),
        "lexical": None if r.lexical is None else round(r.lexical, 4),
        "reason": r.reason,
        "kind": r.kind,
        "exchange_id": r.exchange_id,
        "created_at": r.created_at.isoformat(),
    }


def lesson(x: Lesson) -> dict[str, Any]:
    """A lesson with its life so far."""
    return {
        "id": x.id,
        "exchange_id": x.exchange_id,
        "question": x.question,
        "wanted": x.wanted,
        "unwanted": x.unwanted,
        "state": x.state,
        "reason": x.reason,
        "night": x.night_id,
        "adapter": x.adapter,
        "created_at": x.created_at.isoformat(),
        "events": [
            {"at": e.at.isoformat(), "state": e.state, "reason": e.reason, "night": e.night_id, "adapter": e.adapter}
            for e in x.events
        ],
    }


def adapter(a: Adapter) -> dict[str, Any]:
    """A version, with the exam that decided over it."""
    return {
        "version": a.version,
        "sha256": a.sha256,
        "state": a.state,
        "night": a.night_id,
        "model": a.model_id,
        "created_at": a.created_at.isoformat(),
        "reason": a.reason,
        "scale": a.scale,
        "exam": dict(a.exam),
    }


def night(n: Night, *, report: bool = True) -> dict[str, Any]:
    """How a night stands; with `report`, everything that its report tells, once there is one."""
    return {
        "id": n.id,
        "status": n.status,
        "stage": n.stage,
        "progress": n.progress,
        "detail": n.detail,
        "reasons": list(n.reasons),
        "adapter": n.adapter,
        "created_at": n.created_at.isoformat(),
        "report": _report(Path(n.report)) if report and n.report else None,
    }


def _report(folder: Path) -> Any:
    """None where the night's folder was removed or damaged since."""
    try:
        return json.loads((folder / "report.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
