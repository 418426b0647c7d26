"""History, Learning and Admin as people use them: buttons that ask first, and what the ledger says afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from assistant import feedback
from assistant.live import live
from memory import testing
from memory.accounts import Role
from memory.history import Conversation
from memory.records import LessonState, NightStatus

if TYPE_CHECKING:
    from conftest import Site

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"  # noqa: S105 - nobody's


def row(page: Any, board: str, text: str) -> Any:
    """A row of a board."""
    return page.locator(f"{board} :is(tr, li)").filter(has_text=text)


def press(page: Any, board: str, text: str, button: str) -> None:
    """A button of that row."""
    row(page, board, text).get_by_role("button", name=button, exact=True).click()


# ---------------------------------------------------------------------- history


def test_what_is_typed_while_the_page_loads_is_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole shelf, which comes late, is not laid over it."""
    site.told("Which museum in Lyon is open?")
    site.told("Where do whales sleep?")
    conversations = site.assistant.ledger.conversations

    def slowly(user: str, *, words: Sequence[str] = (), limit: int = 200) -> list[Conversation]:
        if not words:
            time.sleep(2)
        return conversations(user, words=words, limit=limit)

    monkeypatch.setattr(site.assistant.ledger, "conversations", slowly)
    page = site.open("/history", ready="#search :is(input, textarea)")
    page.fill("#search :is(input, textarea)", "museum")
    page.locator(".shelf .found", has_text="museum").wait_for()
    page.wait_for_timeout(3000)
    assert page.locator(".shelf a.title").all_inner_texts() == ["Which museum in Lyon is open?"]


def test_a_conversation_is_found_opened_renamed_and_taken_along(site: Site) -> None:
    """By date, by its words, by a title of one's own; as Markdown and as JSON."""
    museum = site.told("Which museum in Lyon is open?")
    site.told("And on Mondays?", museum)
    site.told("Where do whales sleep?")
    page = site.open("/history", ready=".shelf li")
    assert page.locator(".shelf a.title").all_inner_texts() == [
        "Where do whales sleep?",
        "Which museum in Lyon is open?",
    ]
    page.get_by_role("heading", name="Today").wait_for()
    page.fill("#search :is(input, textarea)", "mondays")
    row(page, "#conversations", "whales").wait_for(state="detached")
    page.locator(".shelf .found").get_by_text("And on Mondays?").wait_for()
    assert page.locator(".shelf .found mark").all_inner_texts() == ["Mondays", "Mondays"]
    press(page, "#conversations", "Lyon", "Rename")
    page.fill("#rename-dialog input", "  Museums <i> ")
    page.click("#rename-dialog button[value=yes]")
    row(page, "#conversations", "Museums <i>").wait_for()
    assert site.assistant.ledger.title(museum.conversation_id) == "Museums <i>"
    with page.expect_download() as download:
        row(page, "#conversations", "Museums").get_by_text("JSON").click()
    exported = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert [e["question"] for e in exported["exchanges"]] == ["Which museum in Lyon is open?", "And on Mondays?"]
    page.get_by_role("link", name="Museums <i>").click()
    page.get_by_test_id("bot").filter(has_text="And on Mondays?").wait_for()
    assert page.get_by_test_id("bot").count() == 2


def test_a_deleted_conversation_is_gone_from_everywhere(site: Site) -> None:
    """The dialog says what it means; Escape keeps it; after it neither ledger nor recall has anything of it."""
    exchange = site.told("Where do whales sleep?")
    feedback.rate(site.assistant, exchange.id, -1, correction="In the sea.")
    page = site.open("/history", ready=".shelf li")
    press(page, "#conversations", "whales", "Delete")
    page.get_by_text("the next night, which trains without them").wait_for()
    page.keyboard.press("Escape")
    assert site.assistant.ledger.count_exchanges() == 1
    press(page, "#conversations", "whales", "Delete")
    page.click("#delete-dialog button[value=yes]")
    page.get_by_text("No conversations yet").wait_for()
    assert site.assistant.ledger.count_exchanges() == 0
    assert site.assistant.ledger.lessons() == []
    assert site.assistant.memory.recall("Where do whales sleep?", k=5) == []
    page.fill("#search :is(input, textarea)", "whales")
    page.get_by_text("No conversation has all of these words").wait_for()


