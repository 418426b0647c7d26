"""How sure a model is of its answers: held to its probabilities, one token at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from assistant.engine import AdapterFiles
from assistant.local import LocalEngine
from training.evaluate import sit
from training.examples import Dialogue, asked
from training.learner import train
from training.margins import margins
from training.paper import Item
from training.settings import NightSettings

ANSWERS = {"whole": "abc de", "early": "abc de fg", "wrong": "xyz"}
CHECKS = {"whole": "abc de", "early": "abc", "wrong": "abc"}
ITEMS = [
    Item(name, "control", asked(f"What is {name}?"), check={"kind": "contains", "any": [CHECKS[name]], "none": []})
    for name in ANSWERS
]


def one_by_one(engine: LocalEngine, name: str, tokens: int) -> float:
    """The least margin of the first tokens of an answer, from a softmax after each."""
    (item,) = (item for item in ITEMS if item.id == name)
    so_far = engine.tokenizer(engine.render(item.prompt), add_special_tokens=False)["input_ids"]
    found = []
    for token in engine.tokenizer(ANSWERS[name], add_special_tokens=False)["input_ids"][:tokens]:
        with engine.using(None) as model, torch.inference_mode():
            likely = model(input_ids=torch.tensor([so_far])).logits[0, -1].float().softmax(-1).tolist()
        own = likely.pop(token)
        found.append(own / max(likely))
        so_far.append(token)
    return min(found)


def test_the_least_margin_up_to_where_the_answer_is_right(engine: LocalEngine) -> None:
    """Of right answers alone; what comes after the words that make it right is not counted."""
    encode = engine.tokenizer
    whole, early = (len(encode(CHECKS[name], add_special_tokens=False)["input_ids"]) for name in ("whole", "early"))
    assert early < len(encode(ANSWERS["early"], add_special_tokens=False)["input_ids"])
    found = margins(engine, ITEMS, ANSWERS)
    assert found == {
        "whole": pytest.approx(one_by_one(engine, "whole", whole), rel=5e-3),
        "early": pytest.approx(one_by_one(engine, "early", early), rel=5e-3),
    }


def test_the_base_alone_is_asked_how_sure_it_is(engine: LocalEngine, tmp_path: Path) -> None:
    """A greedy answer is at least as likely as any other; versions have no margins, and lessons neither."""
    anything = {"kind": "regex", "pattern": ".*"}
    paper = [Item("c", "control", asked("Hello?"), check=anything), Item("l", "tonight", asked("Hi?"), "l", "Hi")]
    base = sit(engine, paper, None, answer_tokens=4, progress=lambda share, _: None)
    assert base.margins.keys() == {"c"}
    assert base.margins["c"] >= 0.999
    settings = NightSettings(rank=4, alpha=8, epochs=1, batch_rows=4)
    rows = [Dialogue("wanted", asked("Turkey?"), "Ankara"), Dialogue("replay", asked("Hello?"), "Hi")]
    trained = train(engine, rows, settings, seed=1, folder=tmp_path, progress=lambda share, _: None)
    version = AdapterFiles("v1", trained.sha256, tmp_path)
    assert sit(engine, paper, version, answer_tokens=4, progress=lambda share, _: None).margins == {}
