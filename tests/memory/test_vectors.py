"""The index of vectors: its log, its base, and what becomes of both."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from memory import IndexUnusable, bases
from memory.bits import bits
from memory.index_files import LOG, MANIFEST, NEW
from memory.records import Marks
from memory.testing import HashingEmbedder
from memory.vectors import VectorIndex

EMBEDDER = HashingEmbedder()
TEXTS = ["the cat sat", "a dog ran", "rain in spain", "two green trains"]


def put(index: VectorIndex, texts: Sequence[str], first: int = 1) -> VectorIndex:
    """`index` with `texts` under places that count from `first`."""
    with index.exclusive():
        assert index.sync()
        places = range(first, first + len(texts))
        index.put(places, EMBEDDER.embed(texts), Marks(exchanges=first + len(texts) - 1))
    return index


def index_of(texts: Sequence[str], folder: Path | None = None) -> VectorIndex:
    """An index of `texts` under places that count from 1."""
    return put(VectorIndex.create(folder, EMBEDDER), texts)


def saved(folder: Path) -> Path:
    """A folder with an index of two vectors in a base and two in the log."""
    index = index_of(TEXTS[:2], folder)
    index.fold()
    put(index, TEXTS[2:], first=3)
    return folder


def random_vectors(count: int) -> np.ndarray:
    """Unit vectors in bunches, as texts make them."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(50, EMBEDDER.dimensions))
    rows = centres[random.integers(50, size=count)] + 0.4 * random.normal(size=(count, EMBEDDER.dimensions))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def damage_manifest(folder: Path, **changes: object) -> None:
    """Change entries of the manifest."""
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | changes))


def flip(path: Path) -> None:
    """Invert one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


# ---------------------------------------------------------------------- searching


def test_nearest_first() -> None:
    """A search gives places with cosines, the nearest first: those of numpy's inner product."""
    found = index_of(TEXTS).search(EMBEDDER.embed(["the dog ran"])[0], 4)
    cosines = EMBEDDER.embed(TEXTS) @ EMBEDDER.embed(["the dog ran"])[0]
    assert found[0][0] == 2
    assert [score for _, score in found] == pytest.approx(sorted(cosines, reverse=True))
    assert {i: pytest.approx(s) for i, s in found} == dict(zip(range(1, 5), cosines, strict=True))


def test_search_gives_at_most_what_there_is() -> None:
    """Asking for more than the index holds gives all of it; an empty index and k = 0 give nothing."""
    query = EMBEDDER.embed(["cat"])[0]
    assert len(index_of(TEXTS).search(query, 10**9)) == 4
    assert index_of([]).search(query, 3) == []
    assert index_of(TEXTS).search(query, 0) == []


def test_vectors_of_another_shape_are_refused() -> None:
    """Adding vectors of another length says what was expected and what arrived."""
    with pytest.raises(ValueError, match=r"expected vectors of shape \(1, 64\), got \(1, 3\)"):
        index_of([]).put([1], np.zeros((1, 3), dtype=np.float32), Marks(1))


@pytest.mark.parametrize("folds", [False, True], ids=["fresh", "in the base"])
def test_a_place_that_is_put_again_is_replaced(tmp_path: Path, folds: bool) -> None:
    """The newest vector of a place is the one that is found, wherever the older one lies; after folding too."""
    index = index_of(TEXTS, tmp_path)
    if folds:
        index.fold()
    put(index, ["sunny greece"], first=3)
    for _ in range(2):
        assert index.search(EMBEDDER.embed(["sunny greece"])[0], 1) == [(3, pytest.approx(1))]
        assert dict(index.search(EMBEDDER.embed(["rain in spain"])[0], 9))[3] < 0.5
        assert len(index) == 4
        index.fold()


# ---------------------------------------------------------------------- on disk


def test_opened_again_it_is_the_same(tmp_path: Path) -> None:
    """Base and log are found again, with their marks, and nothing else lies there; more can be added."""
    opened = VectorIndex.open(saved(tmp_path), EMBEDDER)
    query = EMBEDDER.embed(["rain"])[0]
    assert (len(opened), opened.marks) == (4, Marks(exchanges=4))
    assert opened.search(query, 4) == index_of(TEXTS).search(query, 4)
    assert {f.name for f in tmp_path.iterdir()} == {MANIFEST, LOG.format(2), "base-2.faiss", ".lock"}
    put(opened, ["rain rain"], first=9)
    assert opened.search(query, 1)[0][0] == 9
    assert len(VectorIndex.open(tmp_path, EMBEDDER)) == 5


