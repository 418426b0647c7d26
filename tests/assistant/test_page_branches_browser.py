"""The chat's tree: answering again in another way, editing, and the way back; comparing blindly; keys and drafts."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from assistant import feedback

if TYPE_CHECKING:
    from conftest import Site
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

ANSWERS = "#conversation [data-testid=bot]"
LIKE = "button[title='Like'], button[title='Liked']"


def tool(page: Any, answer: int, name: str) -> Any:
    """A button beneath one of the answers."""
    return page.locator("#conversation .ns-tools").nth(answer).get_by_role("button", name=name)


def shown(page: Any) -> list[str]:
    """The answers on the page."""
    return list(page.get_by_test_id("bot").all_inner_texts())


def conversation(site: Site) -> list[Any]:
    """All exchanges of the latest conversation."""
    return site.assistant.ledger.conversation(str(site.assistant.ledger.latest_conversation("local")))


def test_an_edited_message_opens_a_branch_and_there_is_a_way_back(site: Site) -> None:
    """The old branch stays as it was, with what followed; Escape takes the editing back."""
    first = site.told("hello")
    site.told("and then?", first)
    page = site.open(ready=".ns-tools")
    tool(page, 0, "Edit the question").click()
    page.get_by_text("You are editing an earlier message").wait_for()
    assert page.input_value("#message textarea") == "hello"
    page.keyboard.press("Escape")
    page.wait_for_selector("#editing", state="detached")
    assert page.input_value("#message textarea") == ""
    tool(page, 0, "Edit the question").click()
    page.wait_for_selector("#editing")
    site.ask(page, "good evening", "good evening")
    assert len(shown(page)) == 1
    assert [e.parent_id for e in conversation(site)] == [None, first.id, None]
    tool(page, 0, "The branch before").click()
    page.get_by_test_id("bot").filter(has_text="and then?").wait_for()
    assert len(shown(page)) == 2
    assert page.locator(".ns-fork").inner_text() == "1 / 2"
    tool(page, 0, "The next branch").click()
    page.get_by_test_id("bot").filter(has_text="good evening").wait_for()


def test_one_answer_at_a_time_is_written_on_a_page(site: Site) -> None:
    """While it is, nothing on the page would change the dialogue, what is asked all the same is refused, and stop ends
    the answer that is there.
    """
    from playwright.sync_api import expect

    first = site.told("uno")
    site.told("uno, otherwise", first)
    site.told("due", first)
    page = site.open(ready=".ns-fork")
    site.engine.pause = 0.05
    site.engine.script = lambda prompt: "slow " * 400
    changing = [tool(page, 0, "Answer again …"), tool(page, 0, "Edit the question"), tool(page, 1, "The branch before")]
    for one in changing:
        expect(one).to_be_visible()
    tool(page, 0, "Answer again …").click()
    site.say(page, "tre")
    page.get_by_test_id("bot").filter(has_text="slow slow").wait_for()
    for one in (*changing, page.get_by_role("menu")):
        expect(one).to_be_hidden()
    asked = len(site.engine.calls)
    page.evaluate("nightschool.onAct('submit', {act: 'again', at: 0, how: 'same'})")
    page.get_by_text("An answer is being written: wait").wait_for()
    for act in ({"act": "edit", "at": 0}, {"act": "branch", "at": 1, "step": -1}):
        page.evaluate("act => nightschool.onAct('select', act)", act)
    page.keyboard.press("Escape")
    page.wait_for_selector("#send")
    assert len(site.engine.calls) == asked
    assert page.get_by_test_id("user").all_inner_texts() == ["uno", "due", "tre"]
    assert page.locator("#editing").count() == 0
    assert [e.finish_reason for e in conversation(site)] == ["stop", "stop", "stop", "stopped"]
    for one in changing:
        expect(one).to_be_visible()


def test_a_message_that_is_being_edited_stays_so_until_it_is_sent(site: Site) -> None:
    """Nothing gives another answer meanwhile, and to show what was said before ends no editing."""
    from playwright.sync_api import expect

    last = None
    for n in range(26):
        last = site.told(f"question {n}", last)
    page = site.open(ready=".ns-tools")
    tool(page, 24, "Edit the question").click()
    page.wait_for_selector("#editing")
    expect(tool(page, 0, "Answer again …")).to_be_hidden()
    expect(page.locator("#regenerate")).to_be_hidden()
    page.click("#earlier")
    page.locator("#earlier").wait_for(state="hidden")
    site.ask(page, "question 25, edited", "question 25, edited")
    assert [e.parent_id for e in conversation(site)][-2:] == [conversation(site)[24].id] * 2


def test_an_answer_is_given_again_in_another_way(site: Site) -> None:
    """Without memory, by yesterday's version, by the base: siblings all, each saying where it comes from."""
    site.publish()
    site.publish()
    site.told("who wrote Emma")
    page = site.open(ready=".ns-tools")
    tool(page, 0, "Where this answer comes from: v2").wait_for()
    for n, (way, version) in enumerate((("Without memory", "v2"), ("With yesterday", "v1"), ("With the base", "base"))):
        tool(page, 0, "Answer again").click()
        page.get_by_role("menuitem", name=way).click()
        page.locator(".ns-fork").get_by_text(f"{n + 2} / {n + 2}").wait_for()
        page.wait_for_selector("#send")
        tool(page, 0, f"Where this answer comes from: {version}").wait_for()
    found = conversation(site)
    assert [e.adapter for e in found] == ["v2", "v2", "v1", "base"]
    assert {e.parent_id for e in found} == {None}
    assert found[1].recollections == []
    tool(page, 0, "Where this answer comes from").click()
    page.locator("#where-from").get_by_text("the base model").wait_for()


