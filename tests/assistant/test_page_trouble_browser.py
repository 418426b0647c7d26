"""What goes wrong on a page, and many people at once: nothing typed is lost, and nobody sees what is another's."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from assistant import feedback
from memory.accounts import Role
from memory.records import Message
from memory.testing import exchange

if TYPE_CHECKING:
    from conftest import Site

pytestmark = pytest.mark.browser

ANSWERS = "#conversation [data-testid=bot]"
USERS = 20
BROWSERS = int(os.environ.get("BROWSERS", "3"))
"""How many of the users come with a browser."""
CATEGORIES = ["toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline"]
"""What of a trace tells tasks, events and frames."""


def key_waits(trace: list[dict[str, Any]]) -> list[float]:
    """Of each key press in a trace, milliseconds of the page's work until what it wrote is on the screen: the longest
    task there was, which the key may have had to wait for, and everything from its event to the frame after it.
    """
    presses = [e for e in trace if e["name"] == "EventDispatch" and e["args"]["data"]["type"] == "keydown"]
    thread = {(e["pid"], e["tid"]) for e in presses}
    mine = sorted((e for e in trace if (e["pid"], e["tid"]) in thread and "tdur" in e), key=lambda e: e["ts"])
    longest = max(e["tdur"] for e in mine if e["name"].endswith("RunTask"))
    frames = [e for e in mine if e["name"] == "Commit"]
    drawn = [next((f for f in frames if f["ts"] > press["ts"]), None) for press in presses]
    return [
        (longest + frame["tts"] + frame["tdur"] - press["tts"]) / 1000
        for press, frame in zip(presses, drawn, strict=True)
        if frame
    ]


class Visitor:
    """What the page's own script sends and reads, without a browser around it."""

    def __init__(self, site: Site, name: str) -> None:
        self._http, self._session = httpx.Client(base_url=site.url, timeout=120), f"page of {name}"
        assert self._http.post("/login", data={"name": name, "password": site.password}).status_code == 303
        config = self._http.get("/config").json()
        ids = {c["props"].get("elem_id"): c["id"] for c in config["components"]}
        names = {number: name for name, number in ids.items()}
        targets = ((t, n) for n, d in enumerate(config["dependencies"]) for t in d["targets"])
        self._calls = {(names.get(t[0]), t[1]): n for t, n in targets}
        self._born = next(c["props"]["value"] for c in config["components"] if c["id"] == ids["born"])

    def say(self, words: str) -> str:
        """One message; everything that was streamed."""
        return self.press("send", "click", [words, None, True, "both", False, None, self._born])

    def like(self, place: int) -> None:
        """A thumb for the answer at this place among the messages."""
        self.press("conversation", "like", [None], {"index": place, "value": "", "liked": True})

    def press(self, widget: str, event: str, data: list[Any], sent: Any = None) -> str:
        """What a widget of this name does; everything that was streamed."""
        fn = self._calls[widget, event]
        body = {"data": data, "fn_index": fn, "session_hash": self._session, "event_data": sent}
        assert self._http.post("/gradio_api/queue/join", json=body).status_code == 200
        told = ""
        with self._http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self._session}) as lines:
            for line in lines.iter_lines():
                told += line
                if '"process_completed"' in line:
                    break
        return told


def test_a_page_of_which_the_server_has_forgotten_all_stores_nothing(site: Site) -> None:
    """An hour after its line broke Gradio has forgotten what it holds, and so whether its chat is temporary: what is
    sent from it is refused, and told to be; so is whatever else is pressed on it.
    """
    people = site.people(Ada=Role.ADMIN, Bob=Role.USER)
    page = Visitor(site, "Bob")
    page._born += f" {people['Bob'].id}"
    assert "knows nothing of this page" in page.say("my secret")
    pressed = {"regenerate": "click", "earlier": "click", "use": "input", "choose-left": "click"}
    pressed |= {"conversation": "like", "feedback-save": "click"}
    for widget, event in (*pressed.items(), ("desk", "submit"), ("desk", "select"), ("desk", "edit")):
        data = {"use": ["neither", None], "desk": [None, True] if event == "submit" else [None]}
        data |= {"regenerate": [None, True], "earlier": [None], "choose-left": [None, None]}
        data |= {"conversation": [None], "feedback-save": [None, None, [], "better", ""]}
        sent = {"at": 0, "act": "edit", "index": 1, "value": "", "liked": False}
        assert "knows nothing of this page" in page.press(widget, event, data[widget], sent), widget
    assert site.assistant.ledger.newest_exchanges(user=None, limit=10) == []


