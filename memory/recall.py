"""A question → what is remembered of it: the story of the package.

1. Take into the index what the ledger has gained since, whoever wrote it; where the index can't be used, rebuild it.
   What is embedded is the question.
2. Search the index for questions of near meaning.
3. Read those exchanges, with the ratings that hold *now*, from the ledger: a correction counts at once.
4. Leave out what was rated down, fold equal questions into one, and say of each why it is there.

The index is a convenience and the ledger is the truth: nothing here can be lost. This module does not know prompts or
models; it loads FAISS at first use.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from memory.errors import IndexUnusable
from memory.ledger import Ledger
from memory.records import Exchange, Rating, Recollection

if TYPE_CHECKING:
    from memory.embedder import Embedder
    from memory.vectors import VectorIndex

BATCH = 256
"""How many questions are embedded, and how many exchanges are read, at once."""

SAME = 1e-4
"""Cosines nearer than this can be of the same question, written in other case or spacing."""

Progress = Callable[[int, int], None]
"""Called with (questions in the index, questions in all) after each batch."""


class Memory:
    """Recall over a ledger. Safe to use from several threads, and beside other processes that write the ledger.

    Args:
        ledger: the truth.
        embedder: turns questions into vectors.
        folder: where the index is kept between runs; None keeps it in memory only.
        min_score: cosine in [-1, 1] below which nothing is recalled.
        save_every: the index is saved after so many additions, or after a tenth of its size where that is more (a save
            writes it whole). What a kill loses is embedded again at the next start.
    """

    def __init__(
        self, ledger: Ledger, embedder: Embedder, folder: Path | None, *, min_score: float, save_every: int
    ) -> None:
        self._ledger, self._embedder, self._folder = ledger, embedder, folder
        self._min_score, self._save_every = min_score, save_every
        self._lock = threading.RLock()
        self._index: VectorIndex | None = None
        self._unsaved = 0
        self.not_saved: str | None = None
        """Why the index could not be written to its folder the last time, or None. Recall works without."""
        self.rebuilt: str | None = None
        """Why the index was last built anew from the ledger, or None."""

    # ------------------------------------------------------------------ the story

    def recall(self, question: str, *, k: int, user: str | None = None) -> list[Recollection]:
        """The `k` best recollections for `question` (of `user`, or of everybody), the nearest first.

        Raises:
            ModelUnavailable: the embedder's weights can't be loaded.
        """
        if k <= 0 or not question.strip():
            return []
        index = self._level(None)
        if not index:
            return []
        vector = self._embedder.embed([question])[0]
        best: dict[str, _Candidate] = {}
        seen: set[int] = set()
        wanted = max(BATCH, 4 * k)
        while True:
            with self._lock:
                hits = index.search(vector, wanted)
            near = [(seq, score) for seq, score in hits if score >= self._min_score]
            # By id, not by place: a wider search may order equal scores in another way.
            self._fold(best, [hit for hit in near if hit[0] not in seen], user)
            seen.update(seq for seq, _ in near)
            ranked = sorted(best.values(), key=lambda c: (-c.score, -c.seq))[:k]
            # Beyond the last hit there may be a better one of the same question, until that is out of reach.
            complete = len(ranked) == k and hits[-1][1] < ranked[-1].score - SAME
            if complete or len(near) < len(hits) or len(hits) < wanted:
                return [c.recollection(user) for c in ranked]
            wanted *= 4

    def remember(self, seq: int, question: str) -> None:
        """Take a new exchange's question into the index (what `recall` would find in the ledger by itself)."""
        with self._lock:
            index = self._index
            if index is None or seq != index.last_seq + 1:
                self.refresh()
                return
            self._add(index, [(seq, question)])

    def forget(self, seqs: Sequence[int]) -> None:
        """Take exchanges out of the index that are in the ledger no more, and write it down at once."""
        with self._lock:
            index = self._index = self._load() if self._index is None else self._index
            index.remove(seqs)
            index.last_seq = min(index.last_seq, self._ledger.last_seq())
            self._unsaved += 1
            self.save()

    def refresh(self, progress: Progress | None = None) -> None:
        """Bring the index level with the ledger: load it, take in what is new, or build it anew."""
        self._level(progress)

    def rebuild(self, progress: Progress | None = None) -> None:
        """Build the index anew from the ledger."""
        self._build("it was asked for", progress)

    def save(self) -> None:
        """Write the index to its folder, if anything is new; where that fails, `not_saved` says why."""
        with self._lock:
            if self._folder is None or self._index is None or not self._unsaved:
                return
            try:
                self._index.save(self._folder)
            except OSError as error:
                self.not_saved = f"{self._folder}: {error.strerror or error}"
            else:
                self.not_saved = None
                self._unsaved = 0

    # ------------------------------------------------------------------ the index

    def _level(self, progress: Progress | None) -> VectorIndex | None:
        with self._lock:
            last = self._ledger.last_seq()
            if self._index is None:
                if last == 0:
                    # Nothing to recall: that needs no weights.
                    return None
                self._index = self._load()
            if self._index.last_seq > last:
                return self._build("it is ahead of the ledger", progress)
            if self._index.last_seq < last:
                self._catch_up(self._index, progress)
            return self._index

    def _load(self) -> VectorIndex:
        # Here, not above: FAISS is loaded by those who recall.
        from memory.vectors import VectorIndex

        if self._folder is not None:
            try:
                return VectorIndex.load(self._folder, self._embedder)
            except IndexUnusable as error:
                self.rebuilt = error.reason
        return VectorIndex(self._embedder.name, self._embedder.dimensions)

    def _build(self, why: str, progress: Progress | None) -> VectorIndex:
        from memory.vectors import VectorIndex

        with self._lock:
            self.rebuilt = why
            self._index = VectorIndex(self._embedder.name, self._embedder.dimensions)
            # Even when it stays empty: what is on disk holds what the ledger does not.
            self._unsaved = 1
            self._catch_up(self._index, progress)
            self.save()
            return self._index

    def _catch_up(self, index: VectorIndex, progress: Progress | None) -> None:
        total = self._ledger.count_exchanges() if progress else 0
        while batch := self._ledger.questions_after(index.last_seq, limit=BATCH):
            self._add(index, batch)
            if progress:
                progress(len(index), max(total, len(index)))

    def _add(self, index: VectorIndex, batch: Sequence[tuple[int, str]]) -> None:
        index.add([seq for seq, _ in batch], self._embedder.embed([question for _, question in batch]))
        index.last_seq = batch[-1][0]
        self._unsaved += len(batch)
        if self._unsaved >= max(self._save_every, len(index) // 10):
            self.save()

    # ------------------------------------------------------------------ what the ledger says of the hits

    def _fold(self, best: dict[str, _Candidate], hits: Sequence[tuple[int, float]], user: str | None) -> None:
        for start in range(0, len(hits), BATCH):
            scores = dict(hits[start : start + BATCH])
            for seq, (exchange, rating) in self._ledger.rated_exchanges(list(scores), user=user).items():
                candidate = _Candidate(seq, scores[seq], exchange, rating)
                text = " ".join(exchange.question.casefold().split())
                if candidate.usable and (text not in best or candidate.rank > best[text].rank):
                    best[text] = candidate


class _Candidate:
    """An exchange that the index found, and how the rating that holds bears on it."""

    def __init__(self, seq: int, score: float, exchange: Exchange, rating: Rating | None) -> None:
        self.seq, self.score, self._exchange, self._rating = seq, score, exchange, rating
        correction = rating.correction if rating is not None else None
        self._corrected = bool(correction and correction.strip())
        self._answer = correction if correction and self._corrected else exchange.answer

    @property
    def usable(self) -> bool:
        rated_down = self._rating is not None and self._rating.value < 0
        return bool(self._answer.strip()) and (self._corrected or not rated_down)

    @property
    def rank(self) -> tuple[int, int]:
        """Among equal questions the greatest counts: corrected, rated up, unrated; the newest within."""
        return (2 if self._corrected else 1 if self._rating is not None else 0, self.seq)

    def recollection(self, user: str | None) -> Recollection:
        exchange, rating = self._exchange, self._rating
        if rating is None:
            reason = f"asked on {exchange.created_at:%Y-%m-%d}"
        else:
            verb = "corrected" if self._corrected else "rated up"
            who = "you" if user in (None, rating.user) else rating.user
            reason = f"{verb} by {who} on {rating.created_at:%Y-%m-%d}"
        return Recollection(
            exchange_id=exchange.id,
            question=exchange.question,
            answer=self._answer,
            created_at=exchange.created_at,
            score=self.score,
            reason=reason,
            corrected=self._corrected,
        )
