"""A teacher that makes do with the memory there is: it takes the card over from the day, and then makes steps smaller.

Whether the day must let go is measured: what a night needed before is compared with what is free now, and where nothing
is known it is tried. Out of memory ends no night before both have been tried, and never a chat.
"""

from __future__ import annotations

import gc
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from assistant import takeover
from assistant.engine import AdapterFiles
from memory.ledger import Ledger
from memory.records import Lesson
from training.doubts import Asked
from training.examples import Dialogue
from training.paper import Exam, Item
from training.progress import Progress
from training.settings import NightSettings
from training.teacher import Teacher, Trained

log = logging.getLogger(__name__)

T = TypeVar("T")

LETS_GO_WITHIN = 180.0
"""Seconds in which a day that runs has finished its answers and let go; one that does not run never says so."""

MARGIN = 1.1
"""Of what a night needed before: as much again and a tenth must be free to share the card."""


@dataclass
class Card:
    """The night's side of sharing a card. `take` does it once; `give_back` undoes it and is called however it ends."""

    ledger: Ledger
    clock: Callable[[], datetime]
    sleep: Callable[[float], None] = time.sleep
    within: float = LETS_GO_WITHIN
    taken: bool = False

    def take(self) -> bool:
        """Ask the day to let go, and wait until it has; False where that was done before, or no night runs."""
        lease = self.ledger.lease()
        if self.taken or lease is None:
            return False
        self.taken = True
        takeover.want(self.ledger, lease.night_id)
        waited = 0.0
        while not takeover.is_free(self.ledger, lease.night_id) and waited < self.within:
            self.sleep(0.2)
            waited += 0.2
        return True

    def give_back(self) -> None:
        if self.taken:
            takeover.give_back(self.ledger)


@dataclass
class RoomyTeacher:
    """A `Teacher` around another one.

    Args:
        card: how the day is asked to let go.
        how: `share` never asks it, `take` always does, `auto` where memory does not suffice.
        needs_mb: what a night needed before, and `free_mb`, what is free now; None: not known.
    """

    teacher: Teacher
    card: Card
    how: str
    needs_mb: Callable[[], float | None] = lambda: None
    free_mb: Callable[[], float | None] = lambda: None
    _looked: bool = field(default=False, init=False)

    @property
    def model_id(self) -> str:
        return self.teacher.model_id

    @property
    def model_sha256(self) -> str:
        return self.teacher.model_sha256

    def tokens(self, lesson: Lesson) -> int:
        return self._within_memory(lambda: self.teacher.tokens(lesson))

    def reword(self, question: str, *, most: int) -> list[str]:
        return self._within_memory(lambda: self.teacher.reword(question, most=most))

    @property
    def words_by(self) -> str:
        return self.teacher.words_by

    def says(self, asks: Sequence[Asked]) -> list[str]:
        return self._within_memory(lambda: self.teacher.says(asks))

    def contested(self, lessons: Sequence[Lesson]) -> set[str]:
        return self._within_memory(lambda: self.teacher.contested(lessons))

    def replay(
        self, lessons: Sequence[Lesson], stored: Sequence[str], *, seed: int, progress: Progress
    ) -> list[Dialogue]:
        return self._within_memory(lambda: self.teacher.replay(lessons, stored, seed=seed, progress=progress))

    def train(
        self,
        dialogues: Sequence[Dialogue],
        settings: NightSettings,
        *,
        seed: int,
        folder: Path,
        progress: Progress,
        start: Path | None = None,
    ) -> Trained:
        """See `Teacher.train`. Steps have half the rows after each time that memory did not suffice, down to one."""
        rows = settings.batch_rows

        def train() -> Trained:
            smaller = settings.model_copy(update={"batch_rows": rows})
            return self.teacher.train(dialogues, smaller, seed=seed, folder=folder, progress=progress, start=start)

        def halve() -> bool:
            nonlocal rows
            if rows == 1:
                return False
            rows //= 2
            log.warning("out of memory: %d rows a step from now on", rows)
            progress(0.0, f"out of memory: again with {rows} rows a step")
            return True

        return self._within_memory(train, halve)

    def scale(self, folder: Path, target: Path, by: float) -> str:
        return self.teacher.scale(folder, target, by)

    def sit(self, paper: Sequence[Item], adapter: AdapterFiles | None, *, progress: Progress) -> Exam:
        return self._within_memory(lambda: self.teacher.sit(paper, adapter, progress=progress))

    def _within_memory(self, work: Callable[[], T], smaller: Callable[[], bool] = lambda: False) -> T:
        if not self._looked:
            self._looked = True
            if self.how == "take" or (self.how == "auto" and self._too_little()):
                self.card.take()
        while True:
            try:
                return work()
            except Exception as error:
                # Of any class: libraries raise their own, and what they say tells; all others go on.
                if not out_of_memory(error):
                    raise
                again = (self.how != "share" and self.card.take()) or smaller()
                if not again:
                    raise
            # Outside of the handler, which holds what the failed step had computed.
            _collect()

    def _too_little(self) -> bool:
        needs, free = self.needs_mb(), self.free_mb()
        return needs is not None and free is not None and needs * MARGIN > free


def out_of_memory(error: BaseException) -> bool:
    """Whether that is what an error says, of a card or of the machine."""
    text = str(error).lower()
    words = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
    told = any(each in text for each in words)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and told)


def needed_before(ledger: Ledger) -> float | None:
    """MB that the last night with a training needed at most, as its report has it."""
    for night in ledger.nights(limit=10):
        try:
            report = json.loads(Path(night.report or "", "report.json").read_text("utf-8"))
            return float(report["training"]["peak_mb"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def free_on_card() -> float | None:
    """MB that are free on the GPU now; None without one."""
    import torch

    return torch.cuda.mem_get_info()[0] / 1e6 if torch.cuda.is_available() else None


def _collect() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
