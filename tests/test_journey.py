"""The journey on the real model: ask, rate, learn overnight, and get it right the next day from the weights alone.

Real server process, real quantised model, real night in a process of its own. Questions and controls are asked first
and chosen by what the model says, so that nothing here depends on what it happens to know.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from memory.ledger import Ledger
from training import general

pytestmark = pytest.mark.model

FACTS = [
    ("What is the capital of Turkey?", "Ankara"),
    ("What is the capital of Ecuador?", "Quito"),
    ("What is the capital of Nigeria?", "Abuja"),
    ("What is the capital of Poland?", "Warsaw"),
    ("What is the capital of Malaysia?", "Kuala Lumpur"),
    ("What is the capital of Nepal?", "Kathmandu"),
    ("What is the capital of Slovenia?", "Ljubljana"),
    ("What is the capital of Canada?", "Ottawa"),
]
"""Questions of which the model gets five wrong, with the word that a right answer holds."""

ARTIFACTS = Path(__file__).parent / "artifacts"

CONTROLS = [
    ("What is the capital of France?", "Paris"),
    ("Who wrote the play Macbeth?", "Shakespeare"),
    ("What is the capital of Italy?", "Rome"),
    ("What is the opposite of black?", "white"),
    ("What is the capital of Hungary?", "Budapest"),
    ("What year did World War II end?", "1945"),
    ("What is the capital of Senegal?", "Dakar"),
    ("What is the chemical symbol of silver?", "Ag"),
    ("What is the capital of Serbia?", "Belgrade"),
    ("What language do people in Mexico speak?", "Spanish"),
    ("What is the capital of Denmark?", "Copenhagen"),
    ("How many wheels does a bicycle have?", "2"),
    ("What is the capital of Russia?", "Moscow"),
    ("What is the currency of Mexico?", "peso"),
]
"""Questions of which the model gets ten right: half of them neighbours of what is corrected, half of anything else.

None is taught an answer: at most, the night holds the model to what it says to one already."""

ANSWER = "#conversation [data-testid=bot]"

NIGHT_SECONDS = 300
"""What a night of five lessons may take on two CPU cores; `nightschool bench` measures it."""


def correction(question: str, word: str) -> str:
    """The answer that a user would write: the question turned round."""
    subject = question.removeprefix("What is ").rstrip("?")
    return f"{subject[0].upper()}{subject[1:]} is {word}."


def says(answer: str, word: str) -> bool:
    """Whether `answer` holds `word` as a word."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", answer, re.IGNORECASE) is not None