def test_conversations_stand_beside_the_chat(site: Site) -> None:
    """Where there is room: the newest, with the one on the page marked; what has just begun is there at once. Hidden,
    the list stays so; while an answer is being written another conversation opens beside it.
    """
    from playwright.sync_api import expect

    owls = site.told("Where do owls sleep?")
    page = site.open(f"/?c={owls.conversation_id}", ready=".ns-tools", width=1100)
    links = page.locator("#beside li a")
    expect(page.locator("#beside [aria-current]")).to_have_text("Where do owls sleep?")
    assert page.locator("#beside").bounding_box()["width"] <= page.locator("#chat-page").bounding_box()["x"]
    page.set_viewport_size({"width": 1440, "height": 800})
    list_, chat = page.locator("#beside").bounding_box(), page.locator("#chat-page").bounding_box()
    assert abs((chat["x"] - list_["width"]) - (1440 - chat["x"] - chat["width"])) <= 1
    page.set_viewport_size({"width": 1100, "height": 800})
    page.click("#new-chat")
    expect(page.locator("#beside [aria-current]")).to_have_count(0)
    site.ask(page, "And whales?", "And whales?")
    expect(links).to_have_text(["And whales?", "Where do owls sleep?"])
    expect(page.locator("#beside [aria-current]")).to_have_text("And whales?")
    links.last.click()
    page.get_by_test_id("bot").filter(has_text="owls").wait_for()
    page.get_by_role("button", name="Hide the conversations").click()
    expect(links.first).to_be_hidden()
    page.reload()
    page.wait_for_selector(".ns-tools")
    expect(links.first).to_be_hidden()
    page.get_by_role("button", name="Show the conversations").click()
    expect(links.first).to_be_visible()
    page.set_viewport_size({"width": 1000, "height": 700})
    expect(links.first).to_be_hidden()
    page.set_viewport_size({"width": 1280, "height": 800})
    site.engine.pause = 0.2
    site.engine.script = lambda prompt: " ".join(str(n) for n in range(400))
    site.say(page, "count")
    page.get_by_test_id("bot").filter(has_text="0 1 2 3").wait_for()
    with site.context.expect_page() as opened:
        links.first.click()
    opened.value.get_by_test_id("bot").filter(has_text="And whales?").wait_for()
    page.click("#stop")
    page.wait_for_selector("#send")


# ---------------------------------------------------------------------- learning


def test_a_teacher_reviews_what_waits(site: Site) -> None:
    """Hold, approve, write a better answer: each is a step of the lesson's life, with who and why."""
    people = site.people(Ada=Role.ADMIN, Tess=Role.TEACHER, Bob=Role.USER)
    exchange = site.told("Where do whales sleep?", user=people["Bob"].id)
    feedback.rate(site.assistant, exchange.id, -1, correction="In a bed.", user=people["Bob"].id)
    page = site.open("/learning", ready="#lessons table", user="Tess")
    assert "Bob" in row(page, "#lessons", "whales").inner_text()
    press(page, "#lessons", "whales", "Hold")
    row(page, "#lessons", "held back by Tess").first.wait_for()
    press(page, "#lessons", "whales", "Approve")
    row(page, "#lessons", "approved by Tess").first.wait_for()
    press(page, "#lessons", "whales", "Edit")
    assert page.input_value("#edit-dialog textarea") == "In a bed."
    page.fill("#edit-dialog textarea", "In the sea.")
    page.click("#edit-dialog button[value=yes]")
    row(page, "#lessons", "a better answer by Tess").first.wait_for()
    (lesson,) = site.assistant.ledger.lessons()
    assert (lesson.wanted, lesson.state, lesson.hold) == ("In the sea.", LessonState.QUEUED, None)
    page.click("#lessons summary")
    for step in ("waits for the next night", "held back by Tess", "approved by Tess"):
        page.locator("#lessons details").get_by_text(step).wait_for()


