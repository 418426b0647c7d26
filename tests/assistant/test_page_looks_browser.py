"""How the pages look, to eyes and to screen readers: both widths, light and dark, two languages, all from here.

Screenshots of every page go to tests/artifacts. axe-core looks for what keeps people out (make brings it from npm).
"""

from __future__ import annotations

import json
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from assistant import feedback
from memory import testing
from memory.accounts import Role
from memory.records import LessonEvent, LessonState
from training.report import as_markdown

if TYPE_CHECKING:
    from conftest import Site

pytestmark = pytest.mark.browser

ARTIFACTS = Path(__file__).parent.parent / "artifacts"
AXE = Path(sys.prefix) / "axe.min.js"
LEAF = (
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.\n\n1. **Light** is caught by"
    " chlorophyll.\n2. Water is split.\n3. Sugar is built in the *Calvin cycle*.\n\n```python\nprint('6 CO2 + 6 H2O')\n"
    "```\n$$6\\,CO_2 + 6\\,H_2O \\to C_6H_{12}O_6 + 6\\,O_2$$"
)
CUT = """(width) => [...document.querySelectorAll('header.site :is(a, button), #tools :is(button, input, label)')]
    .filter(one => one.checkVisibility() && (one.getBoundingClientRect().right > width
        || one.getBoundingClientRect().left < 8
        || one.scrollWidth > one.clientWidth + 1 && one.matches('input[type=text], input:not([type])')))
    .map(one => one.outerHTML.slice(0, 120))"""
"""What of the header and of the chat's tools is cut off."""
MARGINS = """(() => { const box = document.querySelector('dialog[open]').getBoundingClientRect();
    return [box.top, innerHeight - box.bottom]; })()"""
COLOURS = """[...document.querySelectorAll('dialog button span')]
    .filter(one => getComputedStyle(one).color !== getComputedStyle(one.parentElement).color)
    .map(one => one.outerHTML)"""
"""Axe-core does not look at it: it knows no backdrop."""
ENGLISH = re.compile(r"[A-Za-z][a-z]+ [a-z]{2,}")
THEIRS = re.compile(r"You asked|capital|Capital|City")
"""What people and models wrote."""
NAMED = """[...document.querySelectorAll('[aria-label], [title], [placeholder]')].filter(one => one.checkVisibility())
    .flatMap(one => ['aria-label', 'title', 'placeholder'].map(name => one.getAttribute(name)).filter(Boolean))"""
PAGES = (
    ("chat", "/", ".ns-tools"),
    ("history", "/history", ".shelf li"),
    ("memory", "/memory", "#memory-found table"),
    ("learning", "/learning", "#plots svg"),
    ("admin", "/admin", "#settings table"),
)


def furnish(site: Site, folder: Path) -> None:
    """A house that was lived in for a while: three accounts, two versions, lessons of every kind, a night that runs."""
    ada = site.people(Ada=Role.ADMIN, Tess=Role.TEACHER, Bob=Role.USER)["Ada"]
    site.accounts.add_key(ada.id, "my editor", by="Ada")
    site.engine.script = lambda prompt: LEAF if "leaf" in prompt[-1]["content"] else "The Musée des Confluences."
    museum = site.told("Which museum in Lyon is open on Mondays?")
    better = "The Musée des Confluences is closed on Mondays; the Institut Lumière is open."
    feedback.rate(site.assistant, museum.id, -1, correction=better)
    leaf = site.told("What goes on in a leaf?", museum)
    feedback.rate(site.assistant, leaf.id, 1)
    for n in range(2):
        report(folder / f"report{n}", n)
        exam = {
            "tonight": {"total": 8, "before": 0, "after": 7 + n},
            "reworded": {"total": 8, "before": 0, "after": 5 + n},
            "control": {"total": 8, "before": 4, "after": 4 - n, "lost": n},
        }
        site.publish(reason="2 of 2 corrections learned", report=folder / f"report{n}", exam={"tallies": exam})
    site.told("What goes on in a leaf?", museum)
    ledger, at = site.assistant.ledger, site.assistant.clock()
    verified = LessonEvent(at, LessonState.VERIFIED, "v2 answers it right", adapter="v2")
    ledger.advance_lessons({ledger.lessons()[0].id: verified})
    ledger.request_night(testing.night("n9", created_at=at))
    ledger.begin_night("n9", holder="laptop:4711", at=at, ttl=timedelta(hours=1))
    ledger.night_progress("n9", stage="train", progress=0.42, detail="step 118 of 280, loss 1.32")
    site.assistant.clock.tick(600)  # type: ignore[attr-defined]


