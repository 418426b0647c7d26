"""The copy of unpacked weights: made once, read after that, and never trusted unseen."""

from __future__ import annotations

import json
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
    monkeypatch.setattr("assistant.local._quantised", lambda *_: pytest.fail("it was quantised again"))
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
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_manifest_says_what_it_was_made_from(tiny: ModelFiles, tmp_path: Path) -> None:
    """For whoever finds half a gigabyte and wonders."""
    told(tiny, tmp_path)
    copy = unpacked.find(tiny, tmp_path)
    assert copy is not None
    assert json.loads((copy / MANIFEST).read_text())["of"] == tiny.sha256
