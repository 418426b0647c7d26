"""The whole loop with a real vLLM answering: chat → rate → night → adapter loaded into vLLM → better answer → rollback.

PEER_VLLM names the environment that vLLM is installed in (docs/SERVING.md); the test starts it. What is asked is
chosen by what the model says, so nothing here depends on what it happens to know.
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
from pathlib import Path
from typing import Any

import httpx
import pytest

from assistant.models import resolve
from training.bench.peers import VLLM, environment_of, vllm

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not os.environ.get(VLLM), reason=f"{VLLM} names no environment that vLLM is installed in"),
]

FACTS = [
    ("What is the capital of Turkey?", "Ankara"),
    ("What is the capital of Ecuador?", "Quito"),
    ("What is the capital of Tanzania?", "Dodoma"),
    ("What is the capital of Myanmar?", "Naypyidaw"),
    ("What is the capital of Kazakhstan?", "Astana"),
    ("What is the capital of Burkina Faso?", "Ouagadougou"),
    ("What is the capital of Ivory Coast?", "Yamoussoukro"),
    ("What is the capital of Bhutan?", "Thimphu"),
    ("What is the capital of Palau?", "Ngerulmud"),
    ("What is the capital of Nigeria?", "Abuja"),
]
"""Of which the model gets three wrong at least, with the word that a right answer holds."""

TAUGHT = 5
"""Of what it gets wrong, at most."""

NIGHT_SECONDS = 3600
"""What a night may take on a machine that does much else."""


@pytest.fixture(scope="module")
def upstream(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A vLLM over the embedded model."""
    environment = environment_of(VLLM)
    assert environment is not None
    folder = tmp_path_factory.mktemp("vllm")
    with (folder / "vllm.log").open("wb") as log, vllm(environment, resolve("embedded", models_dir).path, log) as url:
        yield url


@contextmanager
def serving(home: Path, environment: dict[str, str]) -> Iterator[httpx.Client]:
    """`nightschool serve` in a process of its own, ready to answer."""
    command = [sys.executable, "-m", "app", "--home", str(home), "serve", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        with httpx.Client(base_url=address, timeout=300) as http:
            deadline = time.monotonic() + 300
            while http.get("/ready").status_code != 200:
                assert time.monotonic() < deadline, http.get("/ready").text
                time.sleep(0.2)
            yield http
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def ask(http: httpx.Client, question: str) -> tuple[str, dict[str, Any]]:
    """The answer without recall, and where it comes from."""
    body = {"messages": [{"role": "user", "content": question}], "memory": False, "max_tokens": 32}
    reply = http.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]["message"]["content"], reply.json()["nightschool"]


def says(answer: str, word: str) -> bool:
    """Whether `answer` holds `word`."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", answer, re.IGNORECASE) is not None


def test_the_loop_over_vllm(upstream: str, tmp_path: Path, environment: dict[str, str]) -> None:
    """What is learned here is loaded there and answers; the rollback answers as before; nothing is started again."""
    home = tmp_path / "home"
    environment |= {
        "NIGHTSCHOOL_ENGINE": "remote",
        "NIGHTSCHOOL_REMOTE_URL": upstream,
        "NIGHTSCHOOL_REMOTE_MODEL": "base",
        "NIGHTSCHOOL_REMOTE_TIMEOUT": "300",
    }
    with serving(home, environment) as http:
        wrong: list[tuple[str, str, str]] = []
        for question, word in FACTS:
            answer, about = ask(http, question)
            assert about["adapter"] == "base"
            if not says(answer, word) and len(wrong) < TAUGHT:
                wrong.append((question, word, answer))
                subject = question.removeprefix("What is ").rstrip("?")
                correction = f"{subject[0].upper()}{subject[1:]} is {word}."
                rating = {"exchange_id": about["exchange_id"], "value": -1, "correction": correction}
                assert http.post("/v1/feedback", json=rating).status_code == 200
        assert len(wrong) >= 3

        night_id = http.post("/v1/nights").json()["id"]
        deadline = time.monotonic() + NIGHT_SECONDS
        while (night := http.get(f"/v1/nights/{night_id}").json())["status"] in ("queued", "running"):
            assert time.monotonic() < deadline, (night["stage"], night["detail"])
            ask(http, "What is the capital of France?")
            time.sleep(5)
        assert night["status"] == "promoted", night["reasons"]

        # The night had vLLM load it, before anybody was answered with it.
        sha256 = http.get("/v1/adapters").json()["adapters"][0]["sha256"]
        listed = [model["id"] for model in httpx.get(f"{upstream}/models").json()["data"]]
        assert f"v1-{sha256[:12]}" in listed
        right = 0
        for question, word, _ in wrong:
            answer, about = ask(http, question)
            assert (about["adapter"], about["adapter_sha256"]) == ("v1", sha256)
            right += says(answer, word)
        assert right >= len(wrong) - 1

        command = [sys.executable, "-m", "app", "--home", str(home), "rollback", "--json"]
        rolled = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert json.loads(rolled.stdout) == {"active": "base"}
        for question, _, before in wrong:
            answer, about = ask(http, question)
            assert about["adapter"] == "base"
            assert answer == before
        sys.stdout.write(f"\n{right} of {len(wrong)} right after the night, 0 before\n")