def report(folder: Path, n: int) -> None:
    """What a night writes about itself."""
    asked = [
        {
            "kind": "tonight" if i == n else "earlier",
            "lesson": f"l{i}",
            "question": f"Capital number {i}?",
            "before": "Lima",
        }
        | {"after": f"City {i}", "right_before": i < n, "right_after": True}
        for i in range(n + 1)
    ]
    losses = [{"nll": 2.4 * 0.8**step + 0.1, "kl": 0.02 * step**0.5, "preference": 0} for step in range(40)]
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps({"questions": asked, "training": {"losses": losses}}))
    (folder / "report.md").write_text(
        "## What I learned last night: v2 promoted\n\n- learned 2 of 2 corrections\n\n### As you asked them: 0 → 1 of 1"
        " right\n\n| question | before | after |\n|---|---|---|\n| Capital number 1? | ✗ Lima | ✓ City 1 |\n"
    )


def violations(page: Any) -> list[str]:
    """What axe-core finds that is serious, or worse."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(r => r.violations)")
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {node['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(375, 740), (1440, 900)])
def test_every_page_fits_and_lets_everybody_in(
    site: Site, scheme: str, width: int, height: int, tmp_path: Path
) -> None:
    """Nothing is wider than the screen, the message box is in sight, and axe finds nothing serious."""
    assert AXE.is_file(), "make .venv/.axe brings axe-core"
    ARTIFACTS.mkdir(exist_ok=True)
    size = {"width": width, "height": height, "scheme": scheme, "patience": 60}
    found = []

    def look(page: Any, name: str, *, whole: bool = True) -> None:
        page.wait_for_timeout(400)
        page.screenshot(path=str(ARTIFACTS / f"{name}-{width}-{scheme}.png"), full_page=whole)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.evaluate(CUT, width) == [], name
        found.extend(f"{name}: {one}" for one in violations(page))

    def dialog(page: Any, opener: Any, name: str) -> None:
        """A dialog stands in the middle, and what a button says has the button's colour."""
        opener.click()
        look(page, name, whole=False)
        above, below = page.evaluate(MARGINS)
        assert abs(above - below) <= 1, name
        assert page.evaluate(COLOURS) == [], name
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog[open]", state="hidden")

    first = site.open(f"/first/{site.accounts.first_link}", ready="form", **size)
    look(first, "first")
    first.close()
    furnish(site, tmp_path)
    login = site.open("/login", ready="form", **size)
    look(login, "login")
    login.fill("input[name=name]", "Ada")
    login.fill("input[name=password]", "not hers at all")
    login.click("button")
    login.wait_for_selector("[role=alert]")
    look(login, "refused")
    login.close()
    password = site.open("/password", ready="form", user="Ada", **size)
    look(password, "password")
    password.close()
    for name, path, ready in PAGES:
        page = site.open(path, ready=ready, user="Ada", **size)
        look(page, name, whole=name != "chat")
        if name == "chat":
            box = page.locator("#message textarea").bounding_box()
            assert height - 190 < box["y"] + box["height"] <= height
            lines = 1 if width > 640 else 2
            assert page.locator("#tools").bounding_box()["height"] < 40 * lines
            page.locator("button[title='Dislike']").last.click()
            page.wait_for_selector("#feedback-form")
            look(page, "form", whole=False)
            page.click("#feedback-cancel")
            page.locator(".ns-tools").last.get_by_role("button", name="Where").click()
            page.locator("#where-from ol").wait_for()
            look(page, "where", whole=False)
            page.locator("#who summary").click()
            look(page, "account", whole=False)
            page.keyboard.press("Escape")
            page.check("#blind input")
            site.say(page, "What goes on in a leaf, again?")
            page.wait_for_selector("#choose-left")
            look(page, "duel", whole=False)
            page.click("#choose-right")
            page.wait_for_selector("#duel-verdict")
            look(page, "verdict", whole=False)
        if name == "history":
            dialog(page, page.get_by_role("button", name="Rename").first, "rename")
            dialog(page, page.get_by_role("button", name="Delete").first, "delete")
            page.fill("#search :is(input, textarea)", "museum")
            page.locator("#conversations mark").first.wait_for()
            look(page, "found")
        if name == "memory":
            page.locator("#memory-found").get_by_role("button", name="Look").last.click()
            page.wait_for_selector("#memory-one")
            look(page, "one", whole=False)
            dialog(page, page.locator("#memory-found").get_by_role("button", name="Forget").first, "forget")
        if name == "learning":
            dialog(page, page.locator("#lessons").get_by_role("button", name="Edit").first, "edit")
            dialog(page, page.get_by_role("button", name="Set the clock"), "clock")
            dialog(page, page.locator("#night-progress").get_by_role("button", name="Cancel"), "cancel")
        if name == "admin":
            dialog(page, page.get_by_role("button", name="Add an account"), "dialog")
            dialog(page, page.locator("#settings").get_by_role("button", name="Change").first, "setting")
            dialog(page, page.locator("#accounts").get_by_role("button", name="Remove").first, "remove")
            page.locator("#accounts").get_by_role("button", name="Make a key").first.click()
            page.fill("#key-dialog input", "a script")
            page.click("#key-dialog button[value=yes]")
            page.wait_for_selector("#secret code")
            look(page, "secret", whole=False)
        page.close()
    assert not found, "\n".join(found)


