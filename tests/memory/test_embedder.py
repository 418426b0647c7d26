"""Text to vectors: the hashing one for tests, and the real one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from memory import ModelUnavailable
from memory.embedder import SentenceEmbedder, _fingerprint, named
from memory.testing import HashingEmbedder

TEXTS = ["How do I boil an egg?", "What is the way to cook eggs in water?", "When did Rome fall?"]


def test_hashing_embedder_is_the_same_in_every_process() -> None:
    """The vectors do not depend on Python's hash seed, have length 1, and empty text has one too."""
    code = "from memory.testing import HashingEmbedder as H; print(H().embed(['a b a', '', '?']).tolist())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    vectors = HashingEmbedder().embed(["a b a", "", "?"])
    assert done.stdout.strip() == str(vectors.tolist())
    assert (vectors.shape, str(vectors.dtype)) == ((3, 64), "float32")
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)


def test_folder_without_a_model_says_so(tmp_path: Path) -> None:
    """A folder that is missing or holds no model gives ModelUnavailable at first use, in one line."""
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(ModelUnavailable, match=r"modules\.json is missing"):
            SentenceEmbedder(folder).embed(["hi"])


@pytest.fixture(scope="module")
def embedder(embedder_path: Path) -> SentenceEmbedder:
    """The real embedder, loaded once."""
    return SentenceEmbedder(embedder_path)


@pytest.mark.model
def test_real_embedder_puts_near_what_means_the_same(embedder: SentenceEmbedder) -> None:
    """Paraphrases are nearer than strangers; vectors are float32 rows of length 1; no text gives no row."""
    vectors = embedder.embed(TEXTS)
    assert (vectors.shape, str(vectors.dtype), embedder.dimensions) == ((3, 384), "float32", 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > 0.7 > 0.3 > cosines[0, 2]
    assert embedder.embed([]).shape == (0, 384)
    assert embedder.embed([""]).shape == (1, 384)


@pytest.mark.model
def test_real_embedder_gives_the_vectors_of_sentence_transformers(embedder: SentenceEmbedder) -> None:
    """The first numbers that sentence-transformers 6.2.0 gives; the same alone and beside a text that is cut."""
    alone = embedder.embed(["How do I boil an egg?"])[0]
    assert alone[:4] == pytest.approx([0.01408716, 0.0022308, -0.02808397, 0.02453463], abs=1e-5)
    beside = embedder.embed(["word " * 600, "How do I boil an egg?", ""])[1]
    assert beside == pytest.approx(alone, abs=1e-5)


@pytest.mark.model
def test_real_embedder_is_safe_between_threads(embedder: SentenceEmbedder) -> None:
    """Threads that embed at once get what one alone gets."""
    alone = embedder.embed(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for together in pool.map(embedder.embed, [TEXTS] * 8):
            assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.model
def test_another_pooling_is_refused(embedder: SentenceEmbedder, tmp_path: Path) -> None:
    """Vectors by another rule than the published one would be near nothing."""
    copy = Path(shutil.copytree(embedder.path, tmp_path / "copy"))
    (copy / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    with pytest.raises(ModelUnavailable, match="its pooling is not the mean"):
        SentenceEmbedder(copy).embed(["hi"])


@pytest.mark.model
def test_name_follows_the_weights_not_the_folder(embedder: SentenceEmbedder, tmp_path: Path) -> None:
    """A copy elsewhere has the same name; damaged weights are told in one line."""
    copy = SentenceEmbedder(Path(shutil.copytree(embedder.path, tmp_path / "copy")))
    assert copy.name == embedder.name
    weights = copy.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:10_000])
    with pytest.raises(ModelUnavailable, match="can't be loaded"):
        SentenceEmbedder(copy.path).embed(["hi"])


def test_an_embedder_is_found_by_its_name(tmp_path: Path) -> None:
    """The name is of the weights, wherever they lie; what is no model is passed over."""
    (tmp_path / "none").mkdir()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "modules.json").write_text("[]")
        (tmp_path / name / "model.safetensors").write_text(f"weights of {name}")
    wanted = _fingerprint(tmp_path / "b")
    for folder in (tmp_path, tmp_path / "b"):
        found = named(wanted, [tmp_path / "missing", folder])
        assert found is not None
        assert found.path == tmp_path / "b"
    assert named("sentence-transformers:0", [tmp_path]) is None
