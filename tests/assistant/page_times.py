"""What a person waits for on the page, by the clock: `.venv/bin/python tests/assistant/page_times.py`.

Tests hold the same bounds in processor time, which a busy machine does not change; these figures are true on a machine
that does nothing else.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from conftest import Site, assistant_in, free_port, serving
from playwright.sync_api import Page, sync_playwright

from assistant import api, testing
from assistant.ui import mount
from memory.records import Message
from memory.testing import exchange

EXCHANGES = 500
OPENINGS, PRESSES = 5, 20
CHROMIUM = Path("/usr/bin/chromium")
WATCH = """() => { window.waits = [];
    new PerformanceObserver(list => list.getEntries().filter(one => one.name === 'keydown')
        .forEach(one => window.waits.push(one.duration))).observe({type: 'event', durationThreshold: 16}); }"""
"""The browser's own measure: from a key press to the frame that shows what it did, in steps of 8 ms."""


def fill(site: Site) -> None:
    """One conversation of that many exchanges."""
    history: list[Message] = []
    for n in range(EXCHANGES):
        made = exchange(f"e{n}", parent_id=f"e{n - 1}" if n else None, question=f"question {n} " * 8, history=history)
        site.assistant.ledger.add_exchange(made)
        history = [*history, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def openings(site: Site, page: Page) -> list[float]:
    """Seconds from asking for the page until its last answer can be read."""
    found = []
    for _ in range(OPENINGS):
        began = time.monotonic()
        page.goto(site.url)
        page.get_by_test_id("user").filter(has_text=f"question {EXCHANGES - 1} ").wait_for()
        found.append(time.monotonic() - began)
    return found


def presses(site: Site, page: Page) -> list[float]:
    """Milliseconds from a key press to its letter, while an answer streams; what is under 16 counts as 16."""
    page.evaluate(WATCH)
    site.say(page, "go on")
    page.get_by_test_id("bot").filter(has_text="word word word").wait_for()
    for _ in range(PRESSES):
        page.keyboard.press("x")
        page.wait_for_timeout(100)
    page.wait_for_selector("#stop")
    waits: list[float] = page.evaluate("window.waits")
    return [*waits, *[16.0] * (PRESSES - len(waits))]


def stopping(site: Site, page: Page) -> float:
    """Seconds from Escape until the engine is free and the answer is stored."""
    before = site.assistant.ledger.count_exchanges()
    began = time.monotonic()
    page.keyboard.press("Escape")
    site.wait_for(lambda: site.assistant.ledger.count_exchanges() > before)
    return time.monotonic() - began


def main() -> None:
    """Print a line for each."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        assistant, accounts = assistant_in(Path(folder))
        engine, port = assistant.engine, free_port()
        assert isinstance(engine, testing.ScriptedEngine)
        web = mount(api.create(assistant, ready=lambda: None, accounts=accounts), assistant, accounts)
        path = str(CHROMIUM) if CHROMIUM.exists() else None
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        with serving(web, port):
            address = f"http://127.0.0.1:{port}"
            site = Site(address, assistant, engine, chromium.new_context(), accounts, Path(folder), [])
            fill(site)
            page = site.open(ready="#conversation [data-testid=bot]", patience=60)
            opened = openings(site, page)
            engine.pause, engine.script = 0.2, lambda prompt: "word " * 190
            waited, stopped = presses(site, page), stopping(site, page)
            page.close()
        chromium.close()
    sys.stdout.write(
        f"opening {EXCHANGES} exchanges: median {statistics.median(opened):.2f} s, longest {max(opened):.2f} s\n"
        f"a key while an answer streams: median {statistics.median(waited):.0f} ms, longest {max(waited):.0f} ms\n"
        f"from Escape to an engine that is free: {stopped:.2f} s\n"
    )


if __name__ == "__main__":
    main()
