"""Forgetting on request: out of the ledger, the lexicon, the index, the nights' files and caches, and the weights.

The weights forget with the next night, which trains from the base on what is left; until then `still_in_the_weights`
says so. Older versions that were trained on it are deleted at once: a rollback must not bring it back. Copies of the
ledger that an upgrade made beside it are deleted too; backups that somebody made elsewhere are theirs to delete.

Files come first and the ledger last: what a kill interrupts can be asked for again.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from assistant.turn import adapter_folder
from memory.ledger import Ledger
from memory.places import Part, place
from memory.recall import Memory
from memory.records import AdapterState, Forgotten, sign

TELLING = 8
"""Characters from which a text is looked for in files: a "Yes." is in every one of them."""
WORKING = ("nights/**/*.json", "nights/**/*.txt", "logs/**/*", "page/**/*")
"""Files of the home that work leaves behind, and that may hold a text: they are deleted where they do. Nothing else is
looked at: what somebody said must not delete what is no trace of it.
"""
WEIGHTS = ("trained", "strength-")
"""How folders of adapters begin in a night's: they hold no text, and a night that runs needs them."""
VERDICT = ("status", "night", "adapter", "verdict", "training", "strength", "strengths_examined", "perplexity")
"""What of a report is never a person's text."""
GONE = "(forgotten)"
WHY = "it was trained on what was forgotten since"


def forget(
    ledger: Ledger,
    memory: Callable[[], Memory],
    home: Path,
    key: bytes,
    *,
    exchange: str | None = None,
    conversation: str | None = None,
    user: str | None = None,
    everything: bool = False,
    document: str | None = None,
) -> Forgotten:
    """Forget one exchange, a conversation, a document, all of a user, or everything; returns what is gone.

    Raises:
        NotFound: there is no such thing.
        NotRemembered: the ledger can't be written; nothing is forgotten then but what lay in files.
    """
    gone = ledger.to_forget(
        exchange=exchange, conversation=conversation, user=user, everything=everything, document=document
    )
    clean_files(home, gone)
    places = [place(seq, part) for seq in gone.seqs for part in (Part.QUESTION, Part.ROUND)]
    places += [place(seq, Part.PASSAGE) for seq in gone.passages]
    if places:
        memory().forget(places)

    def resign(prompt: Sequence[Any], answer: str) -> str:
        return sign(key, prompt, answer)

    ledger.forget(gone, resign, user=user, everything=everything, document=document)
    withdraw_versions(ledger, home)
    return gone


def still_in_the_weights(ledger: Ledger) -> int:
    """Lessons that the version which serves was trained on, and that the ledger no longer knows."""
    active = ledger.active_adapter()
    if active is None:
        return 0
    trained = set(active.exam.get("lessons", ()))
    return len(trained - ledger.lesson_states(trained).keys())


def withdraw_versions(ledger: Ledger, home: Path) -> list[str]:
    """Delete the versions that do not serve and were trained on what the ledger no longer knows."""
    adapters = ledger.adapters()
    trained = {adapter.version: set(adapter.exam.get("lessons", ())) for adapter in adapters}
    known = ledger.lesson_states(set().union(*trained.values())).keys()
    withdrawn = []
    for adapter in adapters:
        if adapter.state is not AdapterState.ACTIVE and not trained[adapter.version] <= known:
            shutil.rmtree(adapter_folder(home, adapter.version), ignore_errors=True)
            if adapter.reason != WHY:
                ledger.withdraw_adapter(adapter.version, WHY)
            withdrawn.append(adapter.version)
    return withdrawn


def clean_files(home: Path, gone: Forgotten) -> None:
    """Take the texts out of the reports of nights, and delete what else work has left behind with one of them in it."""
    texts = {text for text in gone.texts if len(text) >= TELLING}
    for report in home.glob("nights/*/report.json"):
        texts |= _clean_report(report, gone)
    needles = [needle for text in texts for needle in _spellings(text)]
    for copy in home.glob("ledger.db*.bak"):
        copy.unlink(missing_ok=True)
    for told in home.glob("nights/*/report.md"):
        _clean_lines(told, texts)
    for path in _working(home):
        if _holds(path, needles):
            path.unlink(missing_ok=True)


def _clean_report(path: Path, gone: Forgotten) -> set[str]:
    """Take out what is told of these lessons; returns every text that stood there, for the report that people read."""
    try:
        report = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        path.unlink(missing_ok=True)
        return set()
    lessons, found = set(gone.lessons), set[str]()
    kept = []
    for row in report.get("questions", []):
        if row.get("lesson") in lessons:
            found |= {str(row[name]) for name in ("question", "wanted", "before", "after") if row.get(name)}
        else:
            kept.append(row)
    if "questions" in report:
        report["questions"] = kept
    found = {text for text in found if len(text) >= TELLING}
    texts = found | {text for text in gone.texts if len(text) >= TELLING}
    report = {name: value if name in VERDICT else _redacted(value, texts) for name, value in report.items()}
    _replace(path, json.dumps(report, ensure_ascii=False, indent=1, sort_keys=True))
    return found


def _redacted(value: Any, texts: set[str]) -> Any:
    if isinstance(value, str):
        return GONE if any(text in value for text in texts) else value
    if isinstance(value, list):
        return [_redacted(one, texts) for one in value]
    if isinstance(value, dict):
        return {name: _redacted(one, texts) for name, one in value.items()}
    return value


def _clean_lines(path: Path, texts: set[str]) -> None:
    """Leave out the lines in which one of the texts stands, escaped for Markdown and cut as a table cuts it."""
    wanted = [" ".join(text.split())[:200] for text in texts]
    lines = path.read_text("utf-8").splitlines()
    kept = [line for line in lines if not any(text in re.sub(r"\\(.)", r"\1", line) for text in wanted)]
    if len(kept) < len(lines):
        _replace(path, "\n".join(kept) + "\n")


def _working(home: Path) -> Iterator[Path]:
    for pattern in WORKING:
        for path in home.glob(pattern):
            weights = any(part.startswith(WEIGHTS) for part in path.relative_to(home).parts)
            if path.is_file() and path.name != "report.json" and not weights:
                yield path


def _holds(path: Path, needles: Sequence[bytes]) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return any(needle in content for needle in needles)


def _spellings(text: str) -> set[bytes]:
    """The text as a file may hold it: plain, or in JSON of either kind."""
    return {
        text.encode(),
        json.dumps(text)[1:-1].encode(),
        json.dumps(text, ensure_ascii=False)[1:-1].encode(),
    }


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
