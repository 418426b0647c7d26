"""The page as people use it, in a real Chromium over a real server and a scripted engine."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from assistant import feedback
from assistant.local import WEIGHTS_FILE
from assistant.turn import Answered, Ask, adapter_folder, turn
from memory import testing
from memory.records import Exchange, LessonEvent, LessonState, NightStatus

if TYPE_CHECKING:
    from conftest import Site

pytestmark = pytest.mark.browser

LIKE, DISLIKE = "button[title='Like'], button[title='Liked']", "button[title='Dislike'], button[title='Disliked']"
ANSWERS = "#conversation [data-testid=bot]"


def say(page: Any, text: str) -> None:
    """Type a message and press Enter."""
    page.fill("#message textarea", text)
    page.press("#message textarea", "Enter")


def ask(page: Any, text: str, answer: str) -> None:
    """Say something and wait for the whole answer."""
    say(page, text)
    page.get_by_test_id("bot").filter(has_text=answer).last.wait_for()
    page.wait_for_selector("#send")


def exchanges(site: Site) -> list[Exchange]:
    """What the latest conversation holds."""
    latest = site.assistant.ledger.latest_conversation("local")
    return site.assistant.ledger.conversation(latest) if latest else []


def told(site: Site, question: str, parent: Exchange | None = None) -> Exchange:
    """A turn that went by before the page was opened."""
    place = (parent.conversation_id, parent.id) if parent else (None, None)
    last = list(turn(site.assistant, Ask(question, *place)))[-1]
    assert isinstance(last, Answered)
    return last.exchange


def test_enter_streams_an_answer(site: Site) -> None:
    """Words appear while the engine still speaks, and nothing jumps meanwhile; at the end the exchange is in the ledger
    and the box is empty.
    """
    site.engine.go_on.clear()
    page = site.open()
    places = [page.locator(one).bounding_box() for one in ("#composer", "#tools")]
    say(page, "one two three four five six seven eight")
    page.get_by_test_id("bot").filter(has_text="You").wait_for()
    assert "eight" not in page.inner_text(ANSWERS)
    page.wait_for_selector("#stop")
    assert [page.locator(one).bounding_box() for one in ("#composer", "#tools")] == places
    site.engine.go_on.set()
    page.get_by_test_id("bot").filter(has_text="eight").wait_for()
    page.wait_for_selector("#send")
    assert [e.answer for e in exchanges(site)] == ["You asked: one two three four five six seven eight"]
    assert page.input_value("#message textarea") == ""
    ask(page, "nine", "nine")
    first, _ = exchanges(site)
    assert site.untitled == [(first.conversation_id, first.question)]


def test_shift_enter_is_a_new_line_and_the_button_sends(site: Site) -> None:
    """A message may have several lines."""
    page = site.open()
    page.fill("#message textarea", "first")
    page.press("#message textarea", "Shift+Enter")
    page.type("#message textarea", "second")
    page.click("#send")
    page.get_by_test_id("bot").filter(has_text="second").wait_for()
    assert exchanges(site)[0].question == "first\nsecond"


def test_a_second_message_follows_the_first(site: Site) -> None:
    """The next exchange is a child of the last, in the same conversation, with the dialogue in its history."""
    page = site.open()
    ask(page, "hello", "You asked: hello")
    ask(page, "again", "You asked: again")
    first, second = exchanges(site)
    assert second.parent_id == first.id
    assert [m["content"] for m in second.history] == ["hello", "You asked: hello"]


def test_stop_keeps_the_partial_answer(site: Site) -> None:
    """Half a second of computing after Escape the engine is free, and what was said is shown and stored."""
    site.engine.pause = 0.05
    site.engine.script = lambda prompt: " ".join(str(n) for n in range(400))
    page = site.open()
    say(page, "count")
    page.get_by_test_id("bot").filter(has_text="0 1 2 3").wait_for()
    pressed = site.processor_time()
    page.keyboard.press("Escape")
    site.wait_for(lambda: exchanges(site))
    assert site.processor_time() - pressed < 0.5
    page.wait_for_selector("#send")
    (exchange,) = exchanges(site)
    assert exchange.finish_reason == "stopped"
    assert page.inner_text(ANSWERS).strip() == exchange.answer


def test_leaving_stops_the_answer(site: Site) -> None:
    """A browser that goes away does not leave the engine talking, and what was said comes back with the next visit."""
    site.engine.pause = 0.05
    site.engine.script = lambda prompt: " ".join(str(n) for n in range(400))
    page = site.open()
    say(page, "count")
    page.get_by_test_id("bot").filter(has_text="0 1 2 3").wait_for()
    page.close()
    site.wait_for(lambda: exchanges(site))
    (exchange,) = exchanges(site)
    assert exchange.finish_reason == "stopped"
    assert site.open(ready=ANSWERS).inner_text(ANSWERS).startswith("0 1 2 3")


def test_regenerate_makes_a_sibling(site: Site) -> None:
    """Answering again leaves the first answer in the ledger, beside the new one, and shows the new one without a
    thumb.
    """
    answers = iter(["one answer", "another answer"])
    first = told(site, "hello")
    site.engine.script = lambda prompt: next(answers)
    page = site.open(ready=ANSWERS)
    ask(page, "and now?", "one answer")
    page.locator(LIKE).last.click()
    page.wait_for_selector("#feedback-form")
    page.click("#regenerate")
    page.get_by_test_id("bot").filter(has_text="another answer").wait_for()
    page.wait_for_selector("#send")
    _, second, third = exchanges(site)
    assert (second.parent_id, third.parent_id) == (first.id, first.id)
    assert third.question == "and now?"
    assert page.locator("button[title='Liked']").count() == 0


def test_new_chat_opens_a_conversation(site: Site) -> None:
    """What follows has no parent and no history."""
    told(site, "hello")
    page = site.open(ready=ANSWERS)
    page.click("#new-chat")
    page.wait_for_selector(ANSWERS, state="detached")
    ask(page, "fresh", "You asked: fresh")
    (exchange,) = exchanges(site)
    assert exchange.parent_id is None
    assert exchange.history == []


def test_a_correction_becomes_a_lesson(site: Site) -> None:
    """Thumb down opens the form; saving it leaves rating and queued lesson in the ledger, and the page says so."""
    exchange = told(site, "hello")
    page = site.open(ready=ANSWERS)
    page.click(DISLIKE)
    page.wait_for_selector("#feedback-form")
    rating = site.assistant.ledger.rating(exchange.id)
    assert rating is not None
    assert rating.value == -1
    page.get_by_label("inaccurate").check()
    page.fill("#feedback-correction textarea", "Good evening!")
    page.locator("#feedback-comment").locator("input, textarea").fill("be polite")
    page.click("#feedback-save")
    page.wait_for_selector("#feedback-form", state="detached")
    rating = site.assistant.ledger.rating(exchange.id)
    assert rating is not None
    assert (rating.reasons, rating.correction, rating.comment) == (["inaccurate"], "Good evening!", "be polite")
    (lesson,) = site.assistant.ledger.lessons(states=[LessonState.QUEUED])
    assert (lesson.wanted, lesson.unwanted) == ("Good evening!", "You asked: hello")
    assert page.inner_text("#lesson-status").strip() == "queued: waits for the next night"


def test_closing_the_form_keeps_the_bare_thumb(site: Site) -> None:
    """The thumb counts at once; the form only adds to it."""
    exchange = told(site, "hello")
    page = site.open(ready=ANSWERS)
    page.click(LIKE)
    page.wait_for_selector("#feedback-form")
    assert page.get_by_label("well written").count() == 1
    page.click("#feedback-cancel")
    page.wait_for_selector("#feedback-form", state="detached")
    rating = site.assistant.ledger.rating(exchange.id)
    assert rating is not None
    assert (rating.value, rating.reasons, rating.correction) == (1, [], None)


def test_a_correction_that_changes_nothing_keeps_the_form_open(site: Site) -> None:
    """The mistake is told in one line and what was typed stays."""
    told(site, "hello")
    page = site.open(ready=ANSWERS)
    page.click(DISLIKE)
    page.fill("#feedback-correction textarea", "You asked: hello")
    page.click("#feedback-save")
    page.get_by_text("the correction is the answer itself").wait_for()
    assert page.input_value("#feedback-correction textarea") == "You asked: hello"


def test_taking_a_like_back_is_no_dislike(site: Site) -> None:
    """A second click on the same thumb leaves no rating, and the lesson is undone."""
    exchange = told(site, "hello")
    page = site.open(ready=ANSWERS)
    page.click(LIKE)
    page.wait_for_selector("#feedback-form")
    page.wait_for_timeout(600)  # longer than a double click
    page.click(LIKE)
    page.get_by_text("Rating taken back").wait_for()
    assert site.assistant.ledger.rating(exchange.id) is None
    assert [lesson.state for lesson in site.assistant.ledger.lessons()] == [LessonState.UNDONE]


def test_a_double_click_is_one_rating(site: Site) -> None:
    """Who double-clicks a thumb means it once."""
    exchange = told(site, "hello")
    page = site.open(ready=ANSWERS)
    page.dblclick(LIKE)
    page.wait_for_selector("#feedback-form")
    page.wait_for_timeout(300)
    rating = site.assistant.ledger.rating(exchange.id)
    assert rating is not None
    assert rating.value == 1
    assert len(site.assistant.ledger.lessons()) == 1
    assert page.locator("button[title='Liked']").count() == 1


def test_a_reload_keeps_conversation_and_thumbs(site: Site) -> None:
    """The newest branch comes back with each thumb beside its own answer, and the talk goes on from there."""
    first = told(site, "hello")
    told(site, "dead end", first)
    second = told(site, "how are you?", first)
    feedback.rate(site.assistant, second.id, -1)
    page = site.open(ready=ANSWERS)
    page.reload()
    page.wait_for_selector(ANSWERS)
    assert page.get_by_test_id("bot").all_inner_texts() == ["You asked: hello", "You asked: how are you?"]
    assert page.locator("button[title='Disliked']").count() == 1
    ask(page, "fine?", "You asked: fine?")
    assert exchanges(site)[-1].parent_id == second.id
    assert page.locator("button[title='Disliked']").count() == 1


def test_an_empty_message_says_one_line(site: Site) -> None:
    """Nothing is sent, nothing is lost, and the page says why."""
    page = site.open()
    page.fill("#message textarea", "   ")
    page.click("#send")
    page.get_by_text("the message is empty").wait_for()
    assert page.input_value("#message textarea") == "   "
    assert site.engine.calls == []


def test_an_engine_that_breaks_loses_no_text(site: Site) -> None:
    """After an error that nobody foresaw the question is back in its box, and asking again works."""

    def broken(prompt: Any) -> str:
        raise RuntimeError("out of memory")

    script, site.engine.script = site.engine.script, broken
    page = site.open()
    say(page, "precious words")
    page.get_by_text("The answer broke off").wait_for()
    assert page.input_value("#message textarea") == "precious words"
    site.engine.script = script
    page.press("#message textarea", "Enter")
    page.get_by_test_id("bot").filter(has_text="precious words").wait_for()


def test_a_ledger_that_cant_be_written_is_told_and_stays_told(site: Site) -> None:
    """The answer comes all the same; a banner says that it is not remembered, and it can't be rated."""
    site.assistant.ledger.read_only = "the disk is full"
    page = site.open()
    page.wait_for_selector("#banner")
    ask(page, "hello", "You asked: hello")
    assert "nothing is being remembered: the disk is full" in page.inner_text("#banner")
    page.click(LIKE)
    page.get_by_text("not in the ledger").wait_for()
    site.assistant.ledger.read_only = None
    ask(page, "and now?", "You asked: and now?")
    page.wait_for_selector("#banner", state="detached")
    (exchange,) = exchanges(site)
    assert exchange.parent_id is None
    assert len(exchange.history) == 2


