"""The seam between a night and the model that it trains: the `Teacher` protocol, and the real one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from assistant.engine import AdapterFiles
from assistant.local import LocalEngine
from memory.embedder import Embedder
from memory.errors import NightschoolError
from memory.records import Lesson
from training.contested import contested
from training.dictionary import Dictionary
from training.doubts import Asked
from training.examples import Dialogue, asked, lesson_tokens
from training.paper import Exam, Item
from training.progress import Progress
from training.rewordings import reword
from training.settings import NightSettings

REQUESTS = 2
"""Requests an epoch for each lesson, up to as many as the settings say: few lessons leak little."""


class Diverged(NightschoolError):
    """The loss is no longer a number; nothing of this adapter is usable."""


@dataclass(frozen=True)
class Trained:
    """What training left behind.

    `losses` holds the terms of each step by name: `nll` and `kl` in nats a token, `preference` a mean over answers or
    pairs, 0 where there is none. `weights` are of the users whose answers weigh less than 1, see `training.shares`.
    `tokens` went through the model, what rows share counted once a pack; `peak_mb` is the
    process's.
    """

    sha256: str
    steps: int
    epochs: int
    tokens: int
    seconds: float
    peak_mb: float
    losses: list[dict[str, float]]
    weights: dict[str, float] = field(default_factory=dict)


class Teacher(Protocol):
    """Everything of a night that needs the model."""

    @property
    def model_id(self) -> str: ...

    @property
    def model_sha256(self) -> str:
        """What the outcome of a night depends on, of the model."""
        ...

    def tokens(self, lesson: Lesson) -> int:
        """Of the lesson's prompt and wanted answer."""
        ...

    def reword(self, question: str, *, most: int) -> list[str]:
        """Up to `most` other wordings of the question, see `training.rewordings`; always the same."""
        ...

    @property
    def words_by(self) -> str:
        """What its wordings depend on beside the question."""
        ...

    def says(self, asks: Sequence[Asked]) -> list[str]:
        """What the base says to each question after its dialogue, in order, as far as a replayed answer goes."""
        ...

    def contested(self, lessons: Sequence[Lesson]) -> set[str]:
        """Ids of liked answers to what is asked much as a correction is, see `training.contested`."""
        ...

    def replay(
        self, lessons: Sequence[Lesson], stored: Sequence[str], *, seed: int, progress: Progress
    ) -> list[Dialogue]:
        """Rows that hold the model where it is; `stored` are questions of earlier dialogues."""
        ...

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
        """A fresh adapter in `folder`, or one that goes on from the adapter in `start`. Raises: Diverged."""
        ...

    def scale(self, folder: Path, target: Path, by: float) -> str:
        """Write the adapter of `folder`, `by` times as strong, to `target`; returns the sha256 of its weights."""
        ...

    def sit(self, paper: Sequence[Item], adapter: AdapterFiles | None, *, progress: Progress) -> Exam:
        """Answer the paper with `adapter` on (None: the base)."""
        ...


@dataclass(frozen=True)
class LocalTeacher:
    """The real teacher: trains and examines on the engine that serves, with its NF4 weights.

    Args:
        settings: of replay and exams; each training brings its own.
        cache: file of the base's own answers to replayed questions.
        writing: the context in which it is written.
    """

    engine: LocalEngine
    embedder: Callable[[], Embedder]
    settings: NightSettings
    system_prompt: str
    cache: Path
    writing: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def model_id(self) -> str:
        return self.engine.model_id

    @property
    def model_sha256(self) -> str:
        return self.engine.files.sha256

    def tokens(self, lesson: Lesson) -> int:
        return lesson_tokens(self.engine, lesson, self.system_prompt)

    def reword(self, question: str, *, most: int) -> list[str]:
        return reword(question, most=most, explained=self._explained(question))

    @property
    def words_by(self) -> str:
        return self.embedder().name

    def says(self, asks: Sequence[Asked]) -> list[str]:
        from training.replay import base_answers

        prompts = [asked(question, history, self.system_prompt) for history, question in asks]
        return base_answers(self.engine, prompts, self.settings.replay_tokens, cache=self.cache, writing=self.writing)

    def contested(self, lessons: Sequence[Lesson]) -> set[str]:
        return contested(lessons, self.embedder())

    @cached_property
    def _explained(self) -> Dictionary:
        return Dictionary(self.embedder)

    def replay(
        self, lessons: Sequence[Lesson], stored: Sequence[str], *, seed: int, progress: Progress
    ) -> list[Dialogue]:
        from training.replay import replay

        return replay(
            self.engine,
            self.embedder(),
            lessons,
            stored,
            rows=self.settings.replay_rows,
            neighbour_rows=self.settings.neighbour_rows,
            request_rows=min(self.settings.request_rows, REQUESTS * len(lessons)),
            written_rows=_written_rows(len(lessons), self.settings),
            turns=min(self.settings.replay_turns, self.settings.epochs),
            neighbour_turns=_neighbour_turns(len(lessons), self.settings),
            answer_tokens=self.settings.replay_tokens,
            written_tokens=self.settings.written_tokens,
            system=self.system_prompt,
            seed=seed,
            cache=self.cache,
            writing=self.writing,
            progress=progress,
            reword=self.reword,
        )

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
        from training.learner import train

        return train(self.engine, dialogues, settings, seed=seed, folder=folder, progress=progress, start=start)

    def scale(self, folder: Path, target: Path, by: float) -> str:
        from training.learner import scale

        return scale(folder, target, by)

    def sit(self, paper: Sequence[Item], adapter: AdapterFiles | None, *, progress: Progress) -> Exam:
        from training.evaluate import sit

        return sit(self.engine, paper, adapter, answer_tokens=self.settings.answer_tokens, progress=progress)


def _neighbour_turns(lessons: int, settings: NightSettings) -> int:
    """Of neighbours, in a night of so many lessons; no more than there are epochs, or some would never be heard."""
    of_so_many = settings.neighbour_turns * settings.neighbour_turns_lessons // max(1, lessons)
    return max(1, min(settings.neighbour_turns, settings.epochs, of_so_many))


def _written_rows(lessons: int, settings: NightSettings) -> int:
    """Of what the base writes of its own accord, in each epoch of a night of so many lessons."""
    return min(settings.written_rows, -(-lessons // settings.written_lessons))
