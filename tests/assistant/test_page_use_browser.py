"""What a conversation may be used for, and what was said of an answer: chosen in the chat, and there when one looks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from assistant import feedback
from assistant.turn import Ask, prepare
from assistant.ui.talk import USES
from memory import testing
from training import lessons

if TYPE_CHECKING:
    from conftest import Site

pytestmark = pytest.mark.browser

ANSWERS = "#conversation [data-testid=bot]"
LIKE, DISLIKE = "button[title='Like'], button[title='Liked']", "button[title='Dislike'], button[title='Disliked']"
SAID_OF_IT = "What you said of this answer"
SEEN = """one => { const { left, right, top, bottom } = one.getBoundingClientRect();
    return one.contains(document.elementFromPoint((left + right) / 2, (top + bottom) / 2)); }"""
"""Whether nothing lies over an element's middle."""


def choose_use(page: Any, name: str) -> None:
    """Say what this chat may be used for."""
    page.click("#use input")
    page.get_by_role("option", name=name, exact=True).click()


def test_a_conversation_is_used_for_what_was_chosen(site: Site) -> None:
    """Chosen before the first word, it holds from the first exchange on, however late the server hears of the choice;
    changed later, at once; a reload shows it.
    Neither recall nor the night has any of a conversation that is for neither.
    """
    page, ledger = site.open(), site.assistant.ledger
    page.wait_for_selector("#use input:enabled")
    late: list[Any] = []
    page.route("**/queue/join*", lambda sent: sent.continue_() if late else late.append(sent))
    choose_use(page, "Neither")
    site.ask(page, "my owl is called Athena", "Athena")
    late[0].continue_()
    ((exchange, _),) = ledger.newest_exchanges(user="local", limit=5)
    assert ledger.use(exchange.conversation_id) == (False, False)
    page.click(LIKE)
    page.locator("#lesson-status").get_by_text("nights leave it out").wait_for()
    page.click("#feedback-cancel")
    assert prepare(site.assistant, Ask("what is my owl called?")).prompt.used == ()
    assert lessons.in_force(ledger) == []
    page.reload()
    page.wait_for_selector(ANSWERS)
    assert page.input_value("#use input") == "Neither"
    choose_use(page, "Remember only")
    site.wait_for(lambda: ledger.use(exchange.conversation_id) == (True, False))
    assert [r.exchange_id for r in prepare(site.assistant, Ask("my owl is called?")).prompt.used] == [exchange.id]
    assert lessons.in_force(ledger) == []
    choose_use(page, "Learn only")
    site.wait_for(lambda: ledger.use(exchange.conversation_id) == USES["train"])
    assert prepare(site.assistant, Ask("what is my owl called?")).prompt.used == ()
    assert [lesson.exchange_id for lesson in lessons.in_force(ledger)] == [exchange.id]
    page.click("#new-chat")
    page.wait_for_selector(ANSWERS, state="detached")
    assert page.input_value("#use input") == "Remember and learn"
    page.click("#temporary-chat")
    page.wait_for_selector("#use", state="detached")


def test_a_thumb_that_is_not_kept_is_none(site: Site) -> None:
    """One in a temporary chat stands only as long as it takes to say that none is kept; one that is refused gives way
    to the one that holds.
    """
    page = site.open()
    page.wait_for_selector("#temporary-chat:enabled")
    page.click("#temporary-chat")
    page.wait_for_selector("#passing")
    site.ask(page, "my owl is called Athena", "Athena")
    page.click("button[title=Dislike]")
    page.get_by_text("Of a temporary chat nothing is kept, and so no rating").wait_for()
    page.wait_for_selector("button[title=Disliked]", state="detached")
    page.click("#new-chat")
    page.wait_for_selector("#passing", state="detached")
    site.ask(page, "how do owls hunt?", "owls")
    page.click("button[title=Like]")
    page.wait_for_selector("#feedback-form")
    page.click("#feedback-cancel")
    (held,) = [exchange for exchange, _ in site.assistant.ledger.newest_exchanges(user="local", limit=5)]
    site.assistant.ledger.read_only = "it is a copy"
    page.click("button[title=Dislike]")
    page.get_by_text("it is a copy").wait_for()
    page.wait_for_selector("button[title=Liked]")
    assert not page.locator("button[title=Disliked]").count()
    assert getattr(site.assistant.ledger.rating(held.id), "value", None) == 1


def test_a_thumb_says_what_it_teaches(site: Site) -> None:
    """One up nothing where the answer was not whole, one down nothing yet; a better answer is a lesson."""
    site.assistant.ledger.add_exchange(testing.exchange("e1", finish_reason="stopped"))
    page = site.open(ready=ANSWERS)
    page.click(LIKE)
    page.locator("#lesson-status").get_by_text("Nothing is learned of it: the answer was not whole").wait_for()
    assert site.assistant.ledger.lessons() == []
    page.click(DISLIKE)
    page.locator("#lesson-status").get_by_text("held: a thumb down alone").wait_for()
    page.fill("#feedback-correction textarea", "Lyon.")
    page.click("#feedback-save")
    page.locator("#lesson-status").get_by_text("queued: waits for the next night").wait_for()