def test_nothing_that_is_written_runs(site: Site) -> None:
    """Neither a message nor an answer can bring a script, and no image of theirs phones home."""
    evil = (
        "<img src=x onerror=alert(1)><script>alert(2)</script> ![x](http://example.com/x.png) [y](javascript:alert(3))"
    )
    site.engine.script = lambda prompt: evil
    page = site.open()
    ask(page, f"<b>hello</b> {evil}", "alert(2)")
    page.wait_for_timeout(200)
    assert page.locator("#conversation .message [onerror], #conversation .message script").count() == 0
    assert page.locator("#conversation a[href^='javascript']").count() == 0
    assert "<b>hello</b>" in page.get_by_test_id("user").inner_text()
    # The fixture fails on a request that left the browser, and on a dialog.


@pytest.mark.parametrize("before", ["", "- see\n\n  ", "> ", "$$x$$\n\n"])
def test_a_diagram_is_no_way_to_bring_forms(site: Site, before: str) -> None:
    """Gradio would draw it, with labels of HTML: it is shown as it was written."""
    drawn = ["graph TD", "A[\"<form action='/logout' method=post><button>Read more</button></form>\"]"]
    lines = ["```mermaid", *drawn, "```"]
    inside = "> " if before == "> " else "  " if before.startswith("-") else ""
    site.engine.script = lambda prompt: before + f"\n{inside}".join(lines)
    page = site.open()
    ask(page, "draw", "graph TD")
    page.wait_for_timeout(300)
    answer = page.get_by_test_id("bot").last
    assert answer.locator("form, svg.flowchart, .mermaid").count() == 0
    assert "<form action='/logout'" in answer.inner_text()