def test_a_rating_in_a_long_conversation_hits_the_right_exchange(site: Site) -> None:
    """What is not shown shifts nothing, also when more of it is shown."""
    last, ids = None, []
    for n in range(30):
        last = site.told(f"question {n}", last)
        ids.append(last.id)
    page = site.open(ready=ANSWERS)
    assert len(shown(page)) == 25
    page.locator(LIKE).first.click()
    page.wait_for_selector("#feedback-form")
    assert list(site.assistant.ledger.ratings(ids)) == [ids[5]]
    page.click("#earlier")
    page.get_by_test_id("bot").filter(has_text="question 0").first.wait_for()
    assert page.locator("button[title='Liked']").count() == 1
    page.locator(LIKE).first.click()
    site.wait_for(lambda: ids[0] in site.assistant.ledger.ratings(ids))
    assert set(site.assistant.ledger.ratings(ids)) == {ids[0], ids[5]}


def test_two_tabs_of_one_user_see_each_others_rating(site: Site) -> None:
    """After a reload."""
    exchange = site.told("hello")
    one, other = site.open(ready=ANSWERS), site.open(ready=ANSWERS)
    one.click(LIKE)
    site.wait_for(lambda: site.assistant.ledger.rating(exchange.id))
    other.reload()
    other.wait_for_selector("button[title='Liked']")


def test_two_versions_are_compared_blindly(site: Site) -> None:
    """Nothing says which is which until one is chosen; the choice is two ratings, and the better answer goes on."""
    site.publish()
    site.publish()
    site.engine.script = lambda prompt: f"answer {len(site.engine.calls)}"
    page = site.open(ready="#blind")
    page.check("#blind input")
    site.say(page, "who wrote Emma?")
    page.wait_for_selector("#choose-right")
    assert {call[2] for call in site.engine.calls} == {"v1", "v2"}
    assert "v1" not in page.inner_text("#chat-page")
    better = page.inner_text("#duel-right").strip()
    page.click("#choose-right")
    page.wait_for_selector("#duel", state="detached")
    page.locator("#duel-verdict").get_by_text("You chose v").wait_for()
    assert shown(page) == [better]
    exchanges = conversation(site)
    ratings = site.assistant.ledger.ratings([e.id for e in exchanges])
    assert {e.answer: ratings[e.id].value for e in exchanges}[better] == 1
    assert sorted(rating.value for rating in ratings.values()) == [-1, 1]
    assert all(not e.recollections for e in exchanges)
    page.reload()
    page.wait_for_selector(".ns-fork")
    assert page.is_checked("#blind input")


