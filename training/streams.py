"""Streams: simulated users as files, one question a line, with the check that decides their thumb.

A line that can't be used is refused when the file is read, with its number and the reason: a bench runs for hours, and
must not find out then.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from memory.errors import BadInput
from memory.scrubbing import is_blank
from training import checks

SPLITS = ("teach", "probe", "control")

NAME_CHARS = 200
"""Longest id of an item, and name of a stream: they name conversations, columns and files."""


@dataclass(frozen=True, slots=True)
class StreamItem:
    """One question of a stream. `teach` items are rated on their day (`session`); `probe` and `control` items are only
    asked, and `control` items must stay as they were.
    """

    id: str
    stream: str
    session: int
    split: Literal["teach", "probe", "control"]
    question: str
    answer: str
    check: Mapping[str, Any]
    paraphrases: tuple[str, ...] = ()

    def right(self, answer: str) -> bool:
        """Whether its check passes. Raises: BadInput for a pattern that does not come to an end."""
        try:
            return checks.passes(self.check, answer)
        except TimeoutError as error:
            raise BadInput(
                f"the item {self.id} of {self.stream} can't be judged: its pattern was still looking through"
                f" {answer[:60]!r} after {checks.PATTERN_SECONDS:g} s; let no repetition hold another one"
            ) from error

    def has_nothing_better(self, answer: str) -> bool:
        """Whether the user would write what `answer` says already, as it is seen: that is no correction, though the
        check is too narrow for it.
        """
        wanted, said = (unicodedata.normalize("NFC", text.strip()) for text in (self.answer, answer))
        return wanted == said


def read(path: Path, *, longest: float = math.inf) -> list[StreamItem]:
    """The items of a stream's file.

    Args:
        longest: characters of a question, a wording or an answer; longer ones a user could not send.

    Raises: BadInput naming the file, and the line that can't be used with the reason.
    """
    return read_all([path], longest=longest)


def read_all(paths: Sequence[Path], *, longest: float = math.inf) -> list[StreamItem]:
    """The items of several files, one after another; an id may stand in only one of them.

    Args and raises as `read`.
    """
    items: list[StreamItem] = []
    found: dict[str, str] = {}
    twice = [path for place, path in enumerate(paths) if path.resolve() in {p.resolve() for p in paths[:place]}]
    if twice:
        raise BadInput(f"the stream {twice[0]} is named twice")
    for path in paths:
        before = len(items)
        for number, line in enumerate(_lines(path), start=1):
            if not line.strip():
                continue
            try:
                item = _item(line, longest)
                if item.id in found:
                    raise ValueError(f"the id {item.id!r} stands in {found[item.id]} already")
            except (ValueError, RecursionError) as error:
                raise BadInput(f"{path.name}, line {number}, is no item of a stream: {error}") from error
            found[item.id] = f"{path.name}, line {number},"
            items.append(item)
        if len(items) == before:
            raise BadInput(f"the stream {path} is empty: it must hold one item a line")
    return items


def shipped() -> list[StreamItem]:
    """Five facts that the embedded model gets wrong, and ten that it gets right."""
    with resources.as_file(resources.files("training").joinpath("data/five.jsonl")) as path:
        return read(path)


def _lines(path: Path) -> list[str]:
    try:
        # Not splitlines(): JSON texts may hold line separators that are none of the file's.
        return path.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the stream {path} can't be read: {error}") from error


def _item(line: str, longest: float) -> StreamItem:
    """Raises: ValueError with the reason."""
    row = _row(line)
    known = {field.name: field.default is MISSING for field in fields(StreamItem)}
    for name in row:
        if name not in known:
            raise ValueError(f"unknown field {name[:40]!r}: the fields are {', '.join(known)}")
    missing = [name for name, needed in known.items() if needed and name not in row]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    _check_texts(row, longest)
    if row["split"] not in SPLITS:
        raise ValueError(f"split is {repr(row['split'])[:60]}: it must be one of {', '.join(SPLITS)}")
    first = 1 if row["split"] == "teach" else 0
    if type(row["session"]) is not int or row["session"] < first:
        raise ValueError(
            f"session is {repr(row['session'])[:60]}: the day of a {row['split']} item is a whole number from {first}"
        )
    checks.validate(row["check"], longest=longest)
    return StreamItem(**row | {"paraphrases": tuple(row.get("paraphrases", ()))})


def _row(line: str) -> dict[str, Any]:
    """Raises: ValueError."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        # Its own words count lines, too, of which there is only this one.
        raise ValueError(f"{error.msg} at character {error.colno}") from error
    if not isinstance(row, dict):
        raise ValueError("an item is a JSON object")
    # Halves of surrogate pairs, which JSON can spell and no file can hold.
    json.dumps(row, ensure_ascii=False).encode()
    return row


def _check_texts(row: Mapping[str, Any], longest: float) -> None:
    """What is asked and answered must be what a user can send. Raises: ValueError."""
    for name in ("id", "stream", "question", "answer"):
        if not isinstance(row[name], str) or is_blank(row[name]):
            raise ValueError(f"{name} is {repr(row[name])[:60]}: it must be a text")
    wordings = row.get("paraphrases", [])
    if not isinstance(wordings, list) or not all(isinstance(w, str) and not is_blank(w) for w in wordings):
        raise ValueError(f"paraphrases is {repr(wordings)[:60]}: it must be a list of texts")
    names = [(name, row[name], NAME_CHARS) for name in ("id", "stream")]
    said = [("question", row["question"]), ("answer", row["answer"]), *(("a paraphrase", w) for w in wordings)]
    for name, text, most in [*names, *((name, text, longest) for name, text in said)]:
        if len(text) > most:
            raise ValueError(f"{name} has {len(text):,} characters: the most is {most:,}")