def test_formulas_are_set_and_code_is_copied(site: Site) -> None:
    """LaTeX as formulas, in each of its delimiters; code with colours and a button that copies it as it was written."""
    code = "print('<b>')\nx = 1 < 2"
    site.engine.script = lambda prompt: f"$$x^2$$ and \\(y_1\\) and \\[z\\]\n\n```python\n{code}\n```"
    site.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = site.open()
    ask(page, "hello", "print")
    page.locator("#conversation .katex").nth(2).wait_for()
    assert page.locator("#conversation pre .token").count() > 2
    page.click("#conversation .copy_code_button")
    site.wait_for(lambda: page.evaluate("navigator.clipboard.readText()").strip() == code)


def test_an_address_between_angle_brackets_links_there(site: Site) -> None:
    """And is shown and copied as it was written, in questions, too."""
    written = "see <https://a.example/x?y=1>, or <http://b.example>."
    site.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = site.open()
    ask(page, written, "You asked: see")
    for one in ("user", "bot"):
        said = page.get_by_test_id(one)
        links = said.get_by_role("link")
        assert [link.get_attribute("href") for link in links.all()] == ["https://a.example/x?y=1", "http://b.example"]
        assert written in said.inner_text()
    page.get_by_role("button", name="Copy message").first.click()
    site.wait_for(lambda: page.evaluate("navigator.clipboard.readText()"))
    assert page.evaluate("navigator.clipboard.readText()").strip() == f"You asked: {written}"


