"""Finished stages: files that appear whole or not at all, and a night that goes on from them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from training.publish import place
from training.stages import Finished, write_json, write_text


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Folders are made, an older file is replaced, and nothing else is left beside it."""
    file = tmp_path / "new" / "folder" / "x.json"
    write_json(file, {"a": ["ü", 1.5]})
    write_json(file, {"b": 2})
    assert json.loads(file.read_text("utf-8")) == {"b": 2}
    assert [path.name for path in file.parent.iterdir()] == ["x.json"]


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    """Whatever stops a write, a reader sees the file as it was, and nothing lies beside it: it may be what somebody
    said, of which forgetting must find every copy.
    """
    file = tmp_path / "x.txt"
    write_text(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(file, "new " * 100_000 + "\ud800")
    assert file.read_text("utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]
    write_text(file, "newer")
    assert file.read_text("utf-8") == "newer"
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]


def test_a_full_disk_leaves_no_half_a_file(tmp_path: Path) -> None:
    """What was written of it so far goes with the error."""
    program = (
        "import resource, signal, sys; from pathlib import Path; from training.stages import write_json\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: write_json(Path(sys.argv[1]), 'said ' * 4000)\n"
        "except OSError: print('refused')\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "after.json")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "refused\n"
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_json_changes_nothing(tmp_path: Path) -> None:
    """A result that can't be kept is an error before any file is touched."""
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {1, 2})
    assert list(tmp_path.iterdir()) == []


def test_each_stage_is_done_once(tmp_path: Path) -> None:
    """A second process with the same inputs reads what the first one worked out."""
    calls: list[str] = []

    def work() -> list[int]:
        calls.append("train")
        return [1, 2]

    for _ in range(2):
        done = Finished(tmp_path / "n1", ["abc", 1])
        assert done.once("train", work) == [1, 2]
    assert calls == ["train"]


def test_the_first_run_and_a_later_one_get_the_same(tmp_path: Path) -> None:
    """Even the run that works a stage out gets it as JSON gives it, so that resuming can't differ."""
    assert Finished(tmp_path / "n1", "abc").once("before", lambda: {"pair": (1, 2)}) == {"pair": [1, 2]}


def test_a_stage_that_breaks_is_not_finished(tmp_path: Path) -> None:
    """An error leaves no file, and the stage is done again."""
    done = Finished(tmp_path / "n1", "abc")

    def broken() -> None:
        raise OSError

    with pytest.raises(OSError):
        done.once("train", broken)
    assert done.once("train", lambda: 7) == 7


def test_other_inputs_start_over(tmp_path: Path) -> None:
    """What belongs to other lessons, another seed or another version is thrown away, big files too."""
    Finished(tmp_path / "n1", "abc").once("train", lambda: 1)
    (tmp_path / "n1" / "trained").mkdir()
    (tmp_path / "n1" / "trained" / "weights").write_bytes(b"x")
    done = Finished(tmp_path / "n1", "abd")
    assert not (tmp_path / "n1" / "trained").exists()
    assert done.once("train", lambda: 2) == 2


def test_placing_replaces_what_a_killed_night_left(tmp_path: Path) -> None:
    """Remains of an earlier try, half copied or whole, are gone; the source stays."""
    source, target = tmp_path / "source", tmp_path / "adapters" / "v2"
    source.mkdir()
    (source / "weights").write_bytes(b"new")
    for remains in (target, tmp_path / "adapters" / ".v2.tmp"):
        remains.mkdir(parents=True)
        (remains / "stray").write_bytes(b"old")
    place(source, target, {"night": "n2"})
    assert [path.name for path in (tmp_path / "adapters").iterdir()] == ["v2"]
    assert sorted(path.name for path in target.iterdir()) == ["manifest.json", "weights"]
    assert json.loads((target / "manifest.json").read_text())["night"] == "n2"
    assert (target / "weights").read_bytes() == (source / "weights").read_bytes() == b"new"


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff"])
def test_a_damaged_file_is_worked_out_again(tmp_path: Path, damage: bytes) -> None:
    """A disk that lost a block costs a stage, or the night's work so far; never the night."""
    done = Finished(tmp_path / "n1", ["inputs"])
    assert done.once("before", lambda: 1) == 1
    (tmp_path / "n1" / "before.json").write_bytes(damage)
    assert done.once("before", lambda: 2) == 2
    (tmp_path / "n1" / "inputs.json").write_bytes(damage)
    assert Finished(tmp_path / "n1", ["inputs"]).once("before", lambda: 3) == 3