def test_a_plain_users_lesson_waits_for_approval_where_that_is_wanted(site: Site) -> None:
    """Whose it is sees that, and can take it back; there is nothing else to press, and no report to read."""
    people = site.people(Ada=Role.ADMIN, Bob=Role.USER)
    site.assistant.ledger.choose("", {"review": True})
    site.told("Where do whales sleep?", user=people["Bob"].id)
    site.told("What is Ada's secret?", user=people["Ada"].id)
    page = site.open(ready="[data-testid=bot]", user="Bob")
    page.click("button[title='Like']")
    page.locator("#lesson-status").get_by_text("waits until a teacher approves it").wait_for()
    page.goto(f"{site.url}/learning")
    page.wait_for_selector("#lessons table")
    assert page.locator("#lessons .act").all_inner_texts() == ["Undo"]
    assert page.locator("#learn-now, #rollback, #versions .act").count() == 0
    page.get_by_text("a night begins when a teacher wants one").wait_for()
    press(page, "#lessons", "whales", "Undo")
    page.click("#undo-dialog button[value=yes]")
    page.locator("#lessons .badge.undone").wait_for()


def test_a_night_is_cancelled(site: Site, tmp_path: Path) -> None:
    """While it runs it says how long it may take yet; once cancelled it is over, and says who did it."""
    ledger, at = site.assistant.ledger, site.assistant.clock()
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.md").write_text("## Learned before")
    site.publish(report=tmp_path / "report")
    ledger.request_night(testing.night("n1", created_at=at))
    ledger.begin_night("n1", holder="laptop", at=at, ttl=timedelta(hours=1))
    ledger.night_progress("n1", stage="train", progress=0.4, detail="step 118 of 280, loss 1.32")
    site.assistant.clock.tick(600)  # type: ignore[attr-defined]
    page = site.open("/learning", ready="#night-progress")
    page.get_by_text("40% · about 15 min left").wait_for()
    page.get_by_text("step 118 of 280, loss 1.32").wait_for()
    cancel = page.locator("#night-progress").get_by_role("button", name="Cancel")
    cancel.click()
    page.locator("#cancel-dialog").get_by_text("What it has trained so far is lost").wait_for()
    page.keyboard.press("Escape")
    assert ledger.night("n1").status is NightStatus.RUNNING
    cancel.click()
    page.click("#cancel-dialog button[value=yes]")
    page.wait_for_selector("#night-progress", state="detached")
    row(page, "#nights", "cancelled by local").wait_for()
    # It has nothing to tell: the last that had is told, too.
    page.locator("#night-report").get_by_text("Learned before").wait_for()
    assert "cancelled by local" in page.inner_text("#night-report")
    assert "The last report is that of the night that ended on" in page.inner_text("#night-report")
    assert ledger.night("n1").status is NightStatus.CANCELLED


def test_versions_are_compared_and_plotted(site: Site, tmp_path: Path) -> None:
    """Scores by version, the loss, what each version still knows, and where two of them answer otherwise."""
    for n in range(2):
        asked = [
            {
                "kind": "tonight" if i == n else "earlier",
                "lesson": f"l{i}",
                "question": f"Question {i}?",
                "before": "no",
            }
            | {"after": f"answer {i} of {n}", "right_before": False, "right_after": i == n}
            for i in range(n + 1)
        ]
        folder = tmp_path / f"report{n}"
        folder.mkdir()
        losses = [{"nll": 2 - step / 5, "kl": 0.1, "preference": 0} for step in range(6)]
        (folder / "report.json").write_text(json.dumps({"questions": asked, "training": {"losses": losses}}))
        (folder / "report.md").write_text(f"## Report {n}")
        tallies = {"tonight": {"total": 1, "before": 0, "after": 1}}
        site.publish(report=folder, exam={"tallies": tallies})
    page = site.open("/learning", ready="#plots svg")
    assert page.locator("#plots svg").count() == 2
    assert page.locator("#plots .matrix tbody td").all_inner_texts() == ["100%", "", "0%", "100%"]
    press(page, "#versions", "v1", "Compare")
    page.locator("#comparison").get_by_text("v1 beside v2").wait_for()
    assert "Questions that both were asked: 1." in page.inner_text("#comparison")
    assert "✓ answer 0 of 0" in page.inner_text("#comparison")
    page.locator("#nights tr").last.get_by_role("button", name="Report").click()
    page.locator("#night-report").get_by_text("Report 0").wait_for()


def test_the_clock_is_set_on_the_page(site: Site) -> None:
    """And switched off; whoever runs the nights reads it from the ledger."""
    page = site.open("/learning", ready="#clock p")
    page.get_by_text("No clock is set").wait_for()
    page.get_by_role("button", name="Set the clock").click()
    page.fill("#clock-dialog input", "03:45")
    page.click("#clock-dialog button[value=yes]")
    page.get_by_text("A night begins every day at 03:45").wait_for()
    assert live(site.assistant).settings.nightly_at == "03:45"
    page.get_by_role("button", name="Switch it off").click()
    page.get_by_text("No clock is set").wait_for()