FORMULA = " + ".join(f"a_{{{n}}}b_{{{n}}}" for n in range(60))
WIDE = f"""| country | inhabitants | capital | language |
|---|---|---|---|
| Liechtenstein | 39,000,000 | Vaduz | Hochdeutsch |

$$x = {FORMULA}$$

It is `code`:

```python
{"x = 1; " * 30}
```
"""
SIZES = "codes => codes.map(code => getComputedStyle(code).fontSize)"
LINES = """cells => cells.map(cell => { const text = document.createRange(); text.selectNodeContents(cell);
    return new Set([...text.getClientRects()].map(one => one.top)).size; })"""
"""On how many lines the text of each stands."""


def test_what_is_wider_than_a_phone_scrolls_by_itself(site: Site) -> None:
    """Tables, without breaking words, formulas, and code, which is hardly smaller than the rest; the conversation does
    not. The way to its end has a ground of its own.
    """
    site.engine.script = lambda prompt: WIDE
    page = site.open(width=375, height=480)
    say(page, "hello")
    page.locator("#conversation .katex-display").wait_for()
    page.wait_for_selector("#send")
    assert page.locator("#conversation [role=log]").evaluate("log => log.scrollWidth - log.clientWidth") == 0
    assert set(page.locator("#conversation :is(td, th)").evaluate_all(LINES)) == {1}
    assert set(page.locator("#conversation code").evaluate_all(SIZES)) == {"14px"}
    page.locator("#conversation [role=log]").evaluate("log => { log.scrollTop = 0; }")
    down = page.locator("#conversation .scroll-down-button-container button")
    assert down.evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(255, 255, 255)"
    for one in ("table", ".katex-display", "pre"):
        wide = page.locator(f"#conversation {one}")
        assert wide.evaluate("one => one.scrollWidth - one.clientWidth") > 0
        wide.focus()
        page.keyboard.press("ArrowRight")
        site.wait_for(lambda wide=wide: wide.evaluate("one => one.scrollLeft") > 0)


