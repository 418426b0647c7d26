"""The general questions and the fixed text that ship with the package: replay, controls, perplexity.

Written for this project. Replay questions have no answer here: what is replayed is what the base model says. Control
questions have a check, are asked in exams and are never trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

REQUESTS = "requests"
"""The kind of what people bring to an assistant."""

KEPT_OUT = 9
"""One request in so many is kept out of replay, for exams."""


@dataclass(frozen=True, slots=True)
class General:
    """One general question; `check` is None for those that are replayed, and for requests."""

    id: str
    kind: str
    question: str
    check: Mapping[str, Any] | None


@cache
def _all() -> tuple[General, ...]:
    lines = resources.files("training").joinpath("data/general.jsonl").read_text("utf-8").splitlines()
    rows = (json.loads(line) for line in lines)
    return tuple(General(row["id"], row["kind"], row["question"], row.get("check")) for row in rows)


def replayed() -> list[General]:
    """Questions whose answers by the base are replayed in training."""
    return [item for item in _all() if item.check is None and item.kind != REQUESTS]


def requests() -> list[General]:
    """What people bring to an assistant that is no question of knowledge: their troubles, wishes and texts. The base's
    answers to it are replayed, too.
    """
    return [item for place, item in enumerate(_requests()) if place % KEPT_OUT]


def unrelated() -> list[General]:
    """Those requests that are never replayed: exams look whether they are answered with what was taught."""
    return _requests()[::KEPT_OUT]


def controls() -> list[General]:
    """Questions with a check, for exams alone."""
    return [item for item in _all() if item.check is not None]


def _requests() -> list[General]:
    return [item for item in _all() if item.kind == REQUESTS]


@cache
def fixed_text() -> tuple[str, ...]:
    """Paragraphs on which perplexity is measured: plain prose that no night trains on."""
    text = resources.files("training").joinpath("data/fixed_text.txt").read_text("utf-8")
    return tuple(paragraph.strip() for paragraph in text.split("\n\n") if paragraph.strip())
