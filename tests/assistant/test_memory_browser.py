"""The memory page as people use it, in a real Chromium over a real server and a scripted engine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from assistant import feedback
from assistant.turn import Ask, turn
from assistant.ui.memory import MemoryPage
from memory.records import Exchange, LessonState

if TYPE_CHECKING:
    from conftest import Site

pytestmark = pytest.mark.browser


def told(site: Site, question: str) -> Exchange:
    """A turn that went by before the page was opened."""
    *_, last = turn(site.assistant, Ask(question))
    return last.exchange  # type: ignore[union-attr]


def opened(site: Site) -> Any:
    """The page."""
    return site.open("/memory", ready="#memory-query textarea, #memory-query input")


def search(page: Any, text: str) -> None:
    """Look for something."""
    box = page.locator("#memory-query textarea, #memory-query input")
    box.fill(text)
    box.press("Enter")


def press(page: Any, board: str, text: str, button: str) -> None:
    """A button of the first row that says so."""
    rows = page.locator(f"{board} tr").filter(has_text=text)
    rows.first.get_by_role("button", name=button, exact=True).click()


def choose(page: Any, text: str) -> None:
    """Pick what is to be looked at."""
    press(page, "#memory-found", text, "Look")
    page.wait_for_selector("#memory-detail p")


def test_memory_is_searched_edited_and_forgotten(site: Site) -> None:
    """Found with its reason, changed for the next answer, and gone from ledger and page when it is forgotten."""
    told(site, "How do <b>owls</b> hunt at night?")
    wrong = told(site, "What is the capital of Atlantis?")
    feedback.rate(site.assistant, wrong.id, -1, correction="Poseidonis.")
    page = opened(site)
    page.locator("#memory-found").get_by_text("Poseidonis.").wait_for()
    search(page, "owls hunt")
    page.locator("#memory-found").get_by_text("How do <b>owls</b> hunt at night?").first.wait_for()
    search(page, "capital of Atlantis")
    page.locator("#memory-found").get_by_text("corrected by you").wait_for()
    choose(page, "What is the capital of Atlantis?")
    page.fill("#memory-answer textarea", "Cerne.")
    page.click("#memory-save")
    site.wait_for(lambda: site.assistant.memory.recall(wrong.question, k=1)[0].answer == "Cerne.")
    page.locator("#memory-found").get_by_text("Cerne.").wait_for()
    # What was saved stays chosen; it is asked first, by name, and who does not mean it presses Escape.
    page.click("#memory-forget")
    page.locator("#forget-dialog").get_by_text("What is the capital of Atlantis?").wait_for()
    page.keyboard.press("Escape")
    page.click("#memory-forget")
    assert site.assistant.ledger.count_exchanges() == 2
    page.locator("#forget-dialog").get_by_role("button", name="Forget this").click()
    site.wait_for(lambda: site.assistant.ledger.count_exchanges() == 1)
    page.locator("#memory-found").get_by_text("Cerne.").wait_for(state="detached")
    assert [deed.detail for deed in site.assistant.ledger.deeds(limit=1)] == ["1 exchange, 0 passages"]


def test_each_row_is_looked_at_and_forgotten_by_its_own_buttons(site: Site) -> None:
    """Of two that are asked alike the one that is meant; all of a page stand below each other, and one that is opened
    is in sight, until it is closed, and then its row.
    """
    first, second = told(site, "How do rivers bend?"), told(site, "How do rivers bend?")
    for n in range(22):
        told(site, f"Remark number {n}")
    page = opened(site)
    rows = page.locator("#memory-found tbody tr")
    rows.last.wait_for()
    assert rows.count() == 24
    box = page.locator("#memory-found .card.table")
    assert box.evaluate("(box) => box.scrollHeight - box.clientHeight") <= 1
    rows.last.get_by_role("button", name="Look").click()
    page.locator("#memory-detail").get_by_text("How do rivers bend?").first.wait_for()
    assert page.get_attribute("#memory-detail [data-about]", "data-about") == first.id
    assert page.locator("#memory-detail").evaluate("(one) => one.getBoundingClientRect().top") < 200
    page.click("#memory-close")
    page.wait_for_selector("#memory-one", state="detached")
    focused = "document.activeElement.dataset.id"
    site.wait_for(lambda: page.evaluate(focused) == first.id)
    rows.nth(-2).get_by_role("button", name="Forget").click()
    page.locator("#forget-dialog").get_by_text("How do rivers bend?").wait_for()
    page.keyboard.press("Escape")
    rows.nth(-2).get_by_role("button", name="Forget").click()
    page.locator("#forget-dialog").get_by_role("button", name="Forget this").click()
    page.get_by_text("Forgotten. Exchanges: 1, passages: 0.").wait_for()
    assert site.assistant.ledger.known([first.id, second.id]) == {first.id}


def test_the_answer_itself_takes_its_correction_back(site: Site) -> None:
    """Written in the place of the correction, it holds again, and no night learns the correction."""
    said = told(site, "What is the capital of Atlantis?")
    feedback.rate(site.assistant, said.id, -1, correction="Poseidonis.")
    page = opened(site)
    page.goto(f"{page.url}?of={said.id}")
    page.wait_for_selector("#memory-detail p")
    page.fill("#memory-answer textarea", said.answer)
    page.click("#memory-save")
    site.wait_for(lambda: site.assistant.memory.recall(said.question, k=1)[0].answer == said.answer)
    page.locator("#memory-found").get_by_text("Poseidonis.").wait_for(state="detached")
    assert [lesson.state for lesson in site.assistant.ledger.lessons()] == [LessonState.UNDONE]


def test_answers_that_were_made_with_it_go_along(site: Site) -> None:
    """Where that is ticked: what was recalled for an answer may stand in it once more."""
    told(site, "My owl is called Athena")
    told(site, "My owl is called Athena")
    told(site, "How do rivers bend?")
    first, _ = site.assistant.ledger.rated_exchanges([1])[1]
    page = opened(site)
    page.goto(f"{page.url}?of={first.id}")
    page.wait_for_selector("#memory-detail p")
    page.get_by_label("take along the answers that were made with it").check()
    page.click("#memory-forget")
    page.locator("#forget-dialog").get_by_role("button", name="Forget this").click()
    site.wait_for(lambda: site.assistant.ledger.count_exchanges() == 1)


def test_a_conversation_says_what_it_may_be_used_for(site: Site) -> None:
    """Unticked, it is no longer recalled; and the page tells where something was used."""
    first = told(site, "My owl is called Athena")
    told(site, "My owl is called Athena")
    page = opened(site)
    search(page, "Athena")
    choose(page, "My owl is called Athena")
    page.get_by_label("Recall it in later answers").uncheck()
    page.get_by_label("Let nights train on it").uncheck()
    page.click("#memory-save")
    uses = site.assistant.ledger.use
    ((newest, _),) = site.assistant.ledger.newest_exchanges(user="local", limit=1)
    site.wait_for(lambda: (False, False) in (uses(first.conversation_id), uses(newest.conversation_id)))


def test_all_of_it_is_filtered_page_by_page(site: Site) -> None:
    """A correction older than a page is found by the filter; what is not to be recalled has a place of its own."""
    old = told(site, "What is the capital of Atlantis?")
    feedback.rate(site.assistant, old.id, -1, correction="Poseidonis.")
    hidden = told(site, "A secret about owls")
    site.assistant.ledger.set_use(hidden.conversation_id, remember=False, train=True)
    for n in range(30):
        told(site, f"Remark number {n}")
    page = opened(site)
    rows = page.locator("#memory-found")
    rows.get_by_text("Remark number 29", exact=True).wait_for()
    assert not rows.get_by_text("Poseidonis.").count()
    page.click("#memory-older")
    rows.get_by_text("Poseidonis.").wait_for()
    assert not rows.get_by_text("A secret about owls").count()
    page.click("#memory-newer")
    rows.get_by_text("Remark number 29", exact=True).wait_for()
    for kind, shown in (("Corrections", "Poseidonis."), ("Not to be recalled", "A secret about owls")):
        page.click("#memory-kind input")
        page.get_by_role("option", name=kind).click()
        rows.get_by_text(shown).first.wait_for()
        assert not rows.get_by_text("Remark number 29", exact=True).count()
    search(page, "owls in the attic")
    rows.get_by_text("A secret about owls").first.wait_for(state="detached")
    search(page, "Owls SECRET")
    rows.get_by_text("A secret about owls").first.wait_for()
    page.get_by_label("Use what is remembered for my answers").uncheck()
    site.wait_for(lambda: site.assistant.ledger.choices("local").get("memory") is False)


def test_documents_are_added_and_removed(site: Site, tmp_path: Path) -> None:
    """A file becomes passages with its name as their source, a bad one is refused; removed, it is found no more."""
    good, bad = tmp_path / "owls.txt", tmp_path / "bad.txt"
    good.write_text("Barn owls hunt by sound.")
    bad.write_bytes(b"\x00\x01")
    page = opened(site)
    page.set_input_files("#memory-files input[type=file]", [str(good), str(bad)])
    page.locator("#memory-documents").get_by_text("owls.txt").wait_for()
    page.get_by_text("holds NUL bytes").wait_for()
    assert site.assistant.memory.search("owls hunt by sound", k=1)[0].source == "owls.txt"
    press(page, "#memory-documents", "owls.txt", "Remove")
    page.locator("#remove-document-dialog").get_by_text("owls.txt").wait_for()
    page.keyboard.press("Escape")
    assert len(site.assistant.ledger.documents()) == 1
    # A passage of it that was found goes with it, too.
    search(page, "owls hunt by sound")
    page.locator("#memory-found").get_by_text("Barn owls").wait_for()
    press(page, "#memory-found", "owls.txt", "Remove")
    page.locator("#remove-document-dialog").get_by_text("owls.txt").wait_for()
    page.click("#remove-document-dialog button[value=yes]")
    page.locator("#memory-documents").get_by_text("No document yet").wait_for()
    assert site.assistant.ledger.documents() == []
    assert not list(site.files.rglob("*.txt"))


def test_what_is_asked_for_while_the_page_loads_is_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, which comes late, is not laid over it."""
    for question in ("Which museum in Lyon is open?", "Where do whales sleep?"):
        told(site, question)
    find = MemoryPage._find

    def slowly(self: Any, query: str, *rest: Any) -> Any:
        if not query:
            time.sleep(2)
        return find(self, query, *rest)

    monkeypatch.setattr(MemoryPage, "_find", slowly)
    page = opened(site)
    search(page, "museum")
    # Nearest first, and not newest.
    first = page.locator("#memory-found tbody tr").first
    first.get_by_text("museum").first.wait_for()
    page.wait_for_timeout(3000)
    assert "museum" in first.inner_text()


def test_an_address_opens_what_it_names_once(site: Site) -> None:
    """Searching closes it, as it closes what was chosen."""
    owls = told(site, "How do owls hunt at night?")
    told(site, "Where do whales sleep?")
    page = site.open(f"/memory?of={owls.id}", ready="#memory-detail p")
    search(page, "whales")
    page.wait_for_selector("#memory-detail p", state="detached")
    page.locator("#memory-found tbody tr").first.get_by_text("whales").first.wait_for()
    choose(page, "Where do whales sleep?")
    page.wait_for_selector("#memory-detail p")
    search(page, "owls")
    page.wait_for_selector("#memory-detail p", state="detached")
    page.wait_for_timeout(1000)
    assert page.locator("#memory-detail p").count() == 0