# ---------------------------------------------------------------------- admin


def test_accounts_are_made_where_there_are_none(site: Site) -> None:
    """The first one asks for a log-in at once, and what was said before is its own."""
    site.told("hello before there were accounts")
    page = site.open("/admin", ready="#accounts p")
    page.get_by_text("No account yet").wait_for()
    page.get_by_role("button", name="Add an account").click()
    page.fill("#add-dialog input[name=name]", "Ada")
    page.fill("#add-dialog input[name=password]", PASSWORD)
    assert page.input_value("#add-dialog select") == "admin"
    page.click("#add-dialog button[value=yes]")
    site.wait_for(lambda: site.accounts.needed)
    page.locator("#gone").get_by_role("link", name="Log in again").click()
    page.fill("input[name=name]", "Ada")
    page.fill("input[name=password]", PASSWORD)
    page.click("button")
    page.wait_for_url("**/admin")
    row(page, "#accounts", "Ada").wait_for()
    page.get_by_role("link", name="Chat").click()
    page.get_by_test_id("bot").filter(has_text="hello before").wait_for()
    page.locator("#who summary").click()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")


def test_an_admin_changes_roles_keys_and_settings(site: Site) -> None:
    """Each is in force at once, and in the log; what can't be done is told in one line."""
    site.people(Ada=Role.ADMIN, Bob=Role.USER)
    page = site.open("/admin", ready="#accounts table", user="Ada")
    press(page, "#accounts", "Bob", "Role")
    page.select_option("#role-dialog select", "teacher")
    page.click("#role-dialog button[value=yes]")
    row(page, "#accounts", "Bob").locator(".badge", has_text="teacher").wait_for()
    press(page, "#accounts", "Ada", "Remove")
    page.click("#remove-dialog button[value=yes]")
    page.get_by_text("this is the last admin").wait_for()
    # What is refused of what was typed is there again, with why; what is put right is taken.
    page.get_by_role("button", name="Add an account").click()
    page.fill("#add-dialog input[name=name]", "Bob")
    page.fill("#add-dialog input[name=password]", PASSWORD)
    page.click("#add-dialog button[value=yes]")
    page.locator("#add-dialog .refused").get_by_text("there is an account 'Bob' already").wait_for()
    assert page.input_value("#add-dialog input[name=name]") == "Bob"
    assert page.input_value("#add-dialog input[name=password]") == PASSWORD
    assert "Bob" in page.evaluate("sessionStorage.getItem('nightschool forms')")
    page.fill("#add-dialog input[name=name]", "Grace")
    page.click("#add-dialog button[value=yes]")
    row(page, "#accounts", "Grace").wait_for()
    site.wait_for(lambda: page.evaluate("sessionStorage.getItem('nightschool forms')") is None)
    page.get_by_role("button", name="Add an account").click()
    assert page.locator("#add-dialog .refused").is_hidden()
    assert page.input_value("#add-dialog input[name=name]") == ""
    page.keyboard.press("Escape")
    press(page, "#accounts", "Bob", "Make a key")
    page.fill("#key-dialog input", "a script")
    page.click("#key-dialog button[value=yes]")
    secret = page.inner_text("#secret code")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#secret").get_by_role("button", name="Copy").click()
    page.locator("#secret").get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    found = site.accounts.of(key=secret)
    assert found is not None
    assert found.name == "Bob"
    press(page, "#settings", "temperature", "Change")
    page.fill("#setting-dialog input", "0.5")
    page.click("#setting-dialog button[value=yes]")
    row(page, "#settings", "temperature").locator(".badge", has_text="changed").wait_for()
    assert live(site.assistant).settings.temperature == 0.5
    assert page.locator("#secret code").count() == 0
    press(page, "#keys", "a script", "Revoke")
    page.locator("#revoke-dialog").get_by_text("a script").wait_for()
    assert len(site.accounts.keys()) == 1
    page.click("#revoke-dialog button[value=yes]")
    page.get_by_text("No keys yet").wait_for()
    for deed in ("role changed", "API key made", "settings changed", "API key revoked"):
        row(page, "#audit", deed).first.wait_for()
