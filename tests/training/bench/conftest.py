"""What tests of benches share: two tiny streams, a model that knows what it was taught, and products around it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from assistant import testing
from assistant.engine import AdapterFiles
from assistant.local import WEIGHTS_FILE
from memory.ledger import Ledger
from memory.records import Message
from memory.testing import Clock
from training.bench import Product, compare, plots
from training.settings import NightSettings, Settings
from training.testing import ScriptedTeacher, school

UNKNOWN = "I do not know."


def item(name: str, split: str, session: int, question: str, answer: str, *paraphrases: str) -> dict[str, Any]:
    """One line of a stream. Its answer's last word is what a right answer holds."""
    check = {"kind": "contains", "any": [answer.split()[-1].strip(".")]}
    stream = name.split("-")[0]
    fields = {"id": name, "stream": stream, "session": session, "split": split, "question": question}
    return fields | {"answer": answer, "check": check, "paraphrases": list(paraphrases)}


TREES = [
    item("trees-1", "teach", 1, "Who planted our oak?", "That was Ada.", "Who planted our oak once?"),
    item("trees-2", "teach", 1, "When did lightning strike?", "It happened in 1987."),
    item("trees-3", "teach", 2, "Which fruit grows here?", "These are medlars.", "Name that fruit, please."),
    item("trees-4", "control", 0, "Are leaves green?", "Yes, green."),
    item("trees-5", "control", 0, "Is bark blue?", "No, brown."),
    item("trees-6", "probe", 1, "Who planted the oak?", "It was Ada."),
]
STARS = [item("stars-1", "teach", 7, "How far is Vega?", "About 25 lightyears.")]

KNOWN = {"Are leaves green?": "Of course they are green."}
"""What the base is right about."""


@dataclass
class Model(testing.ScriptedEngine):
    """Answers from what stands in the prompt, then from its adapter, then from what it `knows` by itself."""

    knows: dict[str, str] = field(default_factory=lambda: dict(KNOWN))

    def complete(
        self, prompts: Sequence[Sequence[Message]], *, max_tokens: int, adapter: AdapterFiles | None
    ) -> Iterator[tuple[int, str]]:
        known = dict(self.knows)
        if adapter is not None:
            learned = json.loads((adapter.path / WEIGHTS_FILE).read_bytes())
            known |= {
                asked[-1]["content"]: answer
                for kind, asked, answer in learned["dialogues"]
                if kind == "wanted" and answer in learned["knows"]
            }

        def answer(prompt: Sequence[Message]) -> str:
            *recalled, question = prompt[-1]["content"].removesuffix("\n\nSay so.").split("\n\n")
            if question.startswith("The answer is: "):
                return question.removeprefix("The answer is: ")
            return recalled[-1].partition("? ")[2] if recalled else known.get(question, UNKNOWN)

        self.script = answer
        yield from super().complete(prompts, max_tokens=max_tokens, adapter=adapter)


@dataclass
class World:
    """A folder with two streams, and how to bench them. What is set on it bears on products that are built next.

    `built` is called with each new product, and may wreck it.
    """

    folder: Path
    engine: Model = field(default_factory=Model)
    teacher: ScriptedTeacher = field(default_factory=ScriptedTeacher)
    settings: Settings = field(default_factory=Settings)
    built: Callable[[Product], None] = lambda product: None
    builds: int = 0

    def stream(self, name: str, items: Sequence[dict[str, Any]]) -> Path:
        """Write a stream's file."""
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in items))
        return path

    @property
    def streams(self) -> list[Path]:
        return [self.stream("trees", TREES), self.stream("stars", STARS)]

    def build(self, home: Path, night: NightSettings) -> Product:
        self.builds += 1
        clock = Clock()
        ledger = Ledger.open(home / "ledger.db")
        assistant = testing.assistant(home, engine=self.engine, ledger=ledger, clock=clock)
        assistant = replace(assistant, new_id=lambda: uuid4().hex)
        product = Product(assistant, school(home, ledger, self.teacher, settings=night, clock=clock))
        self.built(product)
        return product

    def bench(self, out: Path, **more: Any) -> dict[str, Any]:
        """A bench of both streams, of the arm `joint`, unless said otherwise."""
        streams = more.pop("streams", None) or self.streams
        about = {"arms": "joint", "settings": self.settings, "model_id": "test-model", "model_sha256": "scripted"}
        return compare(streams, out=out, build=self.build, **about | more)


@pytest.fixture
def drawing(tmp_path: Path) -> World:
    """Nothing benched yet."""
    return World(tmp_path)


@pytest.fixture
def world(drawing: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The same, whose benches draw no plots: they take a second each, and `test_report.py` looks at them."""
    monkeypatch.setattr(plots, "draw", lambda results, folder: None)
    return drawing


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The results of a bench that nothing cut off."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plots, "draw", lambda results, folder: None)
        folder = tmp_path_factory.mktemp("whole")
        World(folder).bench(folder / "whole")
    return (folder / "whole" / "results.json").read_bytes()