EVIL = "<img src=x onerror=alert(1)>"
CODES = (
    ("between fences", "```html\n<b>1 &lt; 2</b>\n```", "<b>1 &lt; 2</b>"),
    ("between tildes", "~~~~\n```\n<b>\n~~~~", "```\n<b>"),
    (
        "fenced in a list",
        "- see\n\n    ```html\n    <img src=x onerror=alert(1)>\n    ```",
        "<img src=x onerror=alert(1)>",
    ),
    ("a fence that its list ends", "- a\n  ```html\n  <i>\n\n<img src=x>", "<i>"),
    ("indented", "see:\n\n    if a<b: c>d\n", "if a<b: c>d"),
    ("two backticks", "see ``a `<b>` c``", "a `<b>` c"),
    ("one", "see `<b>`", "<b>"),
    ("tabbed", "all:\n\n\tcc <a>.c", "cc <a>.c"),
    ("tabs", "```make\nall:\n\tcc <a>.c\n```", "all:\n\tcc <a>.c"),
    ("shell", "```sh\n  echo $$ <img src=x onerror=alert(4)> $$\n```", "  echo $$ <img src=x onerror=alert(4)> $$"),
    ("after a formula", "$$1<2$$\n\n```html\n<b>\n```", "<b>"),
    ("an address", "see `<https://a.example/x>`", "<https://a.example/x>"),
    ("fenced in a list, an address", "- a\n  ```html\n  <https://a.example/x>\n  ```", "<https://a.example/x>"),
    ("no fence", "```a`b\n<img src=x>\n", "<img src=x>"),
)


