"""Where compiled code is kept, and that processes don't compile the same beside each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from assistant.decoder import why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def test_one_process_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another can't meanwhile, and can afterwards."""
    from assistant.decoder import compiled

    monkeypatch.setattr(compiled, "folder", lambda: tmp_path)
    other = FileLock(tmp_path / "lock")
    with compiled.one_process(), pytest.raises(Timeout):
        other.acquire(timeout=0)
    other.acquire(timeout=0)
    other.release()


def test_nobody_waits_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for a process that hangs, nor where no lock can be had: then each compiles for itself."""
    from assistant.decoder import compiled

    monkeypatch.setattr(compiled, "WAIT_SECONDS", 0.05)
    entered = []
    for folder in (tmp_path, tmp_path / "lock"):
        monkeypatch.setattr(compiled, "folder", lambda folder=folder: folder)
        with FileLock(tmp_path / "lock"), compiled.one_process():
            entered.append(folder)
    assert len(entered) == 2
