"""Log-likelihoods of continuations: held to what the model says of each whole text, one at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from assistant.engine import AdapterFiles
from assistant.local import LocalEngine
from training import likelihood
from training.examples import Dialogue, asked
from training.learner import train
from training.likelihood import log_likelihoods
from training.settings import NightSettings

ASKED = [
    ("Question: to open a jar\nAnswer:", (" turn the lid, firmly", " sing")),
    ("Is it?\nAnswer:", (" no", " yes")),
    ("A long text of which nobody knows what it is about, but it goes on. Is it?\nAnswer:", (" n", " y")),
    ("Q", (" one of them", " the other one of them")),
]


def one_by_one(engine: LocalEngine, adapter: AdapterFiles | None) -> list[list[float]]:
    """The same by whole rows: no batch, no cache, no padding."""
    found = []
    for text, choices in ASKED:
        start = len(engine.tokenizer(text)["input_ids"])
        likely = []
        for choice in choices:
            ids = engine.tokenizer(text + choice, return_tensors="pt")["input_ids"]
            with engine.using(adapter) as model, torch.inference_mode():
                told = model(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
            likely.append(told.gather(1, ids[0, 1:, None])[start - 1 :].sum().item())
        found.append(likely)
    return found


@pytest.mark.parametrize("tokens", [1, 100, 1024])
def test_as_whole_rows(engine: LocalEngine, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever shares a batch, a text and its choices give the numbers that each whole row gives alone."""
    monkeypatch.setattr(likelihood, "TOKENS", tokens)
    told: list[float] = []
    found = log_likelihoods(engine, ASKED, None, progress=lambda share, _: told.append(share))
    for mine, expected in zip(found, one_by_one(engine, None), strict=True):
        assert mine == pytest.approx(expected, abs=1e-3)
    assert told == sorted(told)
    assert told[-1] == 1
    assert len(told) == {1: 4, 100: 3, 1024: 1}[tokens]


def test_with_an_adapter(engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured of a version is that version, and the base is left as it was. No hub is asked for anything."""
    looked_up: list[str] = []
    monkeypatch.setattr("socket.getaddrinfo", lambda host, *_, **__: looked_up.append(host))
    base = log_likelihoods(engine, ASKED, None, progress=lambda share, _: None)
    settings = NightSettings(rank=4, alpha=8, learning_rate=5e-3, epochs=2, batch_rows=4)
    rows = [Dialogue("wanted", asked("Turkey?"), "Ankara"), Dialogue("replay", asked("Hello?"), "Hi")]
    trained = train(engine, rows, settings, seed=1, folder=tmp_path, progress=lambda share, _: None)
    adapter = AdapterFiles("v1", trained.sha256, tmp_path)
    found = log_likelihoods(engine, ASKED, adapter, progress=lambda share, _: None)
    for mine, expected in zip(found, one_by_one(engine, adapter), strict=True):
        assert mine == pytest.approx(expected, abs=1e-3)
    assert found[0] != pytest.approx(base[0], abs=0.1)
    assert log_likelihoods(engine, ASKED, None, progress=lambda share, _: None) == base
    assert looked_up == []
