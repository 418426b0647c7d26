"""The index of vectors and its two files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from memory import IndexUnusable
from memory.testing import HashingEmbedder
from memory.vectors import INDEX, MANIFEST, VectorIndex

EMBEDDER = HashingEmbedder()
TEXTS = ["the cat sat", "a dog ran", "rain in spain", "two green trains"]


def index_of(texts: list[str]) -> VectorIndex:
    """An index of `texts` under ids that count from 1."""
    index = VectorIndex(EMBEDDER.name, EMBEDDER.dimensions)
    index.add(range(1, len(texts) + 1), EMBEDDER.embed(texts))
    index.last_seq = len(texts)
    return index


def damage_manifest(folder: Path, **changes: object) -> None:
    """Change entries of the manifest."""
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | changes))


def save_half(index: VectorIndex, folder: Path) -> None:
    """A save that is cut off between its two files."""
    index.save(folder / "whole")
    (folder / "whole" / INDEX).replace(folder / INDEX)


def flip(path: Path) -> None:
    """Invert one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_nearest_first() -> None:
    """A search gives ids with cosines, the nearest first: those of numpy's inner product."""
    found = index_of(TEXTS).search(EMBEDDER.embed(["the dog ran"])[0], 4)
    cosines = EMBEDDER.embed(TEXTS) @ EMBEDDER.embed(["the dog ran"])[0]
    assert found[0][0] == 2
    assert [score for _, score in found] == pytest.approx(sorted(cosines, reverse=True))
    assert {i: pytest.approx(s) for i, s in found} == dict(zip(range(1, 5), cosines, strict=True))


def test_search_gives_at_most_what_there_is() -> None:
    """Asking for more than the index holds gives all of it; an empty index and k = 0 give nothing."""
    query = EMBEDDER.embed(["cat"])[0]
    assert len(index_of(TEXTS).search(query, 99)) == 4
    assert index_of([]).search(query, 3) == []
    assert index_of(TEXTS).search(query, 0) == []


def test_removed_is_not_found() -> None:
    """Removed ids are gone, unknown ones are passed over, and the count follows."""
    index = index_of(TEXTS)
    assert index.remove([2, 77]) == 1
    assert len(index) == 3
    assert 2 not in dict(index.search(EMBEDDER.embed(["a dog ran"])[0], 4))


def test_vectors_of_another_shape_are_refused() -> None:
    """Adding vectors of another length says what was expected and what arrived."""
    with pytest.raises(ValueError, match=r"expected vectors of shape \(1, 64\), got \(1, 3\)"):
        index_of([]).add([1], np.zeros((1, 3), dtype=np.float32))


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    """What was saved is found again, with its mark; no temporary file stays; more can be added."""
    index_of(TEXTS).save(tmp_path / "index")
    loaded = VectorIndex.load(tmp_path / "index", EMBEDDER)
    query = EMBEDDER.embed(["rain"])[0]
    assert (len(loaded), loaded.last_seq) == (4, 4)
    assert loaded.search(query, 4) == index_of(TEXTS).search(query, 4)
    assert {f.name for f in (tmp_path / "index").iterdir()} == {INDEX, MANIFEST}
    loaded.add([9], EMBEDDER.embed(["rain rain"]))
    assert loaded.search(query, 1)[0][0] == 9
    assert loaded.remove([1]) == 1


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: shutil.rmtree(f), "manifest.json is missing"),
        (lambda f: (f / MANIFEST).unlink(), "manifest.json is missing"),
        (lambda f: (f / INDEX).unlink(), "vectors.faiss is missing"),
        (lambda f: (f / INDEX).write_bytes((f / INDEX).read_bytes()[:100]), "vectors.faiss is not the file"),
        (lambda f: (f / INDEX).write_bytes(b""), "vectors.faiss is not the file"),
        (lambda f: flip(f / INDEX), "vectors.faiss is not the file"),
        (lambda f: flip(f / MANIFEST), "manifest.json is damaged|made by|not the file|dimensions"),
        (lambda f: (f / MANIFEST).write_text("[]"), "manifest.json is damaged"),
        (lambda f: (f / MANIFEST).write_text('{"embedder":'), "manifest.json is damaged"),
        (lambda f: damage_manifest(f, last_seq=None), "manifest.json is damaged"),
        (lambda f: damage_manifest(f, count=3), "manifest.json is damaged"),
        (lambda f: damage_manifest(f, embedder="other"), "made by other, not by hashing-64"),
        (lambda f: damage_manifest(f, dimensions=384), "384 dimensions, not 64"),
        (lambda f: save_half(index_of(["another"]), f), "not the file"),
    ],
    ids=[
        "no folder",
        "no manifest",
        "no index",
        "cut",
        "emptied",
        "flipped",
        "manifest flipped",
        "manifest a list",
        "manifest cut",
        "manifest without last_seq",
        "manifest with another count",
        "another embedder",
        "other dimensions",
        "crash between the two files",
    ],
)
def test_unusable_index_says_why(tmp_path: Path, damage: Callable[[Path], object], reason: str) -> None:
    """An index that is missing, damaged or of another embedder is refused with the reason."""
    folder = tmp_path / "index"
    index_of(TEXTS).save(folder)
    damage(folder)
    with pytest.raises(IndexUnusable, match=reason):
        VectorIndex.load(folder, EMBEDDER)


def test_failed_save_leaves_the_old_index(tmp_path: Path) -> None:
    """A save that fails raises OSError, leaves no temporary file, and the index saved before still loads."""
    index_of(TEXTS).save(tmp_path)
    (tmp_path / INDEX).rename(tmp_path / "kept")
    (tmp_path / INDEX).mkdir()
    with pytest.raises(OSError, match="directory"):
        index_of(["another"]).save(tmp_path)
    (tmp_path / INDEX).rmdir()
    (tmp_path / "kept").rename(tmp_path / INDEX)
    assert len(VectorIndex.load(tmp_path, EMBEDDER)) == 4
    assert {f.name for f in tmp_path.iterdir()} == {INDEX, MANIFEST}
