"""Streams: simulated users as files, one question a line, with the check that decides their thumb."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from memory.errors import BadInput
from training import checks


@dataclass(frozen=True, slots=True)
class StreamItem:
    """One question of a stream. `teach` items are rated on their day; `control` items must stay as they were."""

    id: str
    stream: str
    session: int
    split: Literal["teach", "probe", "control"]
    question: str
    answer: str
    check: Mapping[str, Any]
    paraphrases: tuple[str, ...] = ()

    def right(self, answer: str) -> bool:
        return checks.passes(self.check, answer)


def read(path: Path) -> list[StreamItem]:
    """The items of a stream's file.

    Raises: BadInput naming the file, or the line that can't be read.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the stream {path} can't be read: {error}") from error
    items = []
    for number, line in enumerate(lines, start=1):
        try:
            row = dict(json.loads(line))
            items.append(StreamItem(**row | {"paraphrases": tuple(row.get("paraphrases", ()))}))
        except (ValueError, TypeError) as error:
            raise BadInput(f"{path.name}, line {number}, is no item of a stream: {error}") from error
    return items


def shipped() -> list[StreamItem]:
    """Five facts that the embedded model gets wrong, and ten that it gets right."""
    with resources.as_file(resources.files("training").joinpath("data/five.jsonl")) as path:
        return read(path)
