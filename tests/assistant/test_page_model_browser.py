"""The page's main path on the real model, as a person walks it: once, from the first word to the exported file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from assistant.local import LocalEngine
from assistant.turn import adapter_folder
from training.bench.speed import random_adapter

if TYPE_CHECKING:
    from conftest import Site

pytestmark = [pytest.mark.model, pytest.mark.browser]

ANSWERS = "#conversation [data-testid=bot]"


def tool(page: Any, name: str) -> None:
    """Press a button beneath the last answer."""
    page.locator("#conversation .ns-tools").last.get_by_role("button", name=name).click()


def test_the_main_path(real: Site) -> None:
    """It streams, stops, answers again, is edited, goes back, is rated, found and taken along; and nothing leaves."""
    ledger, engine = real.assistant.ledger, real.engine
    assert isinstance(engine, LocalEngine)
    page = real.open(patience=60)

    real.say(page, "Write a long story about a lighthouse keeper and her cat.")
    real.wait_for(lambda: len(page.locator(ANSWERS).inner_text()) > 20, seconds=60)
    assert engine._lock.locked()
    seen, pressed = page.inner_text(ANSWERS), real.processor_time()
    page.keyboard.press("Escape")
    real.wait_for(lambda: not engine._lock.locked())
    stopped = real.processor_time() - pressed
    assert stopped < 0.5, f"the engine was free after {stopped:.2f} s of computing"
    page.wait_for_selector("#send")
    ((partial, _),) = ledger.newest_exchanges(user="local", limit=5)
    assert partial.finish_reason == "stopped"
    assert partial.answer.startswith(seen.split("\n")[0][:20])

    ledger.choose("", {"answer_tokens": 16})
    page.click("#regenerate")
    page.locator(".ns-fork").get_by_text("2 / 2").wait_for()
    page.wait_for_selector("#send")
    tool(page, "Edit the question")
    page.wait_for_selector("#editing")
    real.say(page, "What is the capital of Turkey?")
    page.locator(".ns-fork").get_by_text("3 / 3").wait_for()
    page.wait_for_selector("#send")
    tool(page, "The branch before")
    page.locator(".ns-fork").get_by_text("2 / 3").wait_for()
    tool(page, "The next branch")
    page.locator(".ns-fork").get_by_text("3 / 3").wait_for()

    page.click("button[title='Dislike']")
    page.wait_for_selector("#feedback-form")
    page.fill("#feedback-correction textarea", "The capital of Turkey is Ankara.")
    page.click("#feedback-save")
    page.wait_for_selector("#feedback-form", state="detached")
    page.locator("#lesson-status").get_by_text("waits for the next night").wait_for()
    story, again, edited = ledger.conversation(partial.conversation_id)
    assert (story.parent_id, again.parent_id, edited.parent_id) == (None, None, None)
    rating = ledger.rating(edited.id)
    assert rating is not None
    assert (rating.value, rating.correction) == (-1, "The capital of Turkey is Ankara.")

    page.click("#new-chat")
    page.wait_for_selector(ANSWERS, state="detached")
    real.say(page, "Tell me the capital of Turkey, please.")
    page.wait_for_selector(ANSWERS)
    page.wait_for_selector("#send")
    page.locator("#where-from button").first.click()
    page.locator("#where-from li").get_by_text("What is the capital of Turkey?").wait_for()

    page.goto(f"{real.url}/history")
    page.fill("#search :is(input, textarea)", "lighthouse")
    page.wait_for_selector("#conversations .found")
    with page.expect_download() as download:
        page.locator("#conversations li").filter(has_text="lighthouse").get_by_text("JSON").click()
    exported = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert [e["id"] for e in exported["exchanges"]] == [story.id, again.id, edited.id]
    assert real.strays == []
    assert real.dialogs == []


def publish(real: Site, folder: Path, seed: int) -> str:
    """The next version, of weights that are noise."""
    engine: Any = real.engine
    made = random_adapter(engine, folder, seed=seed)
    version = real.publish(sha256=made.sha256, model_id=engine.model_id)
    shutil.copytree(made.path, adapter_folder(real.assistant.settings.home, version), dirs_exist_ok=True)
    return version


def test_versions_answer_again_and_are_compared_blindly(real: Site, tmp_path: Path) -> None:
    """Three versions of real weights, each with its own answer, the chosen one of which goes on."""
    ledger = real.assistant.ledger
    ledger.choose("", {"answer_tokens": 24})
    assert [publish(real, tmp_path / f"noise{seed}", seed) for seed in (1, 2)] == ["v1", "v2"]
    page = real.open(patience=60)
    real.say(page, "What is a lighthouse for?")
    page.wait_for_selector(ANSWERS)
    page.wait_for_selector("#send")
    for n, way in enumerate(("Without memory", "With yesterday", "With the base"), 2):
        tool(page, "Answer again")
        page.get_by_role("menuitem", name=way).click()
        page.locator(".ns-fork").get_by_text(f"{n} / {n}").wait_for()
        page.wait_for_selector("#send")
    ((newest, _), *_) = ledger.newest_exchanges(user="local", limit=1)
    siblings = ledger.conversation(newest.conversation_id)
    assert [exchange.adapter for exchange in siblings] == ["v2", "v2", "v1", "base"]
    plain, unaided, before, base = (exchange.answer for exchange in siblings)
    assert plain == unaided
    assert len({plain, before, base}) == 3

    page.check("#blind input")
    real.say(page, "And who lives in it?")
    page.wait_for_selector("#choose-left")
    assert not {"v1", "v2"} & set(page.inner_text("#duel").split())
    better = page.inner_text("#duel-left").strip()
    page.click("#choose-left")
    page.locator("#duel-verdict").get_by_text("You chose v").wait_for()
    both = ledger.conversation(newest.conversation_id)[len(siblings) :]
    ratings = ledger.ratings([exchange.id for exchange in both])
    assert {exchange.adapter for exchange in both} == {"v1", "v2"}
    assert sorted(rating.value for rating in ratings.values()) == [-1, 1]
    (chosen,) = (exchange for exchange in both if ratings[exchange.id].value == 1)
    assert chosen.answer.split()[:3] == better.split()[:3]
    assert real.strays == []
