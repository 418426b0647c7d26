"""The copy of unpacked weights: made once, read after that, and never trusted unseen."""

from __future__ import annotations

import json
import resource
import shutil
import signal
from pathlib import Path

import pytest

from assistant import unpacked
from assistant.local import LocalEngine
from assistant.models import MANIFEST, ModelFiles
from tests.assistant.test_local import PROMPTS, answer, save_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    """A random Llama of 100,000 weights."""
    return save_model(tmp_path_factory.mktemp("model"), None)


def told(files: ModelFiles, copies: Path | None) -> list[str]:
    """Greedy answers of a freshly loaded engine."""
    engine = LocalEngine(files, copies=copies)
    return [answer(engine, prompt) for prompt in PROMPTS]


def test_a_start_from_the_copy_gives_the_same_answers_without_quantising(
    tiny: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second load does not quantise at all."""
    expected = told(tiny, None)
    assert told(tiny, tmp_path) == expected
    monkeypatch.setattr("assistant.loading.quantised", lambda *_: pytest.fail("it was quantised again"))
    assert told(tiny, tmp_path) == expected


@pytest.mark.parametrize("damage", ["weights", "manifest", "missing"])
def test_a_damaged_copy_is_made_anew(tiny: ModelFiles, tmp_path: Path, damage: str) -> None:
    """Whatever happened to it, the answers are those of the weights."""
    expected = told(tiny, tmp_path)
    copy = unpacked.find(tiny, tmp_path)
    assert copy is not None
    weights = copy / "model.safetensors"
    if damage == "weights":
        weights.write_bytes(weights.read_bytes()[:-64] + bytes(64))
    elif damage == "manifest":
        (copy / MANIFEST).write_text("[]")
    else:
        weights.unlink()
    assert unpacked.find(tiny, tmp_path) is None
    assert told(tiny, tmp_path) == expected
    assert unpacked.find(tiny, tmp_path) == copy


def test_a_copy_that_cannot_be_read_is_none(tiny: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole by its hashes, and yet another library's: the weights are quantised as if there were none."""
    expected = told(tiny, tmp_path)
    copy = unpacked.find(tiny, tmp_path)
    assert copy is not None
    (copy / "config.json").write_text("{}")
    monkeypatch.setattr(unpacked, "find", lambda *_: copy)
    assert told(tiny, tmp_path) == expected


def test_the_same_weights_under_another_config_are_another_model(tiny: ModelFiles, tmp_path: Path) -> None:
    """A copy carries the config that it was made with."""
    mine = Path(shutil.copytree(tiny.path, tmp_path / "mine"))
    files = ModelFiles("mine", mine, tiny.sha256)
    told(files, tmp_path / "copies")
    assert unpacked.find(files, tmp_path / "copies")
    config = json.loads((mine / "config.json").read_text())
    (mine / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    assert unpacked.find(files, tmp_path / "copies") is None


def test_what_a_killed_start_left_behind_is_swept(tiny: ModelFiles, tmp_path: Path) -> None:
    """Half a gigabyte of nothing must not stay for ever."""
    left = tmp_path / ".draft-of-old"
    left.mkdir()
    (left / "model.safetensors").write_bytes(bytes(100))
    told(tiny, tmp_path)
    assert [path.name for path in tmp_path.glob(".draft-*")] == []


def test_a_disk_that_fills_while_it_is_written_is_no_error(tiny: ModelFiles, tmp_path: Path) -> None:
    """Safetensors has an error of its own for that, which is no OSError."""
    expected = told(tiny, None)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        answers = told(tiny, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert answers == expected
    assert unpacked.find(tiny, tmp_path) is None
    assert [path.name for path in tmp_path.glob(".draft-*")] == []


def test_other_weights_have_another_copy(tiny: ModelFiles, tmp_path: Path) -> None:
    """A copy belongs to the hash that it was made from."""
    told(tiny, tmp_path)
    other = ModelFiles(tiny.model_id, tiny.path, "1" * 64)
    assert unpacked.find(other, tmp_path) is None


def test_a_copy_that_cannot_be_written_is_no_error(tiny: ModelFiles, tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    assert told(tiny, tmp_path / "file") == told(tiny, None)


def test_no_copy_of_a_large_model(tiny: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the limit nothing is left on the disk."""
    monkeypatch.setattr(unpacked, "LARGEST", 1000)
    told(tiny, tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]


def test_the_manifest_says_what_it_was_made_from(tiny: ModelFiles, tmp_path: Path) -> None:
    """For whoever finds half a gigabyte and wonders."""
    told(tiny, tmp_path)
    copy = unpacked.find(tiny, tmp_path)
    assert copy is not None
    assert json.loads((copy / MANIFEST).read_text())["of"] == tiny.sha256