def test_a_log_that_was_cut_off_anywhere_loses_its_last_record_alone(tmp_path: Path) -> None:
    """Whatever of the last record a kill left, the index is what it was before it, and goes on from there."""
    saved(tmp_path)
    log = tmp_path / LOG.format(2)
    before = log.stat().st_size
    put(VectorIndex.open(tmp_path, EMBEDDER), ["one more"], first=5)
    whole = log.read_bytes()
    for cut in (before, before + 1, before + 20, before + 40, len(whole) - 1):
        log.write_bytes(whole[:cut])
        index = VectorIndex.open(tmp_path, EMBEDDER)
        assert (len(index), index.marks) == (4, Marks(exchanges=4))
        put(index, ["another"], first=5)
        assert len(VectorIndex.open(tmp_path, EMBEDDER)) == 5


def test_a_flipped_byte_in_the_log_ends_it_there(tmp_path: Path) -> None:
    """A record that does not bear its checksum is none: what follows is taken in from the ledger again."""
    saved(tmp_path)
    flip(tmp_path / LOG.format(2))
    index = VectorIndex.open(tmp_path, EMBEDDER)
    assert (len(index), index.marks) == (2, Marks(exchanges=2))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: shutil.rmtree(f), "manifest.json is missing"),
        (lambda f: (f / MANIFEST).unlink(), "manifest.json is missing"),
        (lambda f: (f / "base-2.faiss").unlink(), "base-2.faiss is missing"),
        (lambda f: (f / "base-2.faiss").write_bytes(b""), "base-2.faiss is not the file"),
        (lambda f: flip(f / "base-2.faiss"), "base-2.faiss is not the file"),
        (lambda f: (f / MANIFEST).write_text("[]"), "manifest.json is damaged"),
        (lambda f: (f / MANIFEST).write_text('{"embedder":'), "manifest.json is damaged"),
        (lambda f: damage_manifest(f, marks=None), "manifest.json is damaged"),
        (lambda f: damage_manifest(f, base={}), "manifest.json is damaged"),
        (lambda f: damage_manifest(f, embedder="other"), "made by other, not by hashing-64"),
        (lambda f: damage_manifest(f, dimensions=384), "384 dimensions, not 64"),
        (
            lambda f: (f / MANIFEST).write_text('{"embedder": "hashing-64", "dimensions": 64, "last_seq": 4}'),
            "an earlier Nightschool made it",
        ),
    ],
    ids=[
        "no folder",
        "no manifest",
        "no base",
        "emptied",
        "flipped",
        "manifest a list",
        "manifest cut",
        "manifest without marks",
        "manifest without a file",
        "another embedder",
        "other dimensions",
        "an older format",
    ],
)
def test_unusable_index_says_why(tmp_path: Path, damage: Callable[[Path], object], reason: str) -> None:
    """An index that is missing, damaged or of another embedder is refused with the reason."""
    folder = saved(tmp_path / "index")
    damage(folder)
    with pytest.raises(IndexUnusable, match=reason):
        VectorIndex.open(folder, EMBEDDER)


def test_two_that_share_a_folder_see_what_the_other_adds(tmp_path: Path) -> None:
    """What one process appends the other takes in; after a fold by one, the other is told to open it anew."""
    one, other = index_of(TEXTS[:2], tmp_path), VectorIndex.open(tmp_path, EMBEDDER)
    put(other, TEXTS[2:], first=3)
    assert one.sync()
    assert (len(one), one.marks) == (4, Marks(exchanges=4))
    one.fold()
    assert not other.sync()
    assert not other.fold()
    assert len(VectorIndex.open(tmp_path, EMBEDDER)) == 4


def test_removed_is_in_no_file(tmp_path: Path) -> None:
    """What was removed is not found, and its bytes are in no file, be it in the base or in the log."""
    index = VectorIndex.open(saved(tmp_path), EMBEDDER)
    for place, text in ((1, TEXTS[0]), (3, TEXTS[2])):
        wanted = EMBEDDER.embed([text])[0].tobytes()
        assert any(wanted in f.read_bytes() for f in tmp_path.iterdir())
        index.remove([place, 77])
        assert not any(wanted in f.read_bytes() for f in tmp_path.iterdir())
        assert place not in dict(index.search(EMBEDDER.embed([text])[0], 9))
    assert sorted(p for p, _ in VectorIndex.open(tmp_path, EMBEDDER).search(EMBEDDER.embed(["x"])[0], 9)) == [2, 4]
    index.remove([2, 4])
    assert len(VectorIndex.open(tmp_path, EMBEDDER)) == 0


@pytest.mark.parametrize("runs", [True, False], ids=["one that runs", "one that was killed"])
def test_a_base_that_a_process_was_killed_over_is_removed(tmp_path: Path, runs: bool) -> None:
    """With the next generation; what a process that runs is making stays, until something is removed."""
    index = index_of(TEXTS, tmp_path)
    maker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    half = tmp_path / f"{NEW}{maker.pid}"
    half.mkdir()
    (half / "shard-0.faiss").write_bytes(EMBEDDER.embed(TEXTS[:1]).tobytes())
    if not runs:
        maker.kill()
        maker.wait()
    assert index.fold()
    assert half.exists() is runs
    assert index.remove([1])
    assert not half.exists()
    maker.kill()
    maker.communicate()


