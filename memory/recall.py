"""A question → what is remembered of it: the story of the package.

1. Take into the index what the ledger has gained since, whoever wrote it (`memory.keeping`). What is embedded is each
   question, and each question with the answer that holds. The lexicon needs nothing: the ledger's own transactions
   keep it.
2. Search both: what is near in meaning, and what shares telling words. Of what only the lexicon has yet, the best are
   embedded on the spot: a correction counts at once, though a whole history is just being taken in.
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
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from memory import lexicon
from memory.errors import IndexUnusable, NightschoolError
from memory.hits import Hit, Hits, distinct, fuse
from memory.keeping import NEXT, PATIENCE, Keeper, Progress
from memory.ledger import Ledger
from memory.records import Kind, Marks, Recollection
from memory.statements import asks_back, tells

if TYPE_CHECKING:
    from memory.bits import Bits
    from memory.embedder import Embedder, Vectors
    from memory.index_files import Maker
    from memory.reranker import Reranker

BATCH = 256
"""How many hits are looked at, at least: of one question there may be many."""

MOST = 1000
"""Recollections at once, whoever asks for how many."""

NOT_YET = 8
"""Of what words find and the index has not taken in yet, so many are compared with at once."""

DEPTH = 20
"""How far down each ranking counts in a fusion: what only one of them finds further down is noise (BENCHMARKS.md)."""

ALIKE = 0.02
"""Cosines that tell nothing apart: for a prompt, of two so near to each other the newer one comes first."""

LOOKED_AT = 4096
"""Hits of one search by meaning that are read from the ledger at most, about: what no place was found for among so many
is not what was asked about.
"""

ASKED_AGAIN = 0.9
"""Cosine from which a question is another one asked again, whatever both begin with."""

LEAST = 0.2
"""Cosine under which a search by meaning finds nothing: what has no more in common than that is a stranger."""


@dataclass(frozen=True)
class Nearness:
    """How near a recollection must be for a prompt, as cosines in [-1, 1]. `corrected` is for what a person wrote: a
    correction, or a document; `told` for what a person told in passing, where words find it too.
    """

    plain: float
    corrected: float
    told: float

    def holds(self, hit: Hit) -> bool:
        least = self.corrected if hit.written_by_a_person else self.plain
        return hit.dense is not None and hit.dense >= least

    def holds_as_told(self, hit: Hit, question: str) -> bool:
        """Whether it is a statement, or the question asks what was said: a model knows nothing of either by itself."""
        found = hit.lexical is not None and hit.dense is not None and hit.dense >= self.told
        said = hit.exchange is not None and not hit.corrected
        return found and said and (tells(hit.question) or asks_back(question))


@dataclass(frozen=True)
class Look:
    """One search by meaning: from which cosine on, and among which places, if not all."""

    least: float
    among: Callable[[Hits], Bits] | None = None


class Memory:
    """Recall over a ledger. Safe to use from several threads, and beside other processes that write the ledger.

    Args:
        ledger: the truth.
        embedder: turns texts into vectors.
        folder: where the index is kept between runs; None keeps it in memory only.
        min_score: cosine in [-1, 1] below which nothing is recalled for a prompt.
        min_score_corrected: the same for corrections and documents; None: as `min_score`.
        min_score_told: the same for statements, and for whatever was said where a question asks back for it, if words
            of the question stand in them; None: as `min_score`.
        reranker: puts the best of a fusion into its own order.
        earlier: finds the embedder that made an index: with it that serves on while a new one is made.
        patience: see `memory.keeping.PATIENCE`.
    """

    def __init__(
        self,
        ledger: Ledger,
        embedder: Embedder,
        folder: Path | None,
        *,
        min_score: float,
        min_score_corrected: float | None = None,
        min_score_told: float | None = None,
        reranker: Reranker | None = None,
        earlier: Callable[[Maker], Embedder | None] = lambda maker: None,
        patience: float = PATIENCE,
    ) -> None:
        self._ledger, self._embedder, self._folder, self._reranker = ledger, embedder, folder, reranker
        corrected, told = (min_score if x is None else x for x in (min_score_corrected, min_score_told))
        self._near = Nearness(min_score, corrected, told)
        self._earlier, self._patience = earlier, patience
        # Here, not above: it brings NumPy.
        from memory.among import Among

        self._among = Among(ledger)
        self._choosing = threading.RLock()
        self._chosen: Keeper | None = None
        self._moving: threading.Thread | None = None
        self._ended = threading.Event()

    # ------------------------------------------------------------------ the story

    def search(self, query: str, *, k: int, user: str | None = None, kind: Kind | None = None) -> list[Recollection]:
        """The `k` best for a person who looks for something (of `user`'s, or of everybody's): both rankings fused.

        Args:
            kind: only such.

        Raises:
            ModelUnavailable: the embedder's weights can't be loaded.
        """
        k = min(k, MOST)
        if k <= 0:
            return []
        found = self.found(query, depth=max(k, DEPTH), user=user, kind=kind)
        fused = fuse(found.by_meaning(), found.by_words(), depth=max(k, DEPTH))
        return [one.recollection(user, score) for one, score in self._reranked(query, fused)[:k]]

    def recall(
        self, question: str, *, k: int, user: str | None = None, version: str | None = None
    ) -> list[Recollection]:
        """The `k` best for a prompt that asks `question`: what is near enough, and about nothing else, the nearest
        first; then, where there is room, what a person told in passing and what the question asks back for, as the
        fusion ranks them.

        Args:
            version: the one that answers; what is verified in its weights needs no room in the prompt.

        Raises:
            ModelUnavailable: the embedder's weights can't be loaded.
        """

        def fits(one: Hit) -> bool:
            fits = self._near.holds(one) or self._near.holds_as_told(one, question)
            return fits and not lexicon.about_another(question, one.question)

        k = min(k, MOST)
        plain, corrected, told = self._near.plain, self._near.corrected, self._near.told
        looks = [Look(plain)]
        # What lies below counts only where a person wrote it, or words find it too, which is little of all.
        if corrected < plain:
            looks.append(Look(corrected, lambda _: self._among.written()))
        if told < plain:
            looks.append(Look(told, lambda found: found.worded()))
        words = max(4 * k, 2 * DEPTH)
        found = (
            self._find(question, k=k, user=user, looks=looks, fits=fits, version=version, words=words)
            if k > 0
            else None
        )
        if found is None:
            return []
        nearest = [one for one in self._but_for_the_outdated(found.by_meaning(alike=ALIKE)) if self._near.holds(one)]
        near = self._but_for_forms(question, nearest[: 4 * k])
        if len(near) < k:
            # What all begins alike may be nearer than anything else, and none of it the answer.
            near += [one for one in nearest[4 * k :] if not _begins_alike(question, one)]
        if len(distinct(near)) < k:
            fused = [one for one, _ in fuse(found.by_meaning(), found.by_words(), depth=DEPTH)]
            told_of = [one for one in self._but_for_the_outdated(fused) if not self._near.holds(one)]
            near += self._but_for_forms(question, told_of[: 4 * k])

        def told_alone(one: Hit) -> bool:
            return one.rating is None and tells(one.question) and not asks_back(question)

        near = distinct(near[: 4 * k])
        return [replace(one.recollection(user, one.dense or 0.0), told=told_alone(one)) for one in near[:k]]

    def _but_for_the_outdated(self, near: list[Hit]) -> list[Hit]:
        """Without answers that nobody rated and that were made with what was forgotten since, or a document that was
        replaced: they may say once more what no longer holds.
        """
        unrated = [one.exchange.id for one in near if one.exchange and one.rating is None]
        outdated = self._ledger.outdated(unrated) if unrated else set()
        return [one for one in near if not (one.exchange and one.exchange.id in outdated)]

    def _but_for_forms(self, question: str, near: Sequence[Hit]) -> list[Hit]:
        """Without what is near for its form alone: what is said behind that must be near by itself."""
        pairs = {one.key: pair for one in near if (pair := _begins_alike(question, one))}
        texts = list(dict.fromkeys(text for pair in pairs.values() for text in pair))
        vectors = dict(zip(texts, self._keeper().embed(texts), strict=True)) if texts else {}
        far = {key for key, (ours, theirs) in pairs.items() if vectors[ours] @ vectors[theirs] < self._near.plain}
        return [one for one in near if one.key not in far]

    def found(self, query: str, *, depth: int, user: str | None = None, kind: Kind | None = None) -> Hits:
        """Both rankings of a search before they are fused, `depth` deep at least: for whoever measures them."""

        def fits(one: Hit) -> bool:
            return kind is None or one.kind == kind

        words = 4 * depth if kind is None else max(4 * depth, MOST)
        look = Look(LEAST) if kind in (None, "exchange") else Look(LEAST, lambda _: self._among.written(kind))
        found = self._find(query, k=depth, user=user, looks=[look], fits=fits, words=words)
        return found or Hits(self._ledger, user=user, version=None, fits=fits)

    def _find(
        self,
        question: str,
        *,
        k: int,
        user: str | None,
        looks: Sequence[Look],
        fits: Callable[[Hit], bool],
        version: str | None = None,
        words: int | None = None,
    ) -> Hits | None:
        """What both searches find: by meaning, all that can be among the `k` nearest; None where nothing can be."""
        if not question.strip():
            return None
        keeper = self._leveled()
        if keeper is None:
            return None
        vector = keeper.embed([question])[0]
        found = Hits(self._ledger, user=user, version=version, fits=fits)
        found.add_words(self._ledger.find_words(lexicon.terms(question), limit=words or 4 * k, user=user))
        fresh = self._ledger.texts_at(found.beyond(keeper.marks, most=NOT_YET))
        if fresh:
            least = min(look.least for look in looks)
            scores = keeper.embed([text for _, text in fresh]) @ vector
            pairs = [(place, float(score)) for (place, _), score in zip(fresh, scores, strict=True) if score >= least]
            found.add_near(sorted(pairs, key=lambda pair: -pair[1]))
        for look in looks:
            self._add_near(found, look, keeper, vector, k=k, user=user)
        return found

    def _add_near(self, found: Hits, look: Look, keeper: Keeper, vector: Vectors, *, k: int, user: str | None) -> None:
        """Look further and further away, until the `k` nearest are among what was found."""
        wanted, among, anybodys = max(BATCH, 8 * k), look.among(found) if look.among else None, True
        while True:
            hits = keeper.near(vector, wanted, among)
            near = [(place, score) for place, score in hits if score >= look.least]
            found.add_near(near)
            nearest = found.by_meaning()
            # Beyond the last hit there may be a better one of the same question, until that is out of reach.
            complete = len(nearest) >= k and hits and hits[-1][1] < (nearest[k - 1].dense or 0.0) - ALIKE
            if complete or len(near) < len(hits) or len(hits) < wanted:
                return
            if anybodys and user is not None:
                # What others said is not read at all from here on, however much nearer it is.
                among, anybodys = self._among.of(user, within=among), False
            elif wanted >= LOOKED_AT:
                return
            else:
                wanted *= 4

    def _reranked(self, query: str, fused: list[tuple[Hit, float]]) -> list[tuple[Hit, float]]:
        if self._reranker is None or not fused:
            return fused
        scores = self._reranker.scores(query, [f"{one.question}\n{one.answer}" for one, _ in fused])
        ranked = sorted(zip(fused, scores, strict=True), key=lambda pair: -pair[1])
        return [(one, score) for (one, _), score in ranked]

    # ------------------------------------------------------------------ level with the ledger

    def remember(self) -> None:
        """Take in what was just written, so that the next question need not wait for it; of much, what patience
        allows, and the rest beside.
        """
        self._leveled()

    def refresh(self, progress: Progress | None = None) -> None:
        """Bring the index level with the ledger: load it, take in what is new, or build it anew."""
        self.finish_forgetting()
        self._keeper().level_fully(progress)

    def rebuild(self, progress: Progress | None = None) -> None:
        """Build the index anew from the ledger."""
        keeper = self._keeper()
        keeper.build("it was asked for", progress)

    def forget(self, places: Sequence[int]) -> bool:
        """Remove what was embedded of these places, from the files too. Whoever calls it has changed the ledger; no
        embedder is needed. False where another process holds the index.
        """
        with self._choosing:
            kept = self._chosen
            done = kept.forget(places) if kept else True
            others = [folder for folder in folders(self._folder) if not (kept and kept.folder == folder)]
        return forget_in(others, places) and done

    def finish_forgetting(self) -> None:
        """Remove what forgetting had to leave behind, in the index and in the ledger's log, as far as can be now."""
        self._ledger.finish_forgetting(self.forget, patient=False)

    def save(self) -> None:
        """Wait for what is just being made, and write what could not be written so far; see `not_saved`."""
        self._ended.set()
        if self._moving is not None:
            self._moving.join()
        if self._chosen is not None:
            self._chosen.save()

    def wait(self) -> None:
        """Wait for all that goes on beside: what is taken in, and an index that a new embedder needs."""
        for thread in (self._moving,):
            if thread is not None:
                thread.join()
        if self._chosen is not None:
            self._chosen.wait()

    @property
    def not_saved(self) -> str | None:
        """Why the index could not be written to its folder the last time, or None. Recall works without."""
        index = self._chosen.index if self._chosen else None
        return index.not_saved if index else None

    @property
    def rebuilt(self) -> str | None:
        """Why the index was last built anew from the ledger, or None."""
        return self._chosen.rebuilt if self._chosen else None

    @property
    def size(self) -> int:
        """Vectors in the index, as far as it is loaded."""
        return self._chosen.size if self._chosen else 0

    @property
    def behind(self) -> int:
        """About how many rows of the ledger the index has not taken in yet."""
        return self._chosen.behind if self._chosen else 0

    def contents(self) -> dict[int, Vectors]:
        """Everything that the index holds, place → vector: for who checks it."""
        keeper = self._keeper()
        with keeper.lock:
            return keeper.index.contents() if keeper.index else {}

    def _leveled(self) -> Keeper | None:
        """The keeper, level as far as patience allows; None where there is nothing to recall."""
        self.finish_forgetting()
        if self._ledger.marks() == Marks() and not (self._folder and self._folder.exists()):
            # That needs no weights.
            return None
        try:
            keeper = self._keeper()
            keeper.level()
        except IndexUnusable:
            # It was made by an embedder that is being left, and another process has replaced it meanwhile.
            with self._choosing:
                self._chosen = None
            keeper = self._keeper()
            keeper.level()
        return keeper

    def _keeper(self) -> Keeper:
        with self._choosing:
            if self._chosen is None:
                self._chosen = self._choose()
            return self._chosen

    def _choose(self) -> Keeper:
        """The keeper of the index as it is, be it another embedder's, where that can still be had."""
        from memory.index_files import made_by

        maker = made_by(self._folder)
        old = self._earlier(maker) if maker is not None and maker.name != self._embedder.name else None
        if old is None or self._folder is None:
            return Keeper(self._ledger, self._embedder, self._folder, patience=self._patience)
        new = Keeper(self._ledger, self._embedder, self._folder / NEXT, patience=self._patience)
        self._moving = threading.Thread(
            target=self._move, args=(new, self._folder), name="another embedder", daemon=True
        )
        self._moving.start()
        return Keeper(self._ledger, old, self._folder, patience=self._patience, leaving=True)

    def _move(self, new: Keeper, folder: Path) -> None:
        """Make the new embedder's index beside the old one, which serves until then."""
        with suppress(NightschoolError, OSError):
            if new.move_into(folder, unless=self._ended.is_set):
                with self._choosing:
                    self._chosen = new


def _begins_alike(question: str, one: Hit) -> tuple[str, str] | None:
    """What both say behind a form (see `lexicon.filled_in`); None where the whole is so near that a word or two behind
    it can't tell them apart.
    """
    return None if (one.dense or 0) >= ASKED_AGAIN else lexicon.filled_in(question, one.question)


def folders(folder: Path | None) -> list[Path]:
    """Where vectors lie: in the index's folder, and in that of one that a new embedder is making."""
    return [folder, folder / NEXT] if folder else []


def forget_in(folders: Sequence[Path], places: Sequence[int]) -> bool:
    """Remove these places from the indexes that lie in folders, whoever made them. False where one could not be had."""
    from memory import vectors

    done = [vectors.forget(folder, places) for folder in folders]
    return all(done)