def test_keys_do_what_they_do_elsewhere(site: Site) -> None:
    """Ctrl+Shift+O is a new chat; Ctrl+K searches, from whichever page; Ctrl+Shift+O leads back to the chat."""
    site.told("hello")
    page = site.open(ready=ANSWERS)
    page.keyboard.press("Control+Shift+KeyO")
    page.wait_for_selector(ANSWERS, state="detached")
    page.keyboard.press("Control+KeyK")
    page.wait_for_selector("#search")
    page.wait_for_selector(".shelf li")
    page.click("h1")
    page.keyboard.press("Control+KeyK")
    assert page.evaluate("document.activeElement.closest('#search') !== null")
    page.keyboard.press("Control+Shift+KeyO")
    page.wait_for_selector("#message textarea")
    assert shown(page) == []


def test_the_menu_of_an_answer_is_used_with_keys(site: Site) -> None:
    """Arrows, Home and End go through it, Escape leads back to its button, and Tab on from there."""
    from playwright.sync_api import expect

    site.told("hello")
    page = site.open(ready=".ns-tools")
    again, items = tool(page, 0, "Answer again …"), page.get_by_role("menuitem")
    again.focus()
    page.keyboard.press("Enter")
    expect(items.first).to_be_focused()
    for key, place in (("ArrowDown", 1), ("ArrowDown", 0), ("ArrowUp", 1), ("Home", 0), ("End", 1)):
        page.keyboard.press(key)
        expect(items.nth(place)).to_be_focused()
    page.keyboard.press("Escape")
    expect(again).to_be_focused()
    expect(page.get_by_role("menu")).to_have_count(0)
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("menu")).to_have_count(0)
    expect(tool(page, 0, "Edit the question")).to_be_focused()


def test_searching_lets_an_answer_go_on(site: Site) -> None:
    """The search opens beside a page on which an answer is being written, or a temporary chat."""
    site.engine.pause = 0.05
    site.engine.script = lambda prompt: " ".join(str(n) for n in range(60))
    page = site.open()
    site.say(page, "count")
    page.get_by_test_id("bot").filter(has_text="0 1 2 3").wait_for()
    with site.context.expect_page() as opened:
        page.keyboard.press("Control+KeyK")
    opened.value.wait_for_selector("#search")
    page.get_by_test_id("bot").filter(has_text="58 59").wait_for()
    site.wait_for(lambda: site.assistant.ledger.count_exchanges() == 1)
    ((exchange, _),) = site.assistant.ledger.newest_exchanges(user="local", limit=1)
    assert exchange.finish_reason == "stop"


def test_what_was_typed_outlives_a_reload(site: Site) -> None:
    """In this tab alone; nothing of it is left once it was answered."""
    page = site.open()
    page.type("#message textarea", "precious words")
    page.reload()
    site.box_says(page, "precious words")
    site.ask(page, page.input_value("#message textarea"), "precious words")
    assert page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])").find("precious") == -1


def test_what_is_typed_while_a_message_is_sent_stays(site: Site) -> None:
    """The box loses what was sent and nothing else; where there is no answer, both are in it."""
    page = site.open()
    site.say(page, "first")
    page.keyboard.type("second")
    page.get_by_test_id("bot").filter(has_text="You asked: first").wait_for()
    page.wait_for_selector("#send")
    assert page.input_value("#message textarea") == "second"

    def broken(prompt: Any) -> str:
        site.wait_for(lambda: page_says_third.is_set())
        raise RuntimeError("out of memory")

    page_says_third, site.engine.script = Event(), broken
    page.press("#message textarea", "Enter")
    page.wait_for_selector("#stop")
    site.box_says(page, "")
    page.keyboard.type("third")
    page_says_third.set()
    page.get_by_text("The answer broke off").wait_for()
    site.box_says(page, "second\nthird")
    page.reload()
    site.box_says(page, "second\nthird")


