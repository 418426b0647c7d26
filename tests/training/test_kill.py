"""`kill -9` at every stage: the old adapter serves on, and the next night ends what the killed one began."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from assistant.local import WEIGHTS_FILE, check_adapter
from assistant.turn import adapter_files
from memory import AdapterState, AlreadyRunning, Ledger, LessonState, NightStatus
from memory.testing import Clock, night
from training.nightly import run
from training.settings import NightSettings
from training.testing import ScriptedTeacher, rate, school

REDONE = {
    "collect": ["sit", "sit", "sit", "replay", "train", "scale", "sit"],
    "before": ["sit", "sit", "sit", "replay", "train", "scale", "sit"],
    "replay": ["replay", "train", "scale", "sit"],
    "train": ["train", "scale", "sit"],
    "after": ["scale", "sit"],
    "decide": [],
    "bisect": [],
    "publish": [],
    "placed": [],
}
"""Killed in this stage, the next night calls on the model for this and no more."""

AMONG_CANDIDATES = {
    "train": ["train", "scale", "sit", *["train", "scale", "sit"] * 2],
    "candidates": ["train", "scale", "sit", "train", "scale", "sit"],
    "publish": [],
}
"""The same in a night of three candidates: those that were finished are kept."""

NEW = ("peru", "chad")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose v1 serves with one verified lesson, and two new ones."""
    folder = tmp_path_factory.mktemp("before") / "home"
    ledger = Ledger.open(folder / "ledger.db")
    rate(ledger, "turkey", "What is the capital of Turkey?", correction="Ankara.", answer="Istanbul.")
    first = ledger.request_night(night("n1"))
    assert run(school(folder, ledger), first.id, seed=0).status is NightStatus.PROMOTED
    rate(ledger, "peru", "What is the capital of Peru?", correction="Lima.", answer="Cusco.")
    rate(ledger, "chad", "What is the capital of Chad?", correction="N'Djamena.", answer="Abuja.")
    ledger.request_night(night("n2"))
    ledger.close()
    return folder


@pytest.fixture
def home(before: Path, tmp_path: Path) -> Path:
    """That home, the test's own."""
    return Path(shutil.copytree(before, tmp_path / "home"))


@pytest.fixture(scope="module")
def nights() -> Iterator[subprocess.Popen[str]]:
    """Runs nights in processes of their own."""
    program = Path(__file__).with_name("night_process.py")
    root = Path(__file__).parents[2]
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        [sys.executable, str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    ) as process:
        yield process


@pytest.fixture
def killed(home: Path, nights: subprocess.Popen[str], request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """The ledger, after the night was killed in the stage that the test is run with."""
    stage, candidates = request.getfixturevalue("stage"), request.getfixturevalue("candidates")
    assert nights.stdin is not None
    assert nights.stdout is not None
    nights.stdin.write(json.dumps([str(home), "n2", stage, candidates]) + "\n")
    nights.stdin.flush()
    process, where = nights.stdout.readline().split()
    os.kill(int(process), signal.SIGKILL)
    assert where == stage
    assert nights.stdout.readline() == "gone\n"
    ledger = Ledger.open(home / "ledger.db")
    yield ledger
    ledger.close()


@pytest.mark.parametrize(
    ("stage", "candidates", "redone"),
    [
        *[(stage, 1, redone) for stage, redone in REDONE.items()],
        *[(stage, 3, redone) for stage, redone in AMONG_CANDIDATES.items()],
    ],
)
def test_kill(home: Path, killed: Ledger, stage: str, candidates: int, redone: list[str]) -> None:
    """Nothing changes by the kill; the next night goes on where it was cut off, and trains every lesson once."""
    ledger = killed
    active = ledger.active_adapter()
    assert active is not None
    assert active.version == "v1"
    check_adapter(adapter_files(home, active))
    assert [adapter.version for adapter in ledger.adapters()] == ["v1"]
    assert ledger.lesson("turkey").state is LessonState.VERIFIED
    for name in NEW:
        assert [event.state for event in ledger.lesson(name).events] == [LessonState.QUEUED]

    lease = ledger.lease()
    assert lease is not None
    assert lease.holder == "the killed one"
    with pytest.raises(AlreadyRunning, match="the killed one"):
        ledger.request_night(night("n3", created_at=lease.expires_at - timedelta(seconds=0.1)))

    teacher, clock = ScriptedTeacher(), Clock(max(lease.expires_at, datetime.now(UTC)))
    again = ledger.request_night(night("n3", created_at=clock()))
    assert again.id == "n2"
    # The settings of a night are among its inputs: the same ones as in night_process.
    settings = NightSettings(lease_seconds=1.0, candidates=candidates)
    ended = run(school(home, ledger, teacher, settings=settings, clock=clock), again.id, seed=0)
    assert (ended.status, ended.adapter) == (NightStatus.PROMOTED, "v2")
    assert teacher.calls == redone

    active = ledger.active_adapter()
    assert active is not None
    assert active.version == "v2"
    check_adapter(adapter_files(home, active))
    assert b"Lima" in (home / "adapters" / "v2" / WEIGHTS_FILE).read_bytes()
    assert sorted(path.name for path in (home / "adapters").iterdir()) == ["v1", "v2"]
    assert [(a.version, a.state) for a in ledger.adapters()] == [
        ("v2", AdapterState.ACTIVE),
        ("v1", AdapterState.RETIRED),
    ]
    for name in NEW:
        states = [event.state for event in ledger.lesson(name).events]
        assert states == [LessonState.QUEUED, LessonState.TRAINED, LessonState.VERIFIED]
    assert [event.state for event in ledger.lesson("turkey").events].count(LessonState.TRAINED) == 1
    assert ledger.lease() is None