def test_the_form_comes_back_with_what_was_said(site: Site) -> None:
    """After a reload, too; a change of mind keeps comment and better answer, and reasons that go with both thumbs."""
    exchange = site.told("hello")
    feedback.rate(
        site.assistant, exchange.id, -1, reasons=["inaccurate", "other"], comment="be polite", correction="Good day!"
    )
    page = site.open(ready=".ns-tools")
    page.get_by_role("button", name=SAID_OF_IT).click()
    page.wait_for_selector("#feedback-form")
    assert page.input_value("#feedback-correction textarea") == "Good day!"
    comment = page.locator("#feedback-comment").locator("input, textarea")
    assert comment.input_value() == "be polite"
    assert [page.get_by_label(one).is_checked() for one in ("inaccurate", "other", "too long")] == [True, True, False]
    page.get_by_label("too long").check()
    page.click("#feedback-save")
    page.wait_for_selector("#feedback-form", state="detached")
    rating = site.assistant.ledger.rating(exchange.id)
    assert rating is not None
    assert (set(rating.reasons), rating.correction) == ({"inaccurate", "other", "too long"}, "Good day!")
    page.click(LIKE)
    page.get_by_label("well written").wait_for()
    assert page.input_value("#feedback-correction textarea") == "Good day!"
    rating = site.assistant.ledger.rating(exchange.id)
    assert rating is not None
    assert (rating.value, rating.reasons, rating.comment, rating.correction) == (1, ["other"], "be polite", "Good day!")


def test_the_form_leaves_the_answer_in_sight_that_it_is_about(site: Site) -> None:
    """On a low screen, too, where it takes most of it."""
    from playwright.sync_api import expect

    exchange = site.told("hello")
    for n in range(3):
        exchange = site.told(f"{'many words ' * 30}, {n}", exchange)
    page = site.open(ready=".ns-tools", height=700)
    for answer, thumb in ((3, 3), (1, 1)):  # of the thumbs that are not given yet
        page.locator("button[title='Dislike']").nth(thumb).click()
        page.wait_for_selector("#feedback-form")
        expect(page.locator("#conversation .message-buttons-left").nth(answer)).to_be_in_viewport(ratio=1)
        box = page.locator("#conversation .message-buttons-left").nth(answer).bounding_box()
        assert box["y"] + box["height"] <= page.locator("#below").bounding_box()["y"] + 1
        page.click("#feedback-cancel")
        page.wait_for_selector("#feedback-form", state="detached")


def test_a_tab_that_knows_of_no_rating_loses_none_of_it(site: Site) -> None:
    """The same thumb, given once more in a tab that was opened before the first, keeps what was said with it."""
    exchange = site.told("hello")
    page = site.open(ready=ANSWERS)
    assert page.get_by_role("button", name=SAID_OF_IT).count() == 0
    feedback.rate(site.assistant, exchange.id, -1, reasons=["too long"], correction="Hi.")
    page.click(DISLIKE)
    page.wait_for_selector("#feedback-form")
    assert page.input_value("#feedback-correction textarea") == "Hi."
    rating = site.assistant.ledger.rating(exchange.id)
    assert rating is not None
    assert (rating.reasons, rating.correction) == (["too long"], "Hi.")
    assert len(site.assistant.ledger.lessons()) == 1


def test_a_half_written_better_answer_waits_for_who_comes_back_to_it(site: Site) -> None:
    """Another thumb, the other thumb, a new chat, the form closed, a reload: each answer keeps what was half written
    about it, until it is saved or the thumb is taken back.
    """
    from playwright.sync_api import expect

    first = site.told("hello")
    second = site.told("and whales?", first)
    page = site.open(ready=".ns-tools")
    better, forms = page.locator("#feedback-correction textarea"), "sessionStorage.getItem('nightschool forms')"
    page.locator(DISLIKE).first.click()
    page.get_by_label("too long").check()
    better.fill("Good eve")
    page.locator(DISLIKE).last.click()
    expect(page.get_by_text("the answer to “and whales?”")).to_be_visible()
    expect(better).to_have_value("")
    better.fill("In the sea")
    page.get_by_role("button", name=SAID_OF_IT).first.click()
    expect(better).to_have_value("Good eve")
    expect(page.get_by_label("too long")).to_be_checked()
    page.locator(LIKE).first.click()  # a change of mind
    page.get_by_label("well written").wait_for()
    expect(better).to_have_value("Good eve")
    page.click("#new-chat")
    page.wait_for_selector("#feedback-form", state="detached")
    page.goto(f"{site.url}/?c={first.conversation_id}")
    page.wait_for_selector(".ns-tools")
    page.get_by_role("button", name=SAID_OF_IT).last.click()
    expect(better).to_have_value("In the sea")
    page.click("#feedback-cancel")
    page.wait_for_selector("#feedback-form", state="detached")
    page.reload()
    page.wait_for_selector(".ns-tools")
    page.get_by_role("button", name=SAID_OF_IT).last.click()
    expect(better).to_have_value("In the sea")
    page.click("#feedback-save")
    page.wait_for_selector("#feedback-form", state="detached")
    rating = site.assistant.ledger.rating(second.id)
    assert rating is not None
    assert rating.correction == "In the sea"
    assert page.locator(".ns-kept").count() == 0
    site.wait_for(lambda: list(json.loads(page.evaluate(forms))["forms"]) == [f"/ feedback-form {first.id}"])
    page.locator("button[title='Liked']").click()
    page.get_by_text("Rating taken back").wait_for()
    site.wait_for(lambda: page.evaluate(forms) is None)