def test_code_of_every_kind_is_shown_and_copied_as_it_was_written(site: Site) -> None:
    """Each character, on the page and on the clipboard, of a code block and of the whole answer; none becomes HTML."""
    from playwright.sync_api import expect

    site.context.grant_permissions(["clipboard-read", "clipboard-write"])
    site.engine.script = lambda prompt: next(code for name, code, _ in CODES if name == prompt[-1]["content"])
    page = site.open()
    for place, (name, written, wanted) in enumerate(CODES):
        site.say(page, name)
        page.locator(ANSWERS).nth(place).wait_for()
        page.wait_for_selector("#send")
        answer = page.locator(ANSWERS).nth(place)
        shown = answer.locator("code").first if name != "no fence" else answer
        expect(shown).to_contain_text(wanted.strip())
        assert answer.locator(".message img, .message b, .message i, [onerror]").count() == 0, name
        assert written.split()[-1] in answer.get_attribute("aria-label"), name
        assert "&lt;" not in answer.inner_text().replace("1 &lt; 2", ""), name
        page.evaluate("navigator.clipboard.writeText('')")
        page.get_by_role("button", name="Copy message").nth(place).click()
        site.wait_for(lambda: page.evaluate("navigator.clipboard.readText()"))
        assert page.evaluate("navigator.clipboard.readText()").strip() == written.strip(), name
        if answer.locator(".copy_code_button").count():
            answer.locator("pre").hover()
            page.evaluate("navigator.clipboard.writeText('')")
            answer.locator(".copy_code_button").click()
            site.wait_for(lambda: page.evaluate("navigator.clipboard.readText()"))
            assert page.evaluate("navigator.clipboard.readText()") == wanted, name


def test_where_an_answer_comes_from(site: Site) -> None:
    """The last answer names its version and the memories that it was given; without memory there are none."""
    told(site, "which museum in Lyon is open on Mondays")
    page = site.open(ready=ANSWERS)
    page.click("#new-chat")
    ask(page, "which museum in Lyon is open", "is open")
    page.click("#where-from button")
    page.locator("#where-from li").filter(has_text="on Mondays").wait_for()
    assert "the base model" in page.inner_text("#where-from")
    page.uncheck("#use-memory input")
    ask(page, "which museum in Lyon", "You asked: which museum in Lyon")
    page.get_by_text("Nothing remembered bears on it").wait_for()


def test_a_night_can_be_watched(site: Site, tmp_path: Path) -> None:
    """Learn now queues a night; its stages and percentage follow the ledger; at its end the report is there."""
    ledger, at = site.assistant.ledger, site.assistant.clock()
    page = site.open("/learning", ready="#learn-now")
    page.get_by_text("Nothing was learned yet").wait_for()
    page.click("#learn-now")
    page.locator("#night-progress").get_by_text("Queued").wait_for()
    (night,) = ledger.nights()
    assert night.status is NightStatus.QUEUED

    ledger.begin_night(night.id, holder="laptop:4711", at=at, ttl=timedelta(hours=1))
    ledger.night_progress(night.id, stage="train", progress=0.42, detail="step 5 of 12")
    page.locator("#night-progress").get_by_text("42%").wait_for()
    assert page.inner_text("#night-progress [aria-current=step]") == "train"
    page.click("#learn-now")
    page.get_by_text("held by laptop:4711").wait_for()

    (tmp_path / "report.md").write_text("# One lesson learned\n\nIt passed the exam.")
    ledger.end_night(
        night.id,
        holder="laptop:4711",
        status=NightStatus.PROMOTED,
        reasons=["it passed"],
        at=at,
        report=str(tmp_path),
        adapter=testing.adapter("v1", night_id=night.id),
    )
    page.locator("#night-report").get_by_text("One lesson learned").wait_for()
    page.wait_for_selector("#night-progress", state="detached")
    page.locator("#versions").get_by_text("active").wait_for()


def test_a_night_without_a_report_says_why(site: Site) -> None:
    """Nothing learned is an answer too."""
    queue_and_end(site, NightStatus.NOTHING_TO_LEARN, reasons=["no rating since the last night"])
    page = site.open("/learning", ready="#learn-now")
    page.locator("#night-report").get_by_text("no rating since the last night").wait_for()


