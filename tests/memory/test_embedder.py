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
from memory.embedder import SentenceEmbedder, named
from memory.encoder import fingerprint
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
def test_an_embedder_of_other_steps_and_the_newer_format(second_embedder: Path) -> None:
    """The first numbers that sentence-transformers 6.2.0 gives of the same folder, and its cosines."""
    other = SentenceEmbedder(second_embedder)
    vectors = other.embed([*TEXTS, "word " * 600])
    assert (vectors.shape, other.dimensions) == ((4, 128), 128)
    assert vectors[0, :4] == pytest.approx([0.06719553, -0.0719851, 0.07481476, 0.04375347], abs=1e-5)
    assert vectors[0] @ vectors.T == pytest.approx([1, 0.7608384, 0.32755023, 0.10293242], abs=1e-5)


@pytest.mark.model
def test_the_first_token_counts_where_the_pooling_says_so(embedder: SentenceEmbedder, tmp_path: Path) -> None:
    """The first numbers that sentence-transformers 6.2.0 gives of the embedder with that pooling."""
    (copy := tmp_path / "copy").mkdir()
    for file in embedder.path.iterdir():
        if file.name != "1_Pooling":
            (copy / file.name).symlink_to(file)
    (copy / "1_Pooling").mkdir()
    (copy / "1_Pooling" / "config.json").write_text(
        '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}'
    )
    vector = SentenceEmbedder(copy).embed(TEXTS)[0]
    assert vector[:4] == pytest.approx([-0.02036037, 0.03106885, 0.000761, 0.03452263], abs=1e-5)


STEPS = '[{"path": "1_Pooling", "type": "models.Pooling"}, {"path": "2_Dense", "type": "models.Dense"}]'
TWO_POOLINGS = '{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}'
MEAN = '{"pooling_mode": "mean"}'
DENSE = '{"in_features": 2, "out_features": 2, "bias": true, "activation_function": "torch.nn.%s"}'


@pytest.mark.parametrize(
    ("modules", "pooling", "dense", "told"),
    [
        ("{", MEAN, "", "can't be loaded"),
        ('["Transformer"]', MEAN, "", "can't be loaded"),
        ("[]", MEAN, "", "names no pooling"),
        ('[{"path": "", "type": "models.CNN"}]', MEAN, "", "names 'CNN', which is not known here"),
        (STEPS, '{"pooling_mode": "lasttoken"}', "", "its pooling is lasttoken"),
        (STEPS, TWO_POOLINGS, "", "its pooling is mean_tokens, cls_token"),
        (STEPS, "{}", "", "its pooling is none"),
        (STEPS, MEAN, DENSE % "GELU", "2_Dense has the activation 'GELU'"),
        (STEPS, MEAN, DENSE % "Tanh", "can't be loaded"),
    ],
)
def test_steps_that_are_not_known_are_refused(
    tmp_path: Path, modules: str, pooling: str, dense: str, told: str
) -> None:
    """Vectors by another rule than the published one would be near nothing: one line says which step is meant."""
    files = {"modules.json": modules, "1_Pooling/config.json": pooling, "2_Dense/config.json": dense}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.raises(ModelUnavailable, match=told) as raised:
        SentenceEmbedder(tmp_path).embed(["hi"])
    assert "\n" not in str(raised.value)


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
    wanted = fingerprint(tmp_path / "b")
    for folder in (tmp_path, tmp_path / "b"):
        found = named(wanted, [tmp_path / "missing", folder])
        assert found is not None
        assert found.path == tmp_path / "b"
    assert named("sentence-transformers:0", [tmp_path]) is None