def test_what_is_on_a_page_is_not_gone_on_with_by_another_account(site: Site) -> None:
    """Who logged in beside it, in another tab of the browser."""
    site.people(Ada=Role.ADMIN, Bob=Role.USER, Eve=Role.USER)
    page = Visitor(site, "Bob")
    page.say("of Bob")
    assert page._http.post("/login", data={"name": "Eve", "password": site.password}).status_code == 303
    page.say("of Eve")
    # Answers are handed out in the order in which they were asked for.
    Visitor(site, "Ada").say("of Ada")
    kept = site.assistant.ledger.newest_exchanges(user=None, limit=10)
    assert [found.question for found, _ in kept] == ["of Ada", "of Bob"]


def test_an_eighth_tab_works(site: Site) -> None:
    """Browsers hold six connections to one server: no page keeps one for itself."""
    tabs = [site.open() for _ in range(8)]
    for number in (7, 0):
        tabs[number].fill("#message textarea", f"from tab {number}")
        tabs[number].click("#send")
        tabs[number].get_by_test_id("bot").filter(has_text=f"from tab {number}").wait_for()


def test_twenty_users_at_once_get_only_their_own(site: Site) -> None:
    """Some in browsers of their own, the others as their browsers would speak, all at the same time: what streams to
    them, what is stored, rated and recalled is their own. BROWSERS=20 gives each a browser; that takes minutes.
    """
    names = [f"user{n}" for n in range(USERS)]
    people = site.people(Ada=Role.ADMIN, **dict.fromkeys(names, Role.USER))
    site.engine.pause = 0.01
    pages = {}
    for name in names[:BROWSERS]:
        # However many there are, they share the cores that there are.
        pages[name] = site.open(user=name, patience=120 + 30 * BROWSERS)
        # A caret that blinks is drawn twice a second, in each of them.
        pages[name].evaluate("document.activeElement.blur()")
    visitors = {name: Visitor(site, name) for name in names[BROWSERS:]}
    with ThreadPoolExecutor(USERS) as pool:
        for n in range(2):
            words = {name: f"remember the word {name}x, {n}" for name in names}
            told = {name: pool.submit(visitor.say, words[name]) for name, visitor in visitors.items()}
            # All of them have asked before the first one is waited for.
            for name, page in pages.items():
                site.say(page, words[name])
            for name, page in pages.items():
                page.get_by_test_id("bot").filter(has_text=words[name]).last.wait_for()
                page.wait_for_selector("#send")
            for name, streamed in told.items():
                assert set(re.findall(r"user\d+x", streamed.result(120))) == {f"{name}x"}
        liked = [pool.submit(visitor.like, 3) for visitor in visitors.values()]
        for name, page in pages.items():
            page.locator("button[title='Like']").last.click()
            page.wait_for_selector("#feedback-form")
            assert set(re.findall(r"user\d+x", page.inner_text("body"))) == {f"{name}x"}
        for one in liked:
            one.result(120)
    ledger = site.assistant.ledger
    for name, account in people.items():
        if name == "Ada":
            continue
        conversation = ledger.conversation(str(ledger.latest_conversation(account.id)))
        assert [exchange.user for exchange in conversation] == [account.id] * 2
        assert [e.parent_id for e in conversation] == [None, conversation[0].id]
        assert set(re.findall(r"user\d+x", str([e.prompt for e in conversation]))) == {f"{name}x"}
        recalled = {ledger.exchange(r["exchange_id"]).user for e in conversation for r in e.recollections}
        assert recalled <= {account.id}
        (rating,) = ledger.ratings([e.id for e in conversation]).values()
        assert (rating.user, rating.exchange_id) == (account.id, conversation[-1].id)
    assert ledger.count_exchanges() == 2 * USERS
    assert len(ledger.lessons()) == USERS