def test_the_form_is_used_with_keys(site: Site) -> None:
    """A thumb leads into it, Escape back to the thumb, whatever is half written; so do Close and Save."""
    from playwright.sync_api import expect

    site.told("hello")
    page = site.open(ready=".ns-tools")
    page.locator(DISLIKE).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("inaccurate")).to_be_focused()
    page.fill("#feedback-correction textarea", "Good eve")
    page.keyboard.press("Escape")
    page.wait_for_selector("#feedback-form", state="detached")
    expect(page.locator("button[title='Disliked']")).to_be_focused()
    page.get_by_role("button", name=SAID_OF_IT).click()
    expect(page.locator("#feedback-correction textarea")).to_have_value("Good eve")
    page.fill("#feedback-correction textarea", "Good evening!")
    page.click("#feedback-save")
    page.wait_for_selector("#feedback-form", state="detached")
    expect(page.locator("button[title='Disliked']")).to_be_focused()


def test_what_one_asks_is_in_sight_wherever_one_was(site: Site) -> None:
    """Who had scrolled up sees question and answer; who scrolls up while it is written is left there."""
    from playwright.sync_api import expect

    site.engine.script = lambda prompt: "word " * 190
    last = None
    for n in range(5):
        last = site.told(f"question {n}", last)
    page = site.open(ready=".ns-tools")
    log = page.locator("#conversation [role=log]")
    page.wait_for_timeout(500)
    log.hover()
    page.mouse.wheel(0, -600)
    expect(page.get_by_test_id("bot").last).not_to_be_in_viewport()
    site.engine.pause = 0.02
    site.say(page, "and then?")
    expect(page.get_by_test_id("user").get_by_text("and then?")).to_be_in_viewport()
    page.get_by_test_id("bot").filter(has_text="word").nth(5).wait_for()
    page.mouse.wheel(0, -600)
    expect(page.get_by_test_id("user").get_by_text("and then?")).not_to_be_in_viewport()
    place = log.evaluate("log => log.scrollTop")
    page.wait_for_selector("#send")
    assert log.evaluate("log => log.scrollTop") == place


def test_the_question_stands_above_two_answers_to_it(site: Site) -> None:
    """On a slow phone, too, before one of them is chosen; that the second is still being written is said."""
    from playwright.sync_api import expect

    site.publish()
    site.publish()
    site.engine.script = lambda prompt: "word " * 40
    last = None
    for n in range(3):
        last = site.told(f"question {n}", last)
    feedback.rate(site.assistant, last.id, 1)
    page = site.open(ready="#blind", width=375, height=667)
    # So slow that it is told of the first words before it has made the place for them.
    processor = page.context.new_cdp_session(page)
    processor.send("Emulation.setCPUThrottlingRate", {"rate": 8})
    page.reload()
    page.wait_for_selector("#blind")
    page.get_by_role("button", name=SAID_OF_IT).last.click()
    page.click("#feedback-cancel")
    page.wait_for_selector("#lesson-status")
    page.check("#blind input")
    site.engine.go_on.clear()
    site.say(page, "and then? " * 5)
    page.locator("#duel-left").get_by_text("word").wait_for()
    processor.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    expect(page.locator("#duel")).to_contain_text("Two versions answer, one after the other")
    site.engine.go_on.set()
    page.wait_for_selector("#choose-right")
    expect(page.locator("#duel")).to_contain_text("Two versions have answered")
    asked = page.get_by_test_id("user").get_by_text("and then?")
    expect(asked).to_be_in_viewport(ratio=1)
    assert asked.evaluate(SEEN)


def test_nothing_lies_over_the_buttons_of_the_form(site: Site) -> None:
    """On a phone, where it scrolls beneath them."""
    site.told("hello")
    page = site.open(ready=".ns-tools", width=375, height=667)
    page.click(DISLIKE)
    page.wait_for_selector("#feedback-save")
    page.locator("#feedback-reasons input").first.wait_for()
    page.wait_for_timeout(100)
    for name in ("save", "cancel"):
        assert page.locator(f"#feedback-{name}").evaluate(SEEN), name