def test_editing_sets_what_was_typed_aside(site: Site) -> None:
    """It comes back with Escape, and after the edited message was sent; one that fails is still being edited."""
    site.told("hello")
    page = site.open(ready=".ns-tools")
    page.type("#message textarea", "half a thought")
    tool(page, 0, "Edit the question").click()
    page.wait_for_selector("#editing")
    site.box_says(page, "hello")
    page.keyboard.press("Escape")
    page.wait_for_selector("#editing", state="detached")
    site.box_says(page, "half a thought")
    tool(page, 0, "Edit the question").click()
    page.wait_for_selector("#editing")
    site.box_says(page, "hello")
    site.say(page, "  ")
    page.get_by_text("the message is empty").wait_for()
    page.wait_for_selector("#editing")
    site.say(page, "good day")
    page.locator(".ns-fork").get_by_text("2 / 2").wait_for()
    site.box_says(page, "half a thought")


@pytest.mark.parametrize("button", ["#new-chat", "#temporary-chat"])
def test_a_new_chat_ends_editing(site: Site, button: str) -> None:
    """The old question is in the box no more, and what was set aside is again."""
    site.told("hello")
    page = site.open(ready=".ns-tools")
    page.type("#message textarea", "half a thought")
    tool(page, 0, "Edit the question").click()
    page.wait_for_selector("#editing")
    site.box_says(page, "hello")
    page.click(button)
    page.wait_for_selector("#editing", state="detached")
    site.box_says(page, "half a thought")
    if button == "#new-chat":
        page.reload()
        site.box_says(page, "half a thought")


@pytest.mark.parametrize("seen", [True, False])
def test_a_question_that_a_reload_interrupts_is_stored_or_given_back(site: Site, seen: bool) -> None:
    """Stored with what was said by then, it is not in the box, too, even if the page was left before it had `seen` that
    the server took it; forgotten by a server that died, it is.
    """
    site.engine.go_on.clear()
    page = site.open()
    if not seen:
        page.evaluate("nightschool.lay = () => {}")
    site.say(page, "one two three")
    if seen:
        site.box_says(page, "")
    page.get_by_test_id("bot").filter(has_text="You").wait_for()
    kept = page.evaluate("sessionStorage.getItem('nightschool typed')")
    page.goto("about:blank")
    site.wait_for(lambda: site.assistant.ledger.count_exchanges())
    page.goto(site.url)
    page.wait_for_selector(ANSWERS)
    page.wait_for_selector(".ns-tools")
    assert page.input_value("#message textarea") == ""
    other = site.open("/?new")
    other.evaluate("kept => sessionStorage.setItem('nightschool typed', kept)", kept)
    other.reload()
    site.box_says(other, "one two three")


def test_a_reload_amid_the_first_answer_of_a_chat_shows_that_chat(site: Site) -> None:
    """With what was said by then; the box is empty."""
    site.told("another chat")
    site.engine.pause = 0.1
    site.engine.script = lambda prompt: " ".join(str(n) for n in range(600))
    page = site.open("/?new")
    site.say(page, "one two three")
    page.get_by_test_id("bot").filter(has_text="0 1 2").wait_for()
    site.box_says(page, "")
    page.goto("about:blank")
    site.wait_for(lambda: site.assistant.ledger.count_exchanges() == 2)
    page.go_back()
    page.wait_for_selector(".ns-tools")
    assert page.get_by_test_id("user").all_inner_texts() == ["one two three"]
    site.box_says(page, "")


def begun_anew(site: Site, page: Page) -> None:
    """The page comes to a new chat, and what is asked there knows nothing of "one two three"."""
    from playwright.sync_api import expect

    page.wait_for_url(lambda url: url.endswith("?new"))
    expect(page.locator(ANSWERS)).to_have_count(0)
    page.wait_for_selector("#send")
    site.engine.go_on.set()
    site.ask(page, "four", "You asked: four")
    assert page.get_by_test_id("user").all_inner_texts() == ["four"]
    assert "one two three" not in str(site.engine.calls[-1][0])


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("button", ["#new-chat", "#temporary-chat"])
def test_a_new_chat_amid_the_first_answer_is_one(site: Site, button: str, begun: bool) -> None:
    """Also before the server has `begun` it: the answer ends and is kept, with what was said by then, in a conversation
    of its own, and what is said next is not of it.
    """
    site.engine.go_on.clear()
    page = site.open()
    page.wait_for_selector("#new-chat:enabled")
    site.say(page, "one two three")
    if begun:
        page.get_by_test_id("bot").filter(has_text="You").wait_for()
    page.evaluate(f"document.querySelector('{button}').click()")
    while not site.assistant.ledger.count_exchanges():
        page.wait_for_timeout(20)
    begun_anew(site, page)
    kept = [exchange for exchange, _ in site.assistant.ledger.newest_exchanges(user="local", limit=5)]
    assert [e.question for e in kept] == ([] if "temporary" in button else ["four"]) + ["one two three"]
    assert kept[-1].finish_reason == "stopped"
    assert len({e.conversation_id for e in kept}) == len(kept)


