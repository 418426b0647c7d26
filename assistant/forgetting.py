"""Forgetting on request: out of the ledger, the lexicon, the index, the nights' files and caches, and the weights.

The weights forget with the next night, which trains from the base on what is left; until then `still_in_the_weights`
says so. Older versions that were trained on it are deleted at once: a rollback must not bring it back. Copies of the
ledger that an upgrade made beside it are deleted too; backups that somebody made elsewhere are theirs to delete.

Files come first and the ledger last: what a kill interrupts can be asked for again. What the ledger's own log or an
index still holds after it, because others were at them, the ledger knows (`Ledger.unfinished`), and it is removed with
the next look. A night that runs meanwhile writes in turns with it, and begins anew without what is gone (`Writing`).
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from assistant.turn import adapter_folder
from memory.errors import ForgottenMeanwhile, NotFound, NotRemembered
from memory.ledger import Ledger
from memory.records import AdapterState, Forgotten, sign

TELLING = 8
"""Characters from which a text is looked for anywhere in a file: a "Yes." is in every one of them. A shorter one is
looked for as a whole: as a text of its own in JSON, or a cell of a table.
"""
LEFT = ".tmp"
"""How a file ends that is being written: one that is left is of a process that was killed over it."""
WORKING = ("nights/**/*.json", "nights/**/*.txt", f"nights/**/*{LEFT}", "logs/**/*", "page/**/*")
"""Files of the home that work leaves behind, and that may hold a text: they are deleted where they do. Nothing else is
looked at: what somebody said must not delete what is no trace of it.
"""
ANSWERS = "nights/base-answers.json"
"""A cache of what the base says to questions, that of users among them: it goes with anything that was said."""
WEIGHTS = ("trained", "strength-")
"""How folders of adapters begin in a night's: they hold no text, and a night that runs needs them."""
UPLOADS = "page"
ABANDONED = 60.0
"""Seconds after which a file that was sent to the page, and that nothing was made of, belongs to nobody."""
VERDICT = ("status", "night", "adapter", "verdict", "training", "strength", "strengths_examined", "perplexity")
"""What of a report is never a person's text."""
GONE = "(forgotten)"
CELL = 239
"""Characters of a text that a table in a night's report shows at most."""
WHY = "it was trained on what was forgotten since"
LOCK_SECONDS = 20

Remove = Callable[[Sequence[int]], bool]
"""Takes places out of the index; False where it could not be had just now. See `Memory.forget`."""


def forget(
    ledger: Ledger,
    remove: Remove,
    home: Path,
    key: bytes,
    *,
    exchange: str | None = None,
    conversation: str | None = None,
    user: str | None = None,
    everything: bool = False,
    document: str | None = None,
    answers: bool = False,
) -> Forgotten:
    """Forget one exchange, a conversation, a document, all of a user, or everything; returns what is gone. What of it
    could not be removed yet, `ledger.unfinished()` tells.

    Args:
        answers: take along what was answered with it, and what follows it in its dialogue, and what was answered with
            those: they may say it once more.

    Raises:
        NotFound: there is no such thing.
        NotRemembered: the ledger can't be written; nothing is forgotten then but what lay in files.
    """

    def chosen() -> Forgotten:
        return ledger.to_forget(
            exchange=exchange,
            conversation=conversation,
            user=user,
            everything=everything,
            document=document,
            answers=answers,
        )

    def resign(prompt: Sequence[Any], answer: str) -> str:
        return sign(key, prompt, answer)

    gone = left = chosen()
    while left.exchanges or left.documents:
        with _turn(home):
            clean_files(home, left)
            ledger.forget(left, resign)
        # What was said in it between the look and the deed goes too.
        try:
            left = chosen()
        except NotFound:
            break
        gone = gone.plus(left)
    ledger.finish_forgetting(remove)
    withdraw_versions(ledger, home)
    return gone


class Writing:
    """What a night writes of people's words, in turns with what makes them forgotten.

    Begun where a night reads what it is made of; as a context around each file that it writes. Raises
    ForgottenMeanwhile, before anything is written, where something was forgotten in between.
    """

    def __init__(self, ledger: Ledger, home: Path) -> None:
        self._ledger, self._home = ledger, home
        self._since: int | None = None

    def begin(self) -> None:
        """From now on everything that is read is as the ledger has it."""
        self._since = self._ledger.last_forgetting()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with _turn(self._home):
            if self._since is not None and self._ledger.last_forgetting() != self._since:
                raise ForgottenMeanwhile
            yield


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


def sweep_uploads(home: Path, *, older_than: float = ABANDONED, now: Callable[[], float] = time.time) -> None:
    """Delete what was sent to the page so many seconds ago, and was never made anything of: its tab was closed, or the
    process ended.
    """
    for path in sorted((home / UPLOADS).rglob("*"), reverse=True):
        try:
            if path.is_file() and path.stat().st_mtime <= now() - older_than:
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        except OSError:
            # Somebody is just at it.
            continue