def test_lessons_show_their_life_and_can_be_undone(site: Site) -> None:
    """The newest is first, each with state and reason; undo takes the rating back."""
    for question in ("first", "second"):
        feedback.rate(site.assistant, told(site, question).id, 1)
    lesson = site.assistant.ledger.lessons()[0]
    at = site.assistant.clock()
    site.assistant.ledger.advance_lessons({lesson.id: LessonEvent(at, LessonState.HELD, "it contradicts another")})
    page = site.open("/learning", ready="#lessons table")
    rows = page.locator("#lessons tbody tr").all_inner_texts()
    assert [("second" in rows[0], "queued" in rows[0]), ("first" in rows[1], "held" in rows[1])] == [(True, True)] * 2
    page.click("#lessons summary")
    page.locator("#lessons details").get_by_text("waits for the next night").wait_for()
    page.locator("#lessons tr", has_text="first").get_by_role("button", name="Undo").click()
    page.locator("#undo-dialog").get_by_text("first").wait_for()
    page.click("#undo-dialog button[value=yes]")
    page.locator("#lessons .badge.undone").wait_for()
    assert site.assistant.ledger.lesson(lesson.id).state is LessonState.UNDONE


def test_versions_can_be_promoted_and_rolled_back(site: Site) -> None:
    """The choice is in the ledger at once, where every server reads it."""
    for _ in range(2):
        queue_and_end(site, NightStatus.PROMOTED, adapter=True)
    ledger = site.assistant.ledger
    page = site.open("/learning", ready="#versions table")
    page.click("#rollback")
    page.click("#rollback-dialog button[value=yes]")
    page.get_by_text("Version v1 serves now").wait_for()
    active = ledger.active_adapter()
    assert active is not None
    assert active.version == "v1"
    # It changes what everybody is answered by: it is asked first, by name.
    page.locator("#versions tr", has_text="v2").get_by_role("button", name="Promote").click()
    page.locator("#promote-dialog").get_by_text("v2").wait_for()
    page.keyboard.press("Escape")
    page.locator("#versions tr", has_text="v2").get_by_role("button", name="Promote").click()
    active = ledger.active_adapter()
    assert active is not None
    assert active.version == "v1"
    page.click("#promote-dialog button[value=yes]")
    page.get_by_text("Version v2 serves now").wait_for()
    active = ledger.active_adapter()
    assert active is not None
    assert (active.version, active.reason) == ("v2", "promoted by hand")
    ledger.activate("base", reason="test")
    page.click("#rollback")
    page.click("#rollback-dialog button[value=yes]")
    page.get_by_text("there is nothing to roll back").wait_for()


def test_no_endpoint_is_offered_to_clients(site: Site) -> None:
    """Programs have the HTTP routes; the page's handlers are the page's own."""
    page = site.open()
    info = page.evaluate("fetch('/gradio_api/info').then(r => r.json())")
    assert info == {"named_endpoints": {}, "unnamed_endpoints": {}}


def test_files_are_taken_up_to_a_documents_size_and_none_is_given_out(site: Site) -> None:
    """Gradio's routes for files take nothing larger than a document, and give out nothing of this machine."""
    page = site.open()
    upload = """() => { const form = new FormData(); form.append('files', new File(['x'.repeat(51e6)], 'a.txt'));
        return fetch('/gradio_api/upload', {method: 'POST', body: form}).then(r => r.status); }"""
    assert page.evaluate(upload) == 413
    ledger = site.assistant.settings.home / "ledger.db"
    assert page.evaluate(f"fetch('/gradio_api/file={ledger}').then(r => r.status)") == 403


def queue_and_end(site: Site, status: NightStatus, *, reasons: tuple[str, ...] = (), adapter: bool = False) -> None:
    """A night from its request to its end."""
    ledger, at, night_id = site.assistant.ledger, site.assistant.clock(), site.assistant.new_id()
    ledger.request_night(testing.night(night_id, created_at=at))
    ledger.begin_night(night_id, holder="test", at=at, ttl=timedelta(minutes=1))
    made = testing.adapter(ledger.name_adapter(night_id), night_id=night_id) if adapter else None
    if made:
        folder = adapter_folder(site.assistant.settings.home, made.version)
        folder.mkdir(parents=True)
        (folder / WEIGHTS_FILE).write_text(made.version)
    ledger.end_night(night_id, holder="test", status=status, reasons=reasons, at=at, adapter=made)