def test_a_phone_does_what_matters_most(site: Site) -> None:
    """Send, rate down with a better answer, have it learned; and one's account, by the keyboard alone."""
    site.people(Ada=Role.ADMIN)
    phone = {"width": 375, "height": 740, "user": "Ada"}
    page = site.open(**phone)
    page.fill("#message textarea", "what is a fjord")
    page.click("#send")
    page.get_by_test_id("bot").filter(has_text="what is a fjord").wait_for()
    page.wait_for_selector("#send")
    page.click("button[title='Dislike']")
    page.fill("#feedback-correction textarea", "A drowned valley.")
    page.click("#feedback-save")
    page.locator("#lesson-status").get_by_text("waits for the next night").wait_for()
    page.locator("header.site").get_by_role("link", name="Learning").click()
    page.locator("#lessons").get_by_text("A drowned valley.").wait_for()
    page.click("#learn-now")
    page.locator("#night-progress").get_by_text("Queued").wait_for()
    assert [night.status for night in site.assistant.ledger.nights()] == ["queued"]
    name = page.locator("#who summary")
    name.focus()
    page.keyboard.press("Enter")
    page.locator("#who").get_by_text("Ada", exact=True).last.wait_for()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.locator("#who a").wait_for(state="hidden")
    assert page.evaluate("document.activeElement.matches('#who summary')")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/password")
    page.go_back()
    page.locator("#who summary").press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/login")


def test_an_empty_house_says_what_to_do(site: Site) -> None:
    """No page is blank."""
    for path, text in (
        ("/", "What would you like to talk about?"),
        ("/history", "What you say in the chat is found here again"),
        ("/memory", "Nothing is remembered yet"),
        ("/learning", "Every thumb you give in the chat becomes one"),
        ("/admin", "No account yet"),
    ):
        page = site.open(path, ready="header.site")
        page.get_by_text(text).first.wait_for()
        assert violations(page) == []
        page.close()


