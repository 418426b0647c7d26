"""A question → what is remembered of it: the story of the package.

1. Take into the index what the ledger has gained since, whoever wrote it; where the index can't be used, rebuild it.
   What is embedded is each question, and each question with the answer that holds. The lexicon needs nothing: the
   ledger's own transactions keep it.
2. Search both: what is near in meaning, and what shares telling words.
3. Read what was found from the ledger, with the ratings that hold *now*: a correction counts at once.
4. Leave out what was rated down or may not be recalled, and fold what asks the same into one.
5. Rank, and say of each why it is there. `search`, for people, fuses both rankings; `recall`, for a prompt, takes only
   what is near enough not to mislead a model.

The index is a convenience and the ledger is the truth: nothing here can be lost. This module does not know prompts or
models; it loads FAISS at first use.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memory import lexicon
from memory.candidates import Candidate, Candidates, fuse
from memory.errors import IndexUnusable
from memory.ledger import Ledger
from memory.places import Part, seq_of
from memory.records import Marks, Recollection

if TYPE_CHECKING:
    from memory.embedder import Embedder, Vectors
    from memory.reranker import Reranker
    from memory.vectors import VectorIndex

BATCH = 256
"""How many texts are embedded, and how many exchanges are read, at once."""

DEPTH = 20
"""How far down each ranking counts in a fusion: what only one of them finds further down is noise (BENCHMARKS.md)."""

ALIKE = 0.02
"""Cosines that tell nothing apart: for a prompt, of two so near to each other the newer one comes first."""

LEAST = 0.2
"""Cosine under which a search by meaning finds nothing: what has no more in common than that is a stranger."""

Progress = Callable[[int, int], None]
"""Called with (exchanges in the index, exchanges in all) after each batch."""


@dataclass(frozen=True)
class Nearness:
    """How near a recollection must be for a prompt, as cosines in [-1, 1]. `corrected` is for what a person wrote: a
    correction, or a document.
    """

    plain: float
    corrected: float

    def holds(self, candidate: Candidate) -> bool:
        least = self.corrected if candidate.written_by_a_person else self.plain
        return candidate.dense is not None and candidate.dense >= least


class Memory:
    """Recall over a ledger. Safe to use from several threads, and beside other processes that write the ledger.

    Args:
        ledger: the truth.
        embedder: turns texts into vectors.
        folder: where the index is kept between runs; None keeps it in memory only.
        min_score: cosine in [-1, 1] below which nothing is recalled for a prompt.
        min_score_corrected: the same for corrections and documents; None: as `min_score`.
        reranker: puts the best of a fusion into its own order.
    """

    def __init__(
        self,
        ledger: Ledger,
        embedder: Embedder,
        folder: Path | None,
        *,
        min_score: float,
        min_score_corrected: float | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self._ledger, self._embedder, self._folder, self._reranker = ledger, embedder, folder, reranker
        self._near = Nearness(min_score, min_score if min_score_corrected is None else min_score_corrected)
        self._lock = threading.RLock()
        self._index: VectorIndex | None = None
        self._folding: threading.Thread | None = None
        self.rebuilt: str | None = None
        """Why the index was last built anew from the ledger, or None."""

    # ------------------------------------------------------------------ the story

    def search(self, query: str, *, k: int, user: str | None = None) -> list[Recollection]:
        """The `k` best for a person who looks for something (of `user`'s, or of everybody's): both rankings fused.

        Raises:
            ModelUnavailable: the embedder's weights can't be loaded.
        """
        if k <= 0:
            return []
        found = self.found(query, depth=max(k, DEPTH), user=user)
        fused = fuse(found.by_meaning(), found.by_words(), depth=max(k, DEPTH))
        return [one.recollection(user, score) for one, score in self._reranked(query, fused)[:k]]

    def recall(
        self, question: str, *, k: int, user: str | None = None, version: str | None = None
    ) -> list[Recollection]:
        """The `k` best for a prompt that asks `question`, the nearest first: near enough, and about nothing else.

        Args:
            version: the one that answers; what is verified in its weights needs no room in the prompt.

        Raises:
            ModelUnavailable: the embedder's weights can't be loaded.
        """

        def fits(one: Candidate) -> bool:
            return self._near.holds(one) and not lexicon.about_another(question, one.question)

        least = min(self._near.plain, self._near.corrected)
        found = self._find(question, k=k, user=user, least=least, fits=fits, version=version) if k > 0 else None
        if found is None:
            return []
        return [one.recollection(user, one.dense or 0.0) for one in found.by_meaning(alike=ALIKE)[:k]]

    def found(self, query: str, *, depth: int, user: str | None = None) -> Candidates:
        """Both rankings of a search before they are fused, `depth` deep at least: for whoever measures them."""
        found = self._find(query, k=depth, user=user, least=LEAST, fits=_anything)
        return found or Candidates(self._ledger, user=user, version=None, fits=_anything)

    def _find(
        self,
        question: str,
        *,
        k: int,
        user: str | None,
        least: float,
        fits: Callable[[Candidate], bool],
        version: str | None = None,
    ) -> Candidates | None:
        """What both searches find: by meaning, all that can be among the `k` nearest; None where nothing can be."""
        if not question.strip() or self._level(None) is None:
            return None
        vector = self._embedder.embed([question])[0]
        found = Candidates(self._ledger, user=user, version=version, fits=fits)
        words = lexicon.query(question)
        found.add_words(self._ledger.find_words(words, limit=4 * k, user=user) if words else [])
        wanted = max(BATCH, 8 * k)
        while True:
            with self._lock:
                index = self._index
                hits = index.search(vector, wanted) if index else []
            near = [(place, score) for place, score in hits if score >= least]
            found.add_near(near)
            nearest = found.by_meaning()
            # Beyond the last hit there may be a better one of the same question, until that is out of reach.
            complete = len(nearest) >= k and hits[-1][1] < (nearest[k - 1].dense or 0.0) - ALIKE
            if complete or len(near) < len(hits) or len(hits) < wanted:
                return found
            wanted *= 4

    def _reranked(self, query: str, fused: list[tuple[Candidate, float]]) -> list[tuple[Candidate, float]]:
        if self._reranker is None or not fused:
            return fused
        scores = self._reranker.scores(query, [f"{one.question}\n{one.answer}" for one, _ in fused])
        ranked = sorted(zip(fused, scores, strict=True), key=lambda pair: -pair[1])
        return [(one, score) for (one, _), score in ranked]

    # ------------------------------------------------------------------ level with the ledger

    def remember(self) -> None:
        """Take in what was just written, so that the next question need not wait for it."""
        self._level(None)

    def refresh(self, progress: Progress | None = None) -> None:
        """Bring the index level with the ledger: load it, take in what is new, or build it anew."""
        self._level(progress)

    def rebuild(self, progress: Progress | None = None) -> None:
        """Build the index anew from the ledger."""
        with self._lock:
            self._build("it was asked for", progress)

    def forget(self, places: Sequence[int]) -> None:
        """Remove what was embedded of these places, from the files too. Whoever calls it has changed the ledger."""
        with self._lock:
            if self._level(None) is not None and self._index is not None:
                self._index.remove(places)

    def save(self) -> None:
        """Wait for a base that is being built, and write what could not be written so far; see `not_saved`."""
        if self._folding is not None:
            self._folding.join()
        with self._lock:
            if self._index is not None:
                self._index.save()

    @property
    def not_saved(self) -> str | None:
        """Why the index could not be written to its folder the last time, or None. Recall works without."""
        return self._index.not_saved if self._index else None

    @property
    def size(self) -> int:
        """Vectors in the index, as far as it is loaded."""
        return len(self._index) if self._index else 0

    def contents(self) -> dict[int, Vectors]:
        """Everything that the index holds, place → vector: for who checks it."""
        with self._lock:
            return self._index.contents() if self._index else {}

    def _level(self, progress: Progress | None) -> VectorIndex | None:
        with self._lock:
            reaches = self._ledger.marks()
            if self._index is None:
                if reaches == Marks() and not (self._folder and self._folder.exists()):
                    # Nothing to recall: that needs no weights.
                    return None
                self._index = self._open()
            if _ahead(self._index.marks, reaches):
                return self._build("it is ahead of the ledger", progress)
            if self._index.marks != reaches:
                self._catch_up(progress)
            return self._index

    def _open(self) -> VectorIndex:
        # Here, not above: FAISS is loaded by those who recall.
        from memory.vectors import VectorIndex

        if self._folder is not None:
            try:
                return VectorIndex.open(self._folder, self._embedder)
            except IndexUnusable as error:
                self.rebuilt = error.reason
        return VectorIndex.create(self._folder, self._embedder)

    def _build(self, why: str, progress: Progress | None) -> VectorIndex:
        from memory.vectors import VectorIndex

        self.rebuilt = why
        self._index = VectorIndex.create(self._folder, self._embedder)
        self._catch_up(progress)
        return self._index

    def _catch_up(self, progress: Progress | None) -> None:
        total, done = (self._ledger.count_exchanges(), 0) if progress else (0, 0)
        while True:
            assert self._index is not None  # noqa: S101 - opened by who calls
            # What could not be written before, perhaps because another process held the lock, may be now.
            self._index.save()
            with self._index.exclusive():
                if not self._index.sync():
                    # Another process has made a new one.
                    self._index = self._open()
                    continue
                texts, marks = self._ledger.written_after(self._index.marks, limit=BATCH)
                if not texts and marks == self._index.marks:
                    break
                self._index.put([p for p, _ in texts], self._embedder.embed([text for _, text in texts]), marks)
            if self._index.must_fold:
                self._index.fold()
            done += sum(1 for place, _ in texts if seq_of(place)[1] is Part.QUESTION)
            if progress and texts:
                progress(done, max(done, total))
        if self._index.wants_folding and (self._folding is None or not self._folding.is_alive()):
            self._folding = threading.Thread(target=self._index.fold, args=(self._lock,), name="fold", daemon=True)
            self._folding.start()


def _anything(_: Candidate) -> bool:
    return True


def _ahead(marks: Marks, of: Marks) -> bool:
    return marks.exchanges > of.exchanges or marks.ratings > of.ratings or marks.passages > of.passages