# ---------------------------------------------------------------------- large


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of index is reached with a few thousand vectors."""
    monkeypatch.setattr(bases, "FLAT", 1000)
    monkeypatch.setattr(bases, "CHUNK", 700)
    monkeypatch.setattr(bases, "TRAINED_PER_LIST", 39)


def grown(folder: Path, rows: np.ndarray, step: int = 500) -> VectorIndex:
    """An index of these vectors, folded after each `step` of them."""
    index = VectorIndex.create(folder, EMBEDDER)
    for start in range(0, len(rows), step):
        with index.exclusive():
            index.put(range(start, start + step), rows[start : start + step], Marks(start + step))
        assert index.fold()
    return index


@pytest.mark.usefixtures("small_steps")
def test_the_kind_follows_the_size(tmp_path: Path) -> None:
    """A small base is exact, a large one has lists; no vector is lost, and nearly all neighbours are found."""
    rows = random_vectors(6000)
    assert grown(tmp_path / "small", rows[:1000]).kind == "flat"
    index = VectorIndex.open(grown(tmp_path / "large", rows).folder or tmp_path, EMBEDDER)
    assert index.kind.endswith("lists of 8-bit codes")
    assert (len(index), index.marks) == (6000, Marks(exchanges=6000))
    found = [{place for place, _ in index.search(row, 10)} for row in rows[::60]]
    exact = np.argsort(-(rows[::60] @ rows.T), axis=1)[:, :10]
    assert np.mean([len(one & set(best.tolist())) / 10 for one, best in zip(found, exact, strict=True)]) >= 0.95
    assert all(place in one for place, one in zip(range(0, 6000, 60), found, strict=True))


@pytest.mark.usefixtures("small_steps")
def test_large_indexes_replace_and_remove_too(tmp_path: Path) -> None:
    """In lists as in a flat base: what is put again is replaced, and what is removed is gone after opening anew."""
    rows = random_vectors(3001)
    rows, other = rows[:3000], rows[3000]
    index = grown(tmp_path, rows)
    with index.exclusive():
        index.put([5], other[None], Marks(3001))
    assert index.search(other, 1) == [(5, pytest.approx(1, abs=0.01))]
    index.remove([7])
    for again in (index, VectorIndex.open(tmp_path, EMBEDDER)):
        assert len(again) == 2999
        assert 7 not in dict(again.search(rows[7], 50))
        assert again.search(other, 1)[0][0] == 5


@pytest.mark.usefixtures("small_steps")
def test_searches_and_additions_go_on_while_a_base_is_built(tmp_path: Path) -> None:
    """What is added, replaced and looked for during a fold is there, in the midst of it and after."""
    rows, lock = random_vectors(3400), threading.RLock()
    index = grown(tmp_path, rows[:2000])
    with index.exclusive():
        index.put(range(2000, 3000), rows[2000:3000], Marks(3000))
    folding = threading.Thread(target=index.fold, args=(lock,))
    folding.start()
    for place in range(3000, 3400):
        with lock, index.exclusive():
            assert index.sync()
            index.put([place], rows[place : place + 1], Marks(place + 1))
            assert index.search(rows[place], 1)[0][0] == place
    folding.join()
    for again in (index, VectorIndex.open(tmp_path, EMBEDDER)):
        assert (len(again), again.marks) == (3400, Marks(exchanges=3400))
        assert all(again.search(rows[place], 1)[0][0] == place for place in range(0, 3400, 100))


@pytest.mark.usefixtures("small_steps")
def test_what_came_since_is_found_as_surely_as_what_is_old(tmp_path: Path) -> None:
    """Beside a base with lists, too: what was just said is found by what is only near to it."""
    rows, new = random_vectors(3000), random_vectors(3400)[3000:]
    index = grown(tmp_path, rows)
    assert index.kind.endswith("lists of 8-bit codes")
    with index.exclusive():
        index.put(range(3000, 3400), new, Marks(3400))
    asked = new + 0.04 * np.random.default_rng(1).normal(size=new.shape).astype(np.float32)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    assert [index.search(row, 1)[0][0] for row in asked] == list(range(3000, 3400))


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("folded", [600, 3000])
def test_a_search_can_be_among_some(tmp_path: Path, folded: int) -> None:
    """In a flat base, in lists and in what lies beside them: all of the few that are asked for, and no other."""
    rows = random_vectors(3200)
    index = grown(tmp_path, rows[:folded], step=folded)
    with index.exclusive():
        index.put(range(folded, 3200), rows[folded:], Marks(3200))
    wanted = range(7, 3200, 160)
    found = index.search(rows[0], 50, bits(wanted))
    assert sorted(place for place, _ in found) == list(wanted)
    assert found[0][0] == max(wanted, key=lambda place: float(rows[place] @ rows[0]))
    assert index.search(rows[0], 50, bits([])) == []
    assert index.search(rows[0], 50, bits([10**6])) == []