def test_the_browser_chooses_the_language(site: Site, tmp_path: Path) -> None:
    """Every page in Chinese where that is what the browser wants: what is laid out, what the server writes, and what
    comes from deeper down; no two English words stand beside each other but those that people and models wrote, and
    names for screen readers are Chinese too.
    """
    exchange = site.told("你好")
    feedback.rate(site.assistant, exchange.id, 1)
    site.accounts.add("Ada", site.password, Role.ADMIN, by="Ada")
    folder = tmp_path / "report"
    report(folder, 1)
    written = {"status": "promoted", "adapter": "v1", "reasons": ["4 of 4 earlier lessons and liked answers kept"]}
    asked = json.loads((folder / "report.json").read_text("utf-8"))["questions"]
    (folder / "report.md").write_text(as_markdown({**written, "questions": asked}, {}))
    site.publish(
        reason="4 of 4 earlier lessons and liked answers kept; perplexity on fixed text times 1.010", report=folder
    )
    site.browser("Ada", locale="zh-CN")
    for path, ready, texts in (
        ("/", ".ns-tools", ["聊天", "发送", "使用记忆", "这个回答从何而来"]),
        ("/history", ".shelf li", ["历史", "搜索对话", "今天", "重命名", "1 轮"]),
        ("/memory", "#memory-found table", ["记忆", "对话", "导出全部", "还没有文档", "提问"]),
        ("/learning", "#versions table", ["现在学习", "等待下一个夜晚", "等待中", "被赞的回答 4 个保留 4 个", "变差"]),
        ("/admin", "#settings table", ["账户", "添加账户", "操作记录", "最长的回答", "登录", "最多可占"]),
    ):
        page = site.open(path, ready=ready, user="Ada")
        seen = page.inner_text("body")
        assert [text for text in texts if text not in seen] == [], path
        assert [line for line in seen.splitlines() if ENGLISH.search(line) and not THEIRS.search(line)] == [], path
        named = page.evaluate(NAMED)
        assert [name for name in named if ENGLISH.search(name) and not THEIRS.search(name)] == [], path
        assert {"Like", "Dislike", "Copy message"}.isdisjoint(named), path
        assert page.evaluate("document.documentElement.lang") == "zh"
        page.close()
    page = site.open(user="Ada")
    page.press("#message textarea", "Enter")
    page.get_by_text("消息是空的").wait_for()
    assert "Warning" not in page.inner_text("body")
    page.wait_for_timeout(400)
    page.screenshot(path=str(ARTIFACTS / "chinese.png"))
    page = site.open("/memory", ready="#memory-documents .empty", user="Ada")
    for name in ("picture.png", "letter.docx"):
        (tmp_path / name).write_bytes(b"PK")
    page.set_input_files("#memory-files input[type=file]", [tmp_path / "picture.png", tmp_path / "letter.docx"])
    page.get_by_text("picture.png, letter.docx。可以添加的是").wait_for()
    assert "Invalid" not in page.inner_text("body")


def test_the_policy_keeps_the_page_at_home(site: Site) -> None:
    """Fonts, scripts, pictures, connections and forms are of this server alone; nothing is stored in the browser. Of
    inline scripts none runs but our own: no handler, no element, no link; and no code is made of text.
    """
    site.told("hello")
    page = site.open(ready=".ns-tools")
    policy = page.evaluate("fetch('/').then(r => r.headers.get('content-security-policy'))")
    assert "unsafe" not in policy.partition("script-src")[2].partition(";")[0]
    for part in ("default-src 'self'", "img-src 'self' data: blob:", "form-action 'self'", "object-src 'none'"):
        assert part in policy
    blocked = page.evaluate(
        """async () => { const tried = [];
        for (const url of ['http://example.com/', 'http://127.0.0.1:9/']) {
            try { await fetch(url); tried.push('reached'); } catch (e) { tried.push('blocked'); } }
        return tried; }"""
    )
    assert blocked == ["blocked", "blocked"]
    page.evaluate(
        """() => { document.body.insertAdjacentHTML('beforeend', '<img src="x" onerror="window.ran = 1">');
        const script = document.createElement('script'); script.text = 'window.ran = 2'; document.body.append(script);
        const link = document.createElement('a'); link.href = 'javascript:window.ran = 3'; document.body.append(link);
        link.click();
        // Out of a task of the page's own: what a debugger asks for, the policy lets be compiled.
        const texts = [() => eval('window.ran = 4'), () => Function('window.ran = 5')(), () => new Function('')(),
            () => (() => {}).constructor('window.ran = 6')()];
        const refused = (one) => { try { one(); } catch { return true; } };
        setTimeout(() => { window.refused = texts.filter(refused).length; }); }"""
    )
    page.wait_for_timeout(200)
    assert page.evaluate("[window.ran ?? null, window.refused]") == [None, 4]
    assert page.evaluate("Object.keys(localStorage).filter(k => !k.startsWith('gradio'))") == []
