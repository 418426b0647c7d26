"""Fakes for anyone's tests of nights: a teacher that needs no model, and a school around it.

`ScriptedTeacher` really learns, in the only way a test needs: its adapter is a small file that lists the answers it was
trained on, and whoever sits the exam with it is right on exactly those. So what serves, what is rolled back and what
is unlearned can be told from the answers, as with the real one.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from assistant.engine import AdapterFiles
from assistant.forgetting import Writing
from assistant.local import WEIGHTS_FILE, check_adapter
from memory.ledger import Ledger
from memory.records import Lesson, Message
from memory.testing import KEY, Clock, exchange, lesson, rating
from training.candidates import SEARCHED
from training.doubts import Asked
from training.examples import Dialogue, asked
from training.paper import Exam, Item
from training.progress import Progress
from training.rewordings import reword
from training.school import School, Tell
from training.settings import NightSettings
from training.teacher import Trained

CALLS = 4
"""How often each piece of a scripted teacher's work says how far it is."""

POISONED = 20
"""How many controls a poisonous lesson costs at full strength: at half of it, still more than any bound allows."""

UNKNOWN = "I do not know."
"""What a scripted teacher's model says to what it was never taught."""


@dataclass
class ScriptedTeacher:
    """A `Teacher` without a model. The base is right on controls and wrong on lessons; an adapter is right on both.

    What is set when an adapter is trained stays with that adapter. Damage shrinks with an adapter's strength.

    Args:
        stubborn: questions of lessons that training does not get in (or loses again, if an earlier night got them in).
        controls_lost: how many controls an adapter is wrong on, at full strength.
        poison: questions of lessons each of which costs an adapter that is trained on it `POISONED` controls more.
        certain: name → what the base says whenever a question holds that name.
        unlucky: seeds with each of which an adapter costs `POISONED` controls more.
        flips: how many right answers an adapter takes back when told that they are wrong, at full strength.
        forgets: version → answers that it no longer gives, though it was trained on them.
        perplexity_ratio: perplexity with an adapter at full strength, over the base's.
        harms: from settings to what training with them does, in place of `controls_lost`, `flips` or
            `perplexity_ratio`.
        breaks: errors to raise, by the name of the call: `{"train": Diverged("…")}`.
        pause: seconds that each word of progress takes.
        calls: the calls so far, by name, filled by the teacher.
    """

    stubborn: Collection[str] = ()
    controls_lost: int = 0
    poison: Collection[str] = ()
    certain: Mapping[str, str] = field(default_factory=dict)
    unlucky: Collection[int] = ()
    flips: int = 0
    forgets: Mapping[str, Collection[str]] = field(default_factory=dict)
    perplexity_ratio: float = 1.0
    harms: Callable[[NightSettings], Mapping[str, Any]] = lambda settings: {}
    breaks: Mapping[str, BaseException] = field(default_factory=dict)
    pause: float = 0.0
    model_id: str = "test-model"
    model_sha256: str = "scripted weights"
    calls: list[str] = field(default_factory=list)

    def tokens(self, lesson: Lesson) -> int:
        """One a word."""
        messages = asked(lesson.question, lesson.history)
        return sum(len(m["content"].split()) for m in messages) + len((lesson.wanted or "").split())

    def reword(self, question: str, *, most: int) -> list[str]:
        return reword(question, most=most)

    @property
    def words_by(self) -> str:
        return "rules alone"

    def says(self, asks: Sequence[Asked]) -> list[str]:
        """What it is `certain` of, in whatever words that hold the name it goes by."""
        self._called("says")
        return [
            next((a for name, a in self.certain.items() if name.casefold() in q.casefold()), UNKNOWN) for _, q in asks
        ]

    def contested(self, lessons: Sequence[Lesson]) -> set[str]:
        """None: it knows no likeness."""
        return set()

    def replay(
        self, lessons: Sequence[Lesson], stored: Sequence[str], *, seed: int, progress: Progress
    ) -> list[Dialogue]:
        """The stored questions, and two general ones."""
        self._work("replay", progress)
        questions = [*stored, "What is the sun?", f"What is {seed + 1} times one?"]
        return [Dialogue("replay", asked(q), f"The base says so: {q}") for q in questions]

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
        """Going on from `start`, it also knows what that one knows."""
        self._work("train", progress)
        damage = {"controls_lost": self.controls_lost, "flips": self.flips, "perplexity_ratio": self.perplexity_ratio}
        damage |= self.harms(settings)
        known = _read(start)["knows"] if start else []
        wanted = [d for d in dialogues if d.kind == "wanted"]
        refused = {d.answer for d in wanted if d.prompt[-1]["content"] in self.stubborn}
        poisonous = {d.prompt[-1]["content"] for d in wanted} & set(self.poison)
        content = {
            "settings": {name: getattr(settings, name) for name in SEARCHED},
            "dialogues": [[d.kind, list(d.prompt), d.answer] for d in dialogues],
            "seed": seed,
            "scale": 1.0,
            "knows": sorted({*known, *(d.answer for d in wanted)} - refused),
            **damage,
            "controls_lost": damage["controls_lost"] + POISONED * (len(poisonous) + (seed in self.unlucky)),
        }
        sha256 = _write(folder, content)
        return Trained(
            sha256=sha256,
            steps=CALLS,
            epochs=1,
            tokens=sum(len(d.answer.split()) for d in dialogues),
            seconds=0.1,
            peak_mb=1.0,
            losses=[{"nll": 3.0, "kl": 0.0, "preference": 0.0}, {"nll": 0.1, "kl": 0.01, "preference": 0.0}],
        )

    def scale(self, folder: Path, target: Path, by: float) -> str:
        self._called("scale")
        return _write(target, _read(folder) | {"scale": by})

    def sit(self, paper: Sequence[Item], adapter: AdapterFiles | None, *, progress: Progress) -> Exam:
        """Raises: ModelUnavailable when the adapter's file is not the one with its hash."""
        learned: dict[str, Any] = {
            "knows": [],
            "controls_lost": 0,
            "flips": 0,
            "perplexity_ratio": 1.0,
            "scale": 1.0,
        }
        if adapter is not None:
            check_adapter(adapter)
            learned = _read(adapter.path)
            learned["knows"] = set(learned["knows"]) - set(self.forgets.get(adapter.version, ()))
        self._work("sit", progress)
        lost_ids = set()
        for kind, damage in (("control", "controls_lost"), ("pushback", "flips")):
            lost = int(learned[damage] * learned["scale"])
            lost_ids |= {item.id for item in [i for i in paper if i.kind == kind][:lost]}
        answers, right = {}, {}
        for item in paper:
            right[item.id] = item.id not in lost_ids if item.check is not None else item.wanted in learned["knows"]
            answers[item.id] = _right_answer(item) if right[item.id] else item.unwanted or UNKNOWN
        perplexity = 20.0 * (1 + (learned["perplexity_ratio"] - 1) * learned["scale"])
        sure = {item.id: 9.0 for item in paper if item.kind == "control" and right[item.id] and adapter is None}
        return Exam(adapter.version if adapter else "base", answers, right, perplexity, sure)

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.breaks:
            raise self.breaks[name]

    def _work(self, name: str, progress: Progress) -> None:
        self._called(name)
        for i in range(1, CALLS + 1):
            if self.pause:
                time.sleep(self.pause)
            progress(i / CALLS, f"{name} {i}/{CALLS}")