def test_who_waits_sees_how_many_come_before(site: Site) -> None:
    """Beneath their question, until it is read: then nobody comes before it, and the words come."""
    script, read = site.engine.script, Event()

    def slowly(prompt: Sequence[Message]) -> str:
        assert "moss" not in prompt[-1]["content"] or read.wait(30)
        return script(prompt)

    site.engine.script = slowly
    site.engine.capabilities = replace(site.engine.capabilities, at_once=1)
    site.engine.go_on.clear()
    first, second = site.open(), site.open()
    site.say(first, "what is a fjord")
    first.locator(ANSWERS, has_text="You").wait_for()
    site.say(second, "what is moss")
    second.locator(ANSWERS, has_text="1 before you").wait_for()
    site.engine.go_on.set()
    second.locator(ANSWERS, has_text="before you").wait_for(state="detached")
    assert len(site.engine.calls) == 2, "it is being read"
    read.set()
    second.locator(ANSWERS, has_text="You asked: what is moss").wait_for()


def test_a_long_conversation_opens_at_once_and_answers_keys(site: Site) -> None:
    """500 exchanges: two seconds of work until it can be read, the browser's and the server's together, and a key press
    is on the screen after 100 ms of the page's work while an answer streams.
    """
    history: list[Message] = []
    for n in range(500):
        words = {"question": f"question {n} " * 8, "answer": f"**answer** {n} " * 20}
        made = exchange(f"e{n}", parent_id=f"e{n - 1}" if n else None, history=history, **words)
        site.assistant.ledger.add_exchange(made)
        history = [*history, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    page = site.open(ready=ANSWERS, patience=60)
    costs = []
    for _ in range(2):
        before = site.processor_time()
        page.goto(site.url)
        page.get_by_test_id("bot").filter(has_text="answer 499").wait_for()
        costs.append(site.processor_time() - before)
    assert min(costs) < 2, costs
    assert page.get_by_test_id("bot").count() == 25
    site.engine.pause = 0.05
    site.engine.script = lambda prompt: "word " * 190
    site.say(page, "go on")
    page.get_by_test_id("bot").filter(has_text="word word word").wait_for()
    browser = page.context.browser
    browser.start_tracing(page=page, categories=CATEGORIES)
    for _ in range(10):
        page.keyboard.press("x")
        page.wait_for_timeout(100)
    page.wait_for_selector("#stop")
    waits = key_waits(json.loads(browser.stop_tracing())["traceEvents"])
    assert len(waits) >= 8
    assert max(waits) < 100, waits
    assert page.input_value("#message textarea") == "x" * 10


def test_a_message_of_any_length_is_told_and_kept(site: Site) -> None:
    """200,000 characters: one line says how many there may be, and they are still in the box."""
    page = site.open()
    page.fill("#message textarea", "x" * 200_000)
    page.press("#message textarea", "Enter")
    page.get_by_text("the message has 200,000 characters, the most is 20,000").wait_for()
    assert len(page.input_value("#message textarea")) == 200_000
    assert site.engine.calls == []


def test_a_file_of_a_wrong_kind_is_told_by_name_and_nothing_is_lost(site: Site, tmp_path: Path) -> None:
    """One line, whoever finds out, the browser or the server; what came with it is taken, and typed words stay."""
    contents = {
        "picture.png": b"\x89PNG\r\n\x1a\n",
        "letter.docx": b"PK\x03\x04",
        "scan.pdf": b"no pdf at all",
        "latin.txt": b"\xff\xfe\xfa",
        "owls.TXT": b"Barn owls hunt by sound.",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    page = site.open("/memory", ready="#memory-documents .empty")
    page.locator("#memory-query").locator("input, textarea").fill("half a thought")
    page.set_input_files("#memory-files input[type=file]", [str(tmp_path / name) for name in contents])
    for told in (
        "Invalid file types: picture.png, letter.docx",
        "scan.pdf is no PDF that can be read",
        "latin.txt is no UTF-8 text",
        "owls.TXT is remembered now",
    ):
        page.get_by_text(told).wait_for()
    page.locator("#memory-documents").get_by_role("cell", name="owls.TXT").wait_for()
    assert [document.name for document in site.assistant.ledger.documents()] == ["owls.TXT"]
    assert page.locator("#memory-query").locator("input, textarea").input_value() == "half a thought"
    assert not [path for path in site.files.rglob("*") if path.is_file() and path.stat().st_size]


@pytest.mark.parametrize("dropped", [False, True])
def test_the_name_of_a_wrong_file_is_text(site: Site, dropped: bool) -> None:
    """Chosen or dropped: what Gradio makes of it has no element in it, and is read as the name is."""
    name = "<img src=x onerror=alert(7)><b>bold<button>P.exe"
    page = site.open("/memory", ready="#memory-documents .empty")
    if dropped:
        page.evaluate(
            """(name) => {
                const dataTransfer = new DataTransfer();
                dataTransfer.items.add(new File(["x"], name));
                const drop = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer });
                document.querySelector("#memory-files input[type=file]").dispatchEvent(drop);
            }""",
            name,
        )
    else:
        file = {"name": name, "mimeType": "", "buffer": b"x"}
        page.set_input_files("#memory-files input[type=file]", [file])
    toast = page.get_by_test_id("toast-body")
    told = toast.get_by_test_id("toast-text")
    told.filter(has_text="Invalid file type").wait_for()
    assert told.locator("*").count() == 0
    assert dropped or name in told.inner_text()


def test_a_connection_that_breaks_is_told_once(site: Site) -> None:
    """By ours, in the page's language, and not by Gradio's as well."""
    site.accounts.add("Ada", site.password, Role.ADMIN, by="Ada")
    site.browser("Ada", locale="zh-CN")
    page = site.open(user="Ada")
    page.wait_for_selector("#new-chat:enabled")
    page.route(re.compile("queue/data|whoami|heartbeat"), lambda asked: asked.abort())
    site.say(page, "hello")
    page.get_by_test_id("toast-text").filter(has_text="Connection to the server was lost").wait_for(state="attached")
    page.locator("#gone").get_by_text("服务器没有响应").wait_for()
    assert not page.get_by_test_id("toast-body").is_visible()


def test_a_session_that_has_ended_says_so_and_loses_nothing(site: Site) -> None:
    """The page asks to log in again; the draft is there after that, and nothing was said in the meantime."""
    site.people(Ada=Role.ADMIN)
    page = site.open(user="Ada")
    page.type("#message textarea", "precious words")
    ada = site.accounts.all()[0]
    site.accounts.set_password(ada.id, "another long one", by="test")
    page.locator("#gone").get_by_text("Your session has ended").wait_for()
    page.press("#message textarea", "Enter")
    assert site.engine.calls == []
    page.locator("#gone").get_by_role("link").click()
    page.fill("input[name=name]", "Ada")
    page.fill("input[name=password]", "another long one")
    page.click("button")
    page.wait_for_selector("#message textarea")
    site.box_says(page, "precious words")


def test_who_logs_out_is_told_no_more_of_an_answer(site: Site) -> None:
    """It is stopped, with what was said by then: the page is nobody's any more."""
    ada = site.people(Ada=Role.ADMIN)["Ada"]
    site.engine.pause = 0.05
    site.engine.script = lambda prompt: " ".join(str(n) for n in range(400))
    page = site.open(user="Ada")
    site.say(page, "count")
    page.get_by_test_id("bot").filter(has_text="0 1 2 3").wait_for()
    page.context.request.post(f"{site.url}/logout", max_redirects=0)
    site.wait_for(lambda: site.assistant.ledger.newest_exchanges(user=ada.id, limit=1))
    ((exchange, _),) = site.assistant.ledger.newest_exchanges(user=ada.id, limit=1)
    assert exchange.finish_reason == "stopped"
    page.locator("#gone").get_by_text("Your session has ended").wait_for()


def test_what_was_typed_into_forms_is_there_again_or_offered(site: Site) -> None:
    """After a reload: a message that was being edited and what it set aside, a lesson's better answer, a search, an
    account but for its password. Where the lesson is gone the text is offered; what was closed or sent is not.
    """
    from playwright.sync_api import expect

    forms = "sessionStorage.getItem('nightschool forms')"
    site.people(Ada=Role.ADMIN)
    lesson = site.told("where do owls sleep?", user="local")
    feedback.rate(site.assistant, lesson.id, -1, correction="In trees.")
    page = site.open(ready=".ns-tools", user="Ada")
    page.fill("#message textarea", "put aside")
    page.locator(".ns-tools").get_by_role("button", name="Edit the question").click()
    page.wait_for_selector("#editing")
    page.fill("#message textarea", "where do barn owls sleep?")
    page.reload()
    page.wait_for_selector("#editing")
    site.box_says(page, "where do barn owls sleep?")
    page.click("#edit-cancel")
    site.box_says(page, "put aside")

    page.goto(f"{site.url}/learning")
    page.locator("#lessons").get_by_role("button", name="Edit", exact=True).click()
    page.fill("#edit-dialog textarea", "In barns, mostly.")
    page.reload()
    expect(page.locator("#edit-dialog textarea")).to_have_value("In barns, mostly.")
    feedback.rate(site.assistant, lesson.id, 0)
    page.reload()
    expect(page.locator(".ns-kept textarea")).to_have_value("In barns, mostly.")
    page.locator(".ns-kept").get_by_role("button", name="Discard").click()
    assert page.evaluate(forms) is None

    page.goto(f"{site.url}/history")
    # The page is there, and not only its boxes.
    page.wait_for_selector("#who summary")
    page.fill("#search :is(input, textarea)", "owls")
    page.reload()
    expect(page.locator("#search :is(input, textarea)")).to_have_value("owls")
    page.goto(f"{site.url}/admin")
    page.get_by_role("button", name="Add an account").click()
    page.fill("#add-dialog input[name=name]", "Grace")
    page.select_option("#add-dialog select", "teacher")
    page.fill("#add-dialog input[name=password]", "a long secret of hers")
    assert "secret" not in page.evaluate("JSON.stringify({...sessionStorage})")
    page.reload()
    expect(page.locator("#add-dialog input[name=name]")).to_have_value("Grace")
    expect(page.locator("#add-dialog select")).to_have_value("teacher")
    expect(page.locator("#add-dialog input[name=password]")).to_have_value("")
    page.fill("#add-dialog input[name=password]", "a long secret of hers")
    page.click("#add-dialog button[value=yes]")
    page.locator("#accounts").get_by_text("Grace").wait_for()
    site.wait_for(lambda: "Grace" not in str(page.evaluate(forms)))
    page.get_by_role("button", name="Add an account").click()
    page.fill("#add-dialog input[name=name]", "Nobody")
    page.keyboard.press("Escape")
    site.wait_for(lambda: "Nobody" not in str(page.evaluate(forms)))
    page.goto(f"{site.url}/")
    site.box_says(page, "put aside")


def test_nobody_sees_what_another_account_has_typed_in_the_same_tab(site: Site) -> None:
    """Neither after the session ended, nor after logging out."""
    ada = site.people(Ada=Role.ADMIN, Bob=Role.USER)["Ada"]
    site.told("where do owls sleep?", user=ada.id)
    page = site.open(ready=".ns-tools", user="Ada")
    page.click("button[title='Dislike']")
    page.fill("#feedback-correction textarea", "my secret answer")
    page.fill("#message textarea", "my secret message")
    site.accounts.set_password(ada.id, "another long one", by="test")
    page.locator("#gone").get_by_role("link").click()
    page.fill("input[name=name]", "Bob")
    page.fill("input[name=password]", site.password)
    page.click("button")
    page.wait_for_selector("#who summary")
    page.wait_for_timeout(500)
    assert "secret" not in page.evaluate("JSON.stringify([{...sessionStorage}, document.body.innerHTML])")
    assert page.input_value("#message textarea") == ""


def _start(home: Path, port: str = "0") -> tuple[subprocess.Popen[str], str]:
    """The page in a process of its own: it, and its address. What it says of errors goes to `errors.txt`."""
    script = Path(__file__).with_name("page_process.py")
    with (home / "errors.txt").open("a", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, str(script), str(home), port],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=script.parents[2],
        )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_a_server_that_starts_anew_is_told_and_loses_nothing_that_was_typed(context: Any, tmp_path: Path) -> None:
    """While it is away the pages say so; when it is there again they are, too, with what was typed, each in its place:
    a message, what was said of an answer and of a memory, a search. Of a temporary chat nothing is stored, so that one
    stays to be read.
    """
    from playwright.sync_api import expect

    process, url = _start(tmp_path)
    pages: dict[str, Any] = {}

    def open_(name: str, path: str, ready: str) -> Any:
        # In a browser of its own: one opens no more than six connections to a server, and each page keeps one.
        page = pages[name] = context.browser.new_context().new_page()
        page.goto(url + path)
        page.wait_for_selector(ready)
        return page

    try:
        chat = open_("chat", "/", "#message textarea")
        chat.wait_for_timeout(1000)
        for words in ("where do owls sleep?", "and whales?"):
            chat.fill("#message textarea", words)
            chat.press("#message textarea", "Enter")
            chat.get_by_test_id("bot").filter(has_text=words).wait_for()
            chat.wait_for_selector("#send")
        chat.locator("button[title='Dislike']").first.click()
        chat.get_by_label("too long").check()
        chat.fill("#feedback-correction textarea", "In hollow trees.")
        chat.locator("#feedback-comment").locator("input, textarea").fill("be brief")
        chat.fill("#message textarea", "precious words")
        memory = open_("memory", "/memory", "#memory-found table")
        whales = memory.locator("#memory-found tr").filter(has_text="and whales?").first
        whales.get_by_role("button", name="Look").click()
        memory.wait_for_selector("#memory-one")
        memory.fill("#memory-answer textarea", "In the open sea.")
        memory.locator("#memory-query").locator("input, textarea").fill("half a thought")
        passing = open_("passing", "/", "#message textarea")
        passing.wait_for_timeout(500)
        passing.click("#temporary-chat")
        passing.wait_for_selector("#passing")
        passing.fill("#message textarea", "my secret")
        passing.press("#message textarea", "Enter")
        passing.get_by_test_id("bot").filter(has_text="my secret").wait_for()
        passing.wait_for_selector("#send")
        passing.fill("#message textarea", "another secret")
        for page in pages.values():
            page.evaluate("document.documentElement.dataset.before = 1")
        process.kill()
        assert process.stdout is not None
        assert "secret" not in process.stdout.read() + (tmp_path / "errors.txt").read_text("utf-8")
        process.wait()
        for page in pages.values():
            page.bring_to_front()
            page.locator("#gone").get_by_text("The server does not answer").wait_for()
        process, again = _start(tmp_path, url.rpartition(":")[2])
        assert again == url

        def comes_back(page: Any) -> None:
            # Until it does, what was typed stands on the page that the server knows nothing of.
            page.bring_to_front()
            page.wait_for_selector("html:not([data-before])", state="attached")

        def says(page: Any, place: str, words: str) -> None:
            expect(page.locator(place)).to_have_value(words, timeout=30_000)

        passing.bring_to_front()
        passing.locator("#gone").get_by_text("nothing of this temporary chat").wait_for()
        passing.press("#message textarea", "Enter")
        passing.get_by_text("The server knows nothing of this page any more").wait_for()
        passing.get_by_test_id("bot").filter(has_text="my secret").wait_for()
        says(passing, "#message textarea", "another secret")
        assert "secret" not in passing.evaluate("JSON.stringify({...sessionStorage})")
        comes_back(chat)
        says(chat, "#feedback-correction textarea", "In hollow trees.")
        says(chat, "#feedback-comment :is(input, textarea)", "be brief")
        expect(chat.get_by_label("too long")).to_be_checked()
        says(chat, "#message textarea", "precious words")
        chat.click("#feedback-save")
        chat.wait_for_selector("#feedback-form", state="detached")
        chat.press("#message textarea", "Enter")
        chat.get_by_test_id("bot").filter(has_text="precious words").wait_for()
        chat.reload()
        chat.wait_for_selector(".ns-tools")
        assert chat.evaluate("sessionStorage.getItem('nightschool forms')") is None
        comes_back(memory)
        says(memory, "#memory-answer textarea", "In the open sea.")
        says(memory, "#memory-query :is(input, textarea)", "half a thought")
        memory.click("#memory-save")
        memory.locator("#memory-found").get_by_text("In the open sea.").wait_for()
    finally:
        process.kill()
        process.wait()
        for page in pages.values():
            page.context.close()


def test_of_a_temporary_chat_nothing_is_kept(
    site: Site, capfd: pytest.CaptureFixture[str], logged: io.StringIO
) -> None:
    """Not in the ledger, the index, any file of the home, or the browser, nor in anything that the server prints or
    logs, be it of an engine that breaks; it knows what was said in it, and is gone with the page.
    """
    logging.getLogger().setLevel(logging.DEBUG)
    secret = "xyzzy-plugh"  # noqa: S105 - a word to look for
    site.told("hello")
    page = site.open(ready=ANSWERS)
    page.click("#temporary-chat")
    page.wait_for_selector("#passing")
    page.type("#message textarea", f"the word is {secret}")
    assert secret not in page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    page.press("#message textarea", "Enter")
    page.get_by_test_id("bot").filter(has_text=secret).wait_for()
    page.wait_for_selector("#send")
    site.ask(page, "what was it?", "what was it?")
    assert secret in str(site.engine.calls[-1][0])
    page.locator("button[title='Like']").last.click()
    page.get_by_text("Of a temporary chat nothing is kept").wait_for()
    said = len(site.engine.calls)
    page.click("#regenerate")
    # The button to send is there before that is begun, too.
    site.wait_for(lambda: len(site.engine.calls) > said)
    page.wait_for_selector("#send")

    def broken(prompt: Any) -> str:
        raise RuntimeError("the engine broke")

    site.engine.script = broken
    site.say(page, f"is it {secret}?")
    page.get_by_text("The answer broke off").wait_for()
    site.box_says(page, f"is it {secret}?")
    printed = "".join(capfd.readouterr())
    assert "the engine broke" in printed
    assert secret not in printed
    assert "DEBUG" in logged.getvalue()
    assert secret not in logged.getvalue()
    site.assistant.memory.save()
    assert site.untitled == []
    assert site.assistant.ledger.count_exchanges() == 1
    assert site.assistant.memory.recall(f"the word is {secret}", k=5) == []
    folders = (site.assistant.settings.home, site.files)
    kept = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in kept if secret.encode() in path.read_bytes()]
    assert secret not in page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    page.reload()
    page.wait_for_selector("#passing", state="detached")
    assert secret not in page.inner_text("body")