def test_a_new_chat_amid_the_first_answer_of_a_temporary_one_is_kept(site: Site) -> None:
    """And nothing of the temporary one."""
    page = site.open()
    page.click("#temporary-chat")
    page.wait_for_selector("#passing")
    site.engine.go_on.clear()
    site.say(page, "one two three")
    page.get_by_test_id("bot").filter(has_text="You").wait_for()
    page.keyboard.press("Control+Shift+KeyO")
    page.wait_for_selector("#passing", state="detached")
    site.engine.go_on.set()
    site.ask(page, "four", "You asked: four")
    assert page.get_by_test_id("user").all_inner_texts() == ["four"]
    assert [e.question for e in conversation(site)] == ["four"]
    assert site.assistant.ledger.count_exchanges() == 1


def test_a_new_chat_says_what_it_waits_for(site: Site) -> None:
    """At once, to those who see the page and those who hear it, until it is there."""
    from playwright.sync_api import expect

    said = Event()
    site.engine.script = lambda prompt: "one" if said.wait(60) else ""
    page = site.open()
    page.wait_for_selector("#new-chat:enabled")
    site.say(page, "one two three")
    page.wait_for_selector("#stop")
    button, told = page.locator("#new-chat"), page.get_by_role("status").and_(page.locator("#ending"))
    expect(told).to_be_empty()
    at_once = button.evaluate(
        "one => { one.click(); return [one.ariaBusy, document.querySelector('#ending').innerText] }"
    )
    assert at_once == ["true", "Ending the answer first…"]
    expect(told).to_be_visible()
    said.set()
    expect(page.locator(ANSWERS)).to_have_count(0)
    expect(told).to_be_empty()
    assert button.get_attribute("aria-busy") is None