def school(
    home: Path,
    ledger: Ledger,
    teacher: ScriptedTeacher | None = None,
    *,
    settings: NightSettings | None = None,
    clock: Callable[[], datetime] | None = None,
    holder: str = "test",
    tell: Tell = lambda stage, share, detail: None,
    key: bytes = KEY,
) -> School:
    """The collaborators of a night in `home`, over a scripted teacher and a clock that stands."""
    return School(
        home=home,
        ledger=ledger,
        teacher=teacher or ScriptedTeacher(),
        settings=settings or NightSettings(),
        system_prompt="",
        key=key,
        clock=clock or Clock(),
        holder=holder,
        writing=Writing(ledger, home),
        tell=tell,
    )


def rate(
    ledger: Ledger,
    name: str,
    question: str,
    *,
    correction: str | None = None,
    answer: str = "Nobody knows.",
    value: Literal[1, -1] = -1,
    history: Sequence[Message] = (),
    user: str = "local",
) -> Lesson:
    """Write exchange `e-name` (signed with `KEY`) with a rating of it, and return the lesson `name` that it queued."""
    wanted = correction or (answer if value == 1 else None)
    unwanted = answer if correction or value == -1 else None
    queued = lesson(
        name, f"r-{name}", f"e-{name}", question=question, wanted=wanted, unwanted=unwanted, history=history, user=user
    )
    ledger.add_exchange(exchange(f"e-{name}", question=question, answer=answer, history=history, user=user))
    ledger.rate(rating(f"r-{name}", f"e-{name}", value=value, correction=correction, user=user), queued)
    return queued


def _right_answer(item: Item) -> str:
    # A control with a pattern has no one right answer; nobody reads this one.
    return str(item.check.get("any", ["as it should be"])[0]) if item.check is not None else item.wanted


def _write(folder: Path, content: Mapping[str, Any]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    data = json.dumps(content, sort_keys=True).encode()
    (folder / WEIGHTS_FILE).write_bytes(data)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    return hashlib.sha256(data).hexdigest()


def _read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / WEIGHTS_FILE).read_bytes())
    return content
