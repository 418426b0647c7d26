"""What the searches found, read from the ledger, judged, and folded: at most one for each question."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from memory.ledger import Ledger
from memory.lexicon import COMMON, Telling, apart, filled_in, same_words, telling, telling_words
from memory.places import Part, place, seq_of
from memory.records import Document, Exchange, Kind, Marks, Passage, Rating, Recollection

if TYPE_CHECKING:
    from memory.bits import Bits

K = 60
"""Of reciprocal rank fusion (Cormack et al., 2009): how little a first place counts more than a second."""
MEANING, REWORDING = 0.1, 1.0
"""What a place in the ranking by meaning counts, beside 1 for one in the ranking by words: the second where the cosine
is at least `REWORDS`. Chosen on two conversations, as `memory.recall.DEPTH` (docs/BENCHMARKS.md)."""
REWORDS = 0.7
"""The cosine from which a text is the question in other words, and not only of the same things."""
SAME = 0.85
"""Two texts as near as this to one question ask the same (docs/LOG.md: questions after two capitals reach 0.84)."""
AS_ASKED = 0.95
"""The cosine from which a question is the one that an exam has asked. Asked in other words than those, the weights know
a lesson less often than weights and memory together (docs/LOG.md)."""
SHORT = 3
"""Words that tell something, of an answer which may well be true of two things: "Yes.", "It opens at nine."."""
BATCH = 256
TELLING = re.compile(r"\w+|[+^<>=]|(?<=\w)#|(?<=\d)\s*[-\u2212*/](?=\s*\d)")
"""Words, and the signs that tell one thing from another."""

Key = tuple[str, int]
"""Which table, and the `seq` there."""


@dataclass(frozen=True)
class Hit:
    """An exchange or a piece of a document that was found, and how the rating that holds bears on it."""

    key: Key
    question: str
    answer: str
    created_at: datetime
    exchange: Exchange | None = None
    rating: Rating | None = None
    source: str | None = None
    document_id: str | None = None
    dense: float | None = None
    lexical: float | None = None

    @property
    def corrected(self) -> bool:
        return self.rating is not None and bool((self.rating.correction or "").strip())

    @property
    def kind(self) -> Kind:
        return "document" if self.source is not None else "correction" if self.corrected else "exchange"

    @property
    def written_by_a_person(self) -> bool:
        return self.corrected or self.source is not None

    @property
    def usable(self) -> bool:
        rated_down = self.rating is not None and self.rating.value < 0
        return bool(self.answer.strip()) and (self.corrected or not rated_down)

    @property
    def said_at(self) -> datetime:
        """When somebody last said that it holds: when it was rated, or else when it was asked."""
        return self.rating.created_at if self.rating is not None else self.created_at

    @property
    def standing(self) -> tuple[int, datetime, int]:
        """Among equal questions the greatest counts: corrected, rated up, unrated; what was said last within."""
        return (2 if self.corrected else 1 if self.rating is not None else 0, self.said_at, self.key[1])

    @property
    def newest(self) -> tuple[float, int]:
        """Sorts what was said last before what was said earlier."""
        return (-self.said_at.timestamp(), -self.key[1])

    @property
    def asks(self) -> object:
        """Equal for what asks the same, in other case, spacing or punctuation, but for signs that tell apart (C++,
        C#); and for pieces of documents that say the same.
        """
        if self.exchange is None:
            return ("written", *(" ".join(text.casefold().split()) for text in (self.question, self.answer)))
        words = [found.strip() for found in TELLING.findall(self.question.casefold())]
        return tuple(word for word in words if word not in ("a", "an", "the")) or self.question

    def recollection(self, user: str | None, score: float) -> Recollection:
        return Recollection(
            exchange_id=self.exchange.id if self.exchange else None,
            question=self.question,
            answer=self.answer,
            created_at=self.created_at,
            score=score,
            reason=self._reason(user),
            corrected=self.corrected,
            dense=self.dense,
            lexical=self.lexical,
            source=self.source,
            document_id=self.document_id,
        )

    def _reason(self, user: str | None) -> str:
        if self.source is not None:
            return f"from {self.source}"
        if self.rating is None:
            return f"asked on {self.created_at:%Y-%m-%d}"
        verb = "corrected" if self.corrected else "rated up"
        who = "you" if user in (None, self.rating.user) else self.rating.user
        return f"{verb} by {who} on {self.rating.created_at:%Y-%m-%d}"


class Hits:
    """What was found so far. `fits` leaves out what is not wanted; `version` what its weights know, where they were
    examined in the question that is asked.
    """

    def __init__(self, ledger: Ledger, *, user: str | None, version: str | None, fits: Callable[[Hit], bool]) -> None:
        self._ledger, self._user, self._version, self._fits = ledger, user, version, fits
        self._read: dict[Key, Hit | None] = {}
        self._dense: dict[Key, float] = {}
        self._lexical: dict[Key, float] = {}
        self._telling: dict[Key, Telling] = {}
        self._refused: set[tuple[object, tuple[str, ...]]] = set()

    def add_near(self, hits: Sequence[tuple[int, float]]) -> None:
        """(place, cosine), nearest first. Of the places of one exchange the nearest counts."""
        for number, score in hits:
            self._dense.setdefault(_key(number), score)
        self._read_ahead(list(self._dense))

    def add_words(self, hits: Sequence[tuple[int, float]]) -> None:
        """(place, BM25), best first."""
        self._lexical.update({_key(number): score for number, score in hits})
        self._read_ahead(list(self._lexical))

    def beyond(self, marks: Marks, *, most: int) -> list[int]:
        """Places of the best `most` that words found and an index that reaches to `marks` can't hold."""
        fresh = [key for key in self._lexical if self._read.get(key) is not None and _is_beyond(key, marks)]
        return [place(seq, part) for key in fresh[:most] for seq, part in _places(key)]

    def worded(self) -> Bits:
        """Where the index holds what words found."""
        # Here, not above: it brings NumPy.
        from memory.bits import bits

        return bits(place(seq, part) for key in self._lexical for seq, part in _places(key))

    def by_meaning(self, *, alike: float = 1e-9) -> list[Hit]:
        """The nearest first; of those whose cosines lie within `alike` the newest."""
        return sorted(self._folded(self._dense), key=lambda one: (-round((one.dense or 0) / alike), *one.newest))

    def by_words(self) -> list[Hit]:
        """The best first."""
        return sorted(self._folded(self._lexical), key=lambda one: (-(one.lexical or 0), *one.newest))

    def _folded(self, found: dict[Key, float]) -> list[Hit]:
        best: dict[object, Hit] = {}
        for key in found:
            one = self._read.get(key)
            if one is None:
                continue
            one = replace(one, dense=self._dense.get(key), lexical=self._lexical.get(key))
            held = best.get(one.asks)
            if one.rating is None and (one.asks, _words(one.answer)) in self._refused:
                continue
            if self._fits(one) and (held is None or one.standing > held.standing):
                best[one.asks] = one
        corrections = [one for one in best.values() if one.corrected and one.exchange]
        near = [by for by in corrections if (by.dense or 0) >= SAME]
        # By what they correct: most of thousands have nothing to do with an answer, and need not be compared with it.
        correcting: dict[tuple[str, ...], list[Hit]] = {}
        for by in corrections:
            correcting.setdefault(_words(by.exchange.answer if by.exchange else ""), []).append(by)
        since = {by.exchange.id: by.said_at for by in corrections if by.exchange}
        standing = [
            one for one in best.values() if not (_retells(one, since) or self._overruled(one, near, correcting))
        ]
        known = self._known(standing)
        return [one for one in standing if one.exchange is None or one.exchange.id not in known]

    def _overruled(self, one: Hit, near: Sequence[Hit], correcting: Mapping[tuple[str, ...], Sequence[Hit]]) -> bool:
        """Whether an answer that nobody rated says what a correction has corrected, or answers the same question in
        other words: it must not stand beside the correction, nor in its place once the weights have that.

        Args:
            near: corrections as near as `SAME`.
            correcting: the words of an answer → the corrections of it.
        """
        if one.exchange is None or one.rating is not None:
            return False
        # The same short answer may be right for another thing: "Yes." is true of much.
        said = [
            by
            for by in correcting.get(_words(one.answer), ())
            if len(set(_words(one.answer)) - COMMON) > SHORT or same_words(one.question, by.question)
        ]
        rivals = [*said, *(near if (one.dense or 0) >= SAME else ())]
        ours = self._telling_of(one)
        return any(not apart(ours, self._telling_of(by)) for by in rivals)

    def _telling_of(self, one: Hit) -> Telling:
        found = self._telling.get(one.key)
        if found is None:
            found = self._telling[one.key] = telling(one.question)
        return found

    def _known(self, standing: Sequence[Hit]) -> set[str]:
        """What needs no room in the prompt. After folding: an older answer must not come in a correction's place. Where
        the question is one that was verified, nothing else comes in its place either: all that was verified goes, but
        if something else stays that a person wrote, which would be taken for the answer then.
        """
        ids = [one.exchange.id for one in standing if one.exchange]
        known = self._ledger.in_the_weights(ids, self._version) if self._version and ids else set()
        verified = [one for one in standing if one.exchange and one.exchange.id in known]
        asked = [one.question for one in verified if (one.dense or 0) >= AS_ASKED]
        if not asked:
            return set()
        others = [
            one for one in standing if one.written_by_a_person and not (one.exchange and one.exchange.id in known)
        ]
        # What only begins as the question does is not handed over anyway (see `Memory.recall`).
        alike = all(any(filled_in(question, one.question) for question in asked) for one in others)
        return known if alike else set()

    def _read_ahead(self, keys: Sequence[Key]) -> None:
        new = [key for key in keys if key not in self._read]
        for start in range(0, len(new), BATCH):
            some = new[start : start + BATCH]
            self._read.update(dict.fromkeys(some))
            seqs = [seq for table, seq in some if table == "exchanges"]
            found = self._ledger.rated_exchanges(seqs, user=self._user, remembered_only=True) if seqs else {}
            for seq, (exchange, rating) in found.items():
                self._take(_said(seq, exchange, rating))
            pieces = [seq for table, seq in some if table == "passages"]
            for seq, (document, passage) in self._ledger.passages(pieces, user=self._user).items() if pieces else ():
                self._take(_written(seq, document, passage))

    def _take(self, one: Hit) -> None:
        if one.usable:
            self._read[one.key] = one
        elif one.rating is not None:
            # Said again, it is no better for not having been rated a second time.
            self._refused.add((one.asks, _words(one.answer)))


def distinct(hits: Sequence[Hit]) -> list[Hit]:
    """Without what says again, to the same question in other words, what one before it says: "What is the capital?" and
    "What's the capital?" with one answer are one memory. In its place stands the one that counts most. Corrections
    stay: told twice, a small model says it more often than told once beside something else (docs/LOG.md).
    """
    kept: list[Hit] = []
    for one in hits:
        said = _words(one.answer)
        long = len(set(said) - COMMON) > SHORT
        again = (
            place
            for place, by in enumerate(kept)
            if one.exchange and by.exchange and not one.corrected and _words(by.answer) == said
            if long or telling_words(one.question) == telling_words(by.question)
        )
        place = next(again, None)
        if place is None:
            kept.append(one)
        elif one.standing > kept[place].standing and one.rating is not None:
            kept[place] = one
    return kept


def fuse(
    meaning: Sequence[Hit], words: Sequence[Hit], *, depth: int, weight: float = MEANING
) -> list[tuple[Hit, float]]:
    """Reciprocal rank fusion of the first `depth` of both: (candidate, sum of weight / (60 + rank)), best first.

    `weight` is what meaning counts where it is no rewording.
    """
    scores: dict[object, float] = {}
    found: dict[object, Hit] = {}
    for ranking in (meaning, words):
        for rank, one in enumerate(ranking[:depth], 1):
            weighs = 1.0 if ranking is words else REWORDING if (one.dense or 0) >= REWORDS else weight
            scores[one.asks] = scores.get(one.asks, 0.0) + weighs / (K + rank)
            held = found.get(one.asks)
            found[one.asks] = one if held is None or one.standing > held.standing else held
    pairs = [(one, scores[asks]) for asks, one in found.items()]
    return sorted(pairs, key=lambda pair: (-pair[1], *pair[0].newest))


def _retells(one: Hit, since: Mapping[str, datetime]) -> bool:
    """Whether an answer that nobody rated was made with what was corrected afterwards: it may say the same once more.

    Args:
        since: id of a corrected exchange → when it was.
    """
    if one.exchange is None or one.rating is not None:
        return False
    given = (str(recalled.get("exchange_id")) for recalled in one.exchange.recollections)
    return any(one.created_at < since[key] for key in given if key in since)


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.casefold()))


def _places(key: Key) -> Iterator[tuple[int, Part]]:
    """What of it is embedded."""
    table, seq = key
    return ((seq, part) for part in ((Part.PASSAGE,) if table == "passages" else (Part.QUESTION, Part.ROUND)))


def _is_beyond(key: Key, marks: Marks) -> bool:
    table, seq = key
    return seq > (marks.passages if table == "passages" else marks.exchanges)


def _key(number: int) -> Key:
    seq, part = seq_of(number)
    return ("passages" if part is Part.PASSAGE else "exchanges", seq)


def _said(seq: int, exchange: Exchange, rating: Rating | None) -> Hit:
    correction = (rating.correction or "").strip() if rating else ""
    answer = (correction and rating and rating.correction) or exchange.answer
    return Hit(("exchanges", seq), exchange.question, answer, exchange.created_at, exchange, rating)


def _written(seq: int, document: Document, passage: Passage) -> Hit:
    source = f"{document.name}, page {passage.page}" if passage.page else document.name
    return Hit(
        ("passages", seq), passage.question, passage.text, document.created_at, source=source, document_id=document.id
    )