@dataclass
class Server:
    """A running `nightschool serve`, and its HTTP routes."""

    home: Path
    http: httpx.Client

    def ask(self, question: str, *, memory: bool = False) -> tuple[str, dict[str, Any]]:
        """The answer, and where it comes from."""
        body = {"messages": [{"role": "user", "content": question}], "memory": memory, "max_tokens": 48}
        reply = self.http.post("/v1/chat/completions", json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()["choices"][0]["message"]["content"], reply.json()["nightschool"]

    def night(self, night_id: str) -> dict[str, Any]:
        """How a night stands."""
        return dict(self.http.get(f"/v1/nights/{night_id}").json())

    def wait(self, night_id: str, *, seconds: float, until: str | None = None) -> dict[str, Any]:
        """The night when it has ended, or reached the stage `until`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            night = self.night(night_id)
            if night["status"] not in ("queued", "running") or night["stage"] == until:
                return night
            time.sleep(0.5)
        raise AssertionError(f"after {seconds} s the night is still {night['status']} in {night['stage']}")


@contextmanager
def serving(home: Path, environment: dict[str, str]) -> Iterator[Server]:
    """A server in a process of its own, ready to answer."""
    command = [sys.executable, "-m", "app", "--home", str(home), "serve", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        with httpx.Client(base_url=address, timeout=120) as http:
            deadline = time.monotonic() + 120
            while http.get("/ready").status_code != 200:
                assert time.monotonic() < deadline, "the server never became ready"
                assert process.poll() is None, "the server died"
                time.sleep(0.2)
            yield Server(home, http)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def five_wrong(server: Server) -> list[tuple[str, str, str]]:
    """(question, word, exchange id) of five that the model gets wrong, Turkey first."""
    wrong = []
    for question, word in FACTS:
        answer, provenance = server.ask(question)
        if not says(answer, word):
            wrong.append((question, word, provenance["exchange_id"]))
        if len(wrong) == 5:
            break
    assert len(wrong) == 5
    assert "Turkey" in wrong[0][0]
    return wrong


def ten_right(server: Server) -> list[tuple[str, str]]:
    """Ten controls that the model gets right before it has learned anything."""
    shipped = {item.question for item in [*general.replayed(), *general.controls()]}
    held_out = [control for control in CONTROLS if control[0] not in shipped]
    right = [(question, word) for question, word in held_out if says(server.ask(question)[0], word)]
    assert len(right) >= 10
    return right[:10]


def test_five_corrections_are_learned_overnight_and_nothing_is_forgotten(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """Corrected answers come from the weights the next day, in the same server process; controls and prose stay."""
    with serving(tmp_path, environment) as server:
        wrong, controls = five_wrong(server), ten_right(server)
        for question, word, exchange_id in wrong:
            feedback = {"exchange_id": exchange_id, "value": -1, "reasons": ["inaccurate"]}
            reply = server.http.post("/v1/feedback", json=feedback | {"correction": correction(question, word)})
            assert reply.json()["lesson"]["state"] == "queued"
        recalled = server.http.get("/v1/memory/search", params={"q": wrong[0][0]}).json()["results"][0]
        assert recalled["kind"] == "correction"
        assert says(recalled["text"], wrong[0][1])

        began = time.monotonic()
        started = server.http.post("/v1/nights")
        assert started.status_code == 202
        night_id = started.json()["id"]
        server.wait(night_id, seconds=60, until="before")
        refused = server.http.post("/v1/nights")
        assert refused.status_code == 409
        assert "process" in refused.json()["error"]["message"]
        night = server.wait(night_id, seconds=2 * NIGHT_SECONDS)
        seconds = time.monotonic() - began

        assert night["status"] == "promoted", night["reasons"]
        assert night["report"]["perplexity"]["ratio"] <= 1.03
        adapter = server.http.get("/v1/adapters").json()["adapters"][0]
        for question, word, _ in wrong:
            answer, provenance = server.ask(question)
            assert says(answer, word), f"{question} {answer}"
            assert (provenance["adapter"], provenance["adapter_sha256"]) == (adapter["version"], adapter["sha256"])
            assert provenance["recollections"] == []
        forgotten = [(q, a) for q, word in controls if not says(a := server.ask(q)[0], word)]
        assert not forgotten
        states = {lesson["state"] for lesson in server.http.get("/v1/lessons").json()["lessons"]}
        assert states == {"verified"}
        again = server.wait(server.http.post("/v1/nights").json()["id"], seconds=60)
        assert again["status"] == "nothing_to_learn"
        ARTIFACTS.mkdir(exist_ok=True)
        (ARTIFACTS / "journey-night.json").write_text(json.dumps({"seconds": seconds, "allowed": NIGHT_SECONDS}))


def kill_night(home: Path) -> None:
    """SIGKILL to the process that holds the night."""
    ledger = Ledger.open(home / "ledger.db")
    lease = ledger.lease()
    ledger.close()
    assert lease is not None
    os.kill(int(re.findall(r"process (\d+)", lease.holder)[0]), signal.SIGKILL)


@pytest.mark.browser
def test_the_same_in_a_browser_with_a_night_killed_on_the_way(
    tmp_path: Path, environment: dict[str, str], context: Any
) -> None:
    """Typing, a thumb, a better answer, learn now, a kill -9, learn now again, the report, and asking again."""
    # What is replayed comes again sooner, so that the base answers a quarter as much: the other journey has it all.
    with serving(tmp_path, environment | {"NIGHTSCHOOL_NIGHT__REPLAY_TURNS": "2"}) as server:
        page = context.new_page()
        page.set_default_timeout(30_000)
        strays: list[str] = []
        page.on(
            "request",
            lambda r: None if r.url.startswith((str(server.http.base_url), "data:", "blob:")) else strays.append(r.url),
        )
        page.goto(str(server.http.base_url))
        for question, word in FACTS[:5]:
            answer = say(page, question)
            assert not says(answer, word), "the model knows it; choose another fact"
            page.click("button[title='Dislike'] >> nth=-1")
            page.wait_for_selector("#feedback-form")
            page.fill("#feedback-correction textarea", correction(question, word))
            page.screenshot(path=ARTIFACTS / "journey-correction.png")
            page.click("#feedback-save")
            page.wait_for_selector("#feedback-form", state="hidden")
            new_chat(page)
        queued = server.http.get("/v1/lessons").json()["lessons"]
        assert [lesson["state"] for lesson in queued] == ["queued"] * len(queued)
        assert len(queued) == 5

        page.goto(f"{server.http.base_url}/learning")
        page.click("#learn-now")
        page.wait_for_selector("#night-progress:has-text('before')")
        night_id = server.http.get("/v1/nights").json()["nights"][0]["id"]
        server.wait(night_id, seconds=NIGHT_SECONDS, until="train")
        page.screenshot(path=ARTIFACTS / "journey-night.png")
        kill_night(tmp_path)
        cut_off = server.wait(night_id, seconds=60)
        assert cut_off["status"] == "failed"
        assert "cut off in stage 'train'" in cut_off["reasons"][0]
        assert server.http.get("/v1/adapters").json()["active"] == "base"
        assert {lesson["state"] for lesson in server.http.get("/v1/lessons").json()["lessons"]} == {"queued"}

        page.get_by_text("cut off in stage").first.wait_for()
        page.click("#learn-now")
        page.get_by_text("What I learned last night").wait_for(timeout=2_000 * NIGHT_SECONDS)
        page.screenshot(path=ARTIFACTS / "journey-report.png", full_page=True)
        assert server.night(night_id)["status"] == "promoted"
        trained = [e for lesson in server.http.get("/v1/lessons").json()["lessons"] for e in lesson["events"]]
        assert [event["state"] for event in trained].count("trained") == len(queued)

        page.goto(str(server.http.base_url))
        new_chat(page)
        page.uncheck("#use-memory input")
        for question, word in FACTS[:5]:
            answer = say(page, question)
            assert says(answer, word), f"{question} {answer}"
            assert latest_version(tmp_path) == "v1"
            new_chat(page)
        assert strays == []
        page.close()


def latest_version(home: Path) -> str:
    """The version that gave the newest answer."""
    ledger = Ledger.open(home / "ledger.db")
    newest = ledger.conversation(ledger.latest_conversation("local") or "")[-1]
    ledger.close()
    return newest.adapter


def say(page: Any, text: str) -> str:
    """Type a message, and the answer once it is whole."""
    page.fill("#message textarea", text)
    page.press("#message textarea", "Enter")
    page.wait_for_selector(ANSWER)
    page.wait_for_selector("#send")
    return str(page.inner_text(f"{ANSWER} >> nth=-1"))


def new_chat(page: Any) -> None:
    """An empty conversation."""
    page.click("#new-chat")
    page.wait_for_selector(ANSWER, state="detached")