def clean_files(home: Path, gone: Forgotten) -> None:
    """Take the texts out of the reports of nights, and delete what else work has left behind with one of them in it."""
    traces = _Traces.of(gone)
    for copy in home.glob("ledger.db*.bak"):
        copy.unlink(missing_ok=True)
    if gone.exchanges:
        (home / ANSWERS).unlink(missing_ok=True)
    for report in home.glob("nights/*/report.json"):
        questions = _clean_report(report, traces)
        _clean_lines(report.with_suffix(".md"), traces, questions)
    for path in _working(home):
        if traces.are_in(path):
            path.unlink(missing_ok=True)
    sweep_uploads(home)


@contextmanager
def _turn(home: Path) -> Iterator[None]:
    """One at a time: forgetting, or a night that writes. Raises: NotRemembered."""
    folder = home / "nights"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=LOCK_SECONDS)
        lock.acquire()
    except Timeout as error:
        raise NotRemembered("another process forgets, or a night writes", to_do="try again") from error
    except OSError as error:
        raise NotRemembered(f"{folder}: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class _Traces:
    """What is looked for: `long` texts anywhere, `short` ones as a whole, and the ids of `lessons`."""

    long: frozenset[str]
    short: frozenset[str]
    lessons: frozenset[str]
    needles: tuple[bytes, ...]

    @classmethod
    def of(cls, gone: Forgotten) -> _Traces:
        long = frozenset(text for text in gone.texts if len(text.strip()) >= TELLING)
        spellings = {needle for text in long for needle in _spellings(text.strip())}
        needles = (*spellings, *(lesson.encode() for lesson in gone.lessons))
        short = frozenset(text.strip() for text in gone.texts - long)
        return cls(long, short, frozenset(gone.lessons), needles)

    def are_in(self, path: Path) -> bool:
        """Whether a file of work holds one of them."""
        try:
            content = path.read_bytes()
        except OSError:
            return False
        if any(needle in content for needle in self.needles):
            return True
        if path.suffix not in (".json", LEFT) or not self.short:
            return False
        try:
            return any(text.strip() in self.short for text in _texts(json.loads(content)))
        except ValueError:
            # Half a file of a process that was killed.
            return True


def _clean_report(path: Path, traces: _Traces) -> set[str]:
    """Take out what is told of these lessons, and every other text; returns the lessons' questions."""
    try:
        report = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        path.unlink(missing_ok=True)
        path.with_suffix(".md").unlink(missing_ok=True)
        return set()
    rows = report.get("questions", [])
    of_it = [row for row in rows if row.get("lesson") in traces.lessons]
    if "questions" in report:
        report["questions"] = [row for row in rows if row.get("lesson") not in traces.lessons]
    if "replay" in report:
        report["replay"] = [GONE if text.strip() in traces.short else text for text in report["replay"]]
    cleaned = {name: value if name in VERDICT else _redacted(value, traces.long) for name, value in report.items()}
    _replace(path, json.dumps(cleaned, ensure_ascii=False, indent=1, sort_keys=True))
    return {str(row["question"]) for row in of_it if row.get("question")}


def _redacted(value: Any, texts: Collection[str]) -> Any:
    if isinstance(value, str):
        return GONE if any(text in value for text in texts) else value
    if isinstance(value, list):
        return [_redacted(one, texts) for one in value]
    if isinstance(value, dict):
        return {name: _redacted(one, texts) for name, one in value.items()}
    return value


def _clean_lines(path: Path, traces: _Traces, questions: set[str]) -> None:
    """Leave out the lines in which one of the texts stands, escaped for Markdown and cut as a table cuts it, and the
    rows of tables that are about one of these questions.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError:
        return
    wanted = [" ".join(text.split())[:200] for text in traces.long]
    asked = {" ".join(text.split())[:CELL] for text in (*questions, *traces.short)}

    def stays(line: str) -> bool:
        told = re.sub(r"\\(.)", r"\1", line)
        cells = [re.sub(r"\\(.)", r"\1", cell).strip() for cell in re.split(r"(?<!\\)\|", line)]
        about = cells[1].removesuffix("…") if len(cells) > 1 else ""
        return not any(text in told for text in wanted) and asked.isdisjoint((about, *about.split("; ")))

    kept = [line for line in lines if stays(line)]
    if len(kept) < len(lines):
        _replace(path, "\n".join(kept) + "\n")


def _working(home: Path) -> Iterator[Path]:
    for pattern in WORKING:
        for path in home.glob(pattern):
            weights = any(part.startswith(WEIGHTS) for part in path.relative_to(home).parts)
            if path.is_file() and path.name != "report.json" and not weights:
                yield path


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


def _spellings(text: str) -> set[bytes]:
    """The text as a file may hold it: plain, or in JSON of either kind."""
    return {
        text.encode(),
        json.dumps(text)[1:-1].encode(),
        json.dumps(text, ensure_ascii=False)[1:-1].encode(),
    }


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}{LEFT}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