def test_a_new_chat_waits_for_what_was_asked_before_something_was_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second question, which is refused while the server has said nothing of the first, is no sign that nothing
    comes of that one: laid out over the new chat it would be gone on with there.
    """
    site.told("hello")
    page = site.open(ready=".ns-tools")
    page.evaluate(
        "() => { const { lay } = nightschool; nightschool.lay = (told) => { lay(told); window.laid = told; } }"
    )
    come, go_on, known = Event(), Event(), site.assistant.ledger.known

    def late(ids: Any) -> Any:
        come.set()
        assert go_on.wait(60)
        return known(ids)

    monkeypatch.setattr(site.assistant.ledger, "known", late)
    site.engine.go_on.clear()
    site.say(page, "one two three")
    site.wait_for(come.is_set)
    page.click("#new-chat")
    page.click("#regenerate")
    while "refused" not in (page.evaluate("window.laid") or ""):
        page.wait_for_timeout(20)
    go_on.set()
    begun_anew(site, page)


def test_a_new_chat_need_not_wait_for_an_answer_that_never_comes(site: Site) -> None:
    """After messages that were refused it is there at once, after one that does not arrive with another press, as it
    says.
    """
    from playwright.sync_api import expect

    site.told("hello")
    page = site.open(ready=".ns-tools")
    for _ in range(2):
        site.say(page, "  ")
        page.get_by_text("the message is empty").wait_for()
        page.get_by_test_id("toast-close").click()
        page.get_by_text("the message is empty").wait_for(state="detached")
    page.click("#new-chat")
    page.wait_for_selector(ANSWERS, state="detached")
    page.goto(site.url)
    page.wait_for_selector(".ns-tools")
    held: list[Any] = []
    page.route("**/queue/join*", lambda route: route.continue_() if held else held.append(route))
    site.say(page, "good day")
    while not held:
        page.wait_for_timeout(20)
    page.click("#new-chat")
    page.locator("#ending").get_by_text("Press again to begin at once").wait_for()
    page.click("#new-chat")
    page.wait_for_selector(ANSWERS, state="detached")
    expect(page.locator("#ending")).to_be_empty()


def test_what_is_asked_before_the_page_is_laid_out_stays_on_it(site: Site) -> None:
    """The box is emptied when the server has taken it, and the layout that comes late leaves it alone."""
    site.told("hello")
    site.publish()
    page = site.open(ready="#blind")
    held: list[Any] = []
    page.route("**/queue/join*", lambda route: route.continue_() if held else held.append(route))
    page.reload()
    page.wait_for_selector("#message textarea")
    while not held:
        page.wait_for_timeout(20)
    site.engine.go_on.clear()
    site.say(page, "one two three")
    page.get_by_test_id("bot").filter(has_text="You").wait_for()
    site.box_says(page, "")
    held[0].continue_()
    page.wait_for_selector("#blind")
    assert page.get_by_test_id("user").all_inner_texts() == ["one two three"]
    site.engine.go_on.set()
    page.wait_for_selector(".ns-tools")
    site.ask(page, "four", "You asked: four")
    assert page.get_by_test_id("user").all_inner_texts() == ["one two three", "four"]


def test_a_question_that_never_arrived_is_given_back(site: Site) -> None:
    """Though the last one that was stored said the same; with what was typed after it was sent."""
    site.told("go on")
    page = site.open(ready=".ns-tools")
    page.route("**/queue/join*", lambda route: route.abort())
    site.say(page, "go on")
    page.keyboard.type(" please")
    page.unroute_all()
    page.reload()
    page.wait_for_selector(".ns-tools")
    site.box_says(page, "go on please")


def test_a_reload_shows_the_branch_that_was_on_the_page(site: Site) -> None:
    """With the draft that belongs to it; so do a search hit, a restart and a new log-in, which go by the address. The
    exchange that was looked for is in sight, however long its branch is.
    """
    from playwright.sync_api import expect

    first = site.told("alpha")
    last = first
    for n in range(30):
        last = site.told(f"beta {n}", last)
    site.told("gamma", first)
    page = site.open(ready=".ns-fork")
    tool(page, 1, "The branch before").click()
    page.get_by_test_id("bot").filter(has_text="beta 29").wait_for()
    page.fill("#message textarea", "after beta 29")
    page.reload()
    page.get_by_test_id("bot").filter(has_text="beta 29").wait_for()
    site.box_says(page, "after beta 29")
    assert page.url.endswith(f"?c={first.conversation_id}&at={last.id}")
    site.ask(page, "after beta 29", "You asked: after beta 29")
    assert conversation(site)[-1].parent_id == last.id

    page.goto(f"{site.url}/history")
    page.fill("#search :is(input, textarea)", "gamma")
    page.locator(".shelf .found", has_text="gamma").wait_for()
    page.click(".shelf .title")
    page.get_by_test_id("bot").filter(has_text="gamma").wait_for()
    page.goto(f"{site.url}/history")
    page.fill("#search :is(input, textarea)", "beta 2")
    page.locator(".shelf .found", has_text="beta 2").wait_for()
    page.goto(f"{site.url}/?c={first.conversation_id}&at={conversation(site)[3].id}")
    expect(page.get_by_test_id("user").get_by_text("beta 2", exact=True)).to_be_in_viewport()
    page.wait_for_timeout(500)
    expect(page.get_by_test_id("user").get_by_text("beta 2", exact=True)).to_be_in_viewport()
    page.goto(f"{site.url}/?c={first.conversation_id}&at=nobody's")
    page.get_by_test_id("bot").filter(has_text="after beta 29").wait_for()


def test_a_rating_survives_answering_again_and_another_branch(site: Site) -> None:
    """Each answer of a fork has its own thumb."""
    exchange = site.told("hello")
    feedback.rate(site.assistant, exchange.id, 1)
    page = site.open(ready="button[title='Liked']")
    page.click("#regenerate")
    page.locator(".ns-fork").get_by_text("2 / 2").wait_for()
    page.wait_for_selector("button[title='Liked']", state="detached")
    page.wait_for_selector("#send")
    tool(page, 0, "The branch before").click()
    page.wait_for_selector("button[title='Liked']")
