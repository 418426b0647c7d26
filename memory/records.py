"""The nouns: what the ledger holds and the three packages hand to each other.

Frozen dataclasses without behaviour beyond what follows from their own fields. This module knows nothing of SQL, models
or pages. Times are UTC and timezone-aware; ids are opaque strings made by the caller (`new_id`), so that tests choose
them.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple, TypedDict

BASE = "base"
"""The version name of the model without any adapter."""


class Message(TypedDict):
    """One message of a prompt, in the shape every chat template takes."""

    role: Literal["system", "user", "assistant"]
    content: str


class LessonState(StrEnum):
    """Where a rating is on its way into the weights. Each state is stored with the reason for it."""

    QUEUED = "queued"
    HELD = "held"
    TRAINED = "trained"
    VERIFIED = "verified"
    NOT_LEARNED = "not learned"
    COVERED = "covered"
    """Another lesson says it too, and is trained for both."""
    REJECTED = "rejected"
    UNDONE = "undone"


class NightStatus(StrEnum):
    """How a night stands, or how it ended."""

    QUEUED = "queued"
    RUNNING = "running"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    FAILED = "failed"
    NOTHING_TO_LEARN = "nothing_to_learn"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self not in (NightStatus.QUEUED, NightStatus.RUNNING)


class AdapterState(StrEnum):
    """A version's standing; at most one is active."""

    CANDIDATE = "candidate"
    ACTIVE = "active"
    RETIRED = "retired"
    REJECTED = "rejected"


Kind = Literal["correction", "exchange", "document"]


@dataclass(frozen=True, slots=True)
class Recollection:
    """Something remembered that bears on a question.

    `answer` is the correction where the exchange was corrected, and the text of a piece of a document; `source` names
    that document and page. `reason` says in a few words why it is here. A `dense` or `lexical` of None: that search
    did not find it.
    """

    exchange_id: str | None
    question: str
    answer: str
    created_at: datetime
    score: float
    """What it is ranked by: the cosine in a prompt, the fused rank in a search."""
    reason: str
    corrected: bool = False
    dense: float | None = None
    """Cosine in [-1, 1]: the greater of the one to its question and the one to question and answer together."""
    lexical: float | None = None
    """BM25, from 0 up."""
    source: str | None = None
    document_id: str | None = None
    told: bool = False
    """Whether it is here for what its user told in the question; what was replied tells nothing more."""

    @property
    def kind(self) -> Kind:
        return "document" if self.source is not None else "correction" if self.corrected else "exchange"


@dataclass(frozen=True, slots=True)
class Marks:
    """How far in the ledger an index reaches: the last `seq` of each table that it has taken in."""

    exchanges: int = 0
    ratings: int = 0
    passages: int = 0


class Landmark(NamedTuple):
    """A row of the ledger as an index tells it: its `seq`, and a digest of what it is; seq 0: there was none."""

    seq: int
    digest: int


Landmarks = tuple[Landmark, Landmark, Landmark]
"""What stands at an index's marks: of exchanges, ratings and passages the last row. Marks alone are numbers, which any
ledger counts; by these an index knows its own.
"""
UNKNOWN: Landmarks = (Landmark(0, 0), Landmark(0, 0), Landmark(0, 0))
"""Of an index that says nothing of it."""


Only = Literal["corrected", "recalled", "hidden"]
"""Some of the exchanges: those that a person corrected; those of conversations that recall may bring back, or not."""

Scope = Literal["exchange", "conversation", "user", "everything", "document"]
"""What somebody can want forgotten."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What goes when somebody wants something forgotten: ids, places in the ledger's order, and every text of it.

    `user` is whose it is, None where it is everybody's. `answered_with` are the exchanges that stay and were given
    something of it: they lose it from their prompts, but what they answered then may repeat it. Also those to which a
    client brought along what may be of it, and may be of something else: that stays.
    """

    scope: Scope
    user: str | None = None
    exchanges: tuple[str, ...] = ()
    lessons: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    seqs: tuple[int, ...] = ()
    passages: tuple[int, ...] = ()
    texts: frozenset[str] = frozenset()
    answered_with: tuple[str, ...] = ()

    def plus(self, more: Forgotten) -> Forgotten:
        """This, and what was found of the same later."""
        return replace(
            self,
            exchanges=(*self.exchanges, *more.exchanges),
            lessons=(*self.lessons, *more.lessons),
            documents=(*self.documents, *more.documents),
            seqs=(*self.seqs, *more.seqs),
            passages=(*self.passages, *more.passages),
            texts=self.texts | more.texts,
        )


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What was forgotten and still lies somewhere: `places` in an index, for what was forgotten up to number
    `through`; whether single words lie in a corner of the lexicon; and whether older pages lie in the ledger's log.
    """

    places: tuple[int, ...] = ()
    through: int = 0
    words: bool = False
    log: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """A file whose text can be recalled. `sha256` is of its content; one name of one user is one document."""

    id: str
    user: str
    name: str
    sha256: str
    created_at: datetime
    passages: int = 0


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document. `question` is what it answers, where the document says that; `page` counts from 1."""

    text: str
    page: int | None = None
    question: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One user message and one answer, with all that made it.

    `history` is the dialogue before the question as the asker sees it; `prompt` is the very list of messages that the
    model was given, with what was recalled mixed in. `parent_id` is the exchange it follows, so that a conversation is
    a tree and a regenerated answer is a sibling. `signature` covers prompt and answer (see `sign`).
    """

    id: str
    conversation_id: str
    parent_id: str | None
    user: str
    created_at: datetime
    question: str
    answer: str
    history: Sequence[Message]
    prompt: Sequence[Message]
    model_id: str
    adapter: str
    adapter_sha256: str | None
    recollections: Sequence[Mapping[str, Any]]
    sampling: Mapping[str, Any]
    timings: Mapping[str, float]
    finish_reason: str
    signature: str

    def signed_by(self, key: bytes) -> bool:
        """Whether the assistant that holds `key` really gave this answer to this prompt."""
        return Spoken(self.id, self.prompt, self.answer, self.signature).signed_by(key)


@dataclass(frozen=True, slots=True)
class Spoken:
    """As much of an exchange as its signature is about."""

    exchange_id: str
    prompt: Sequence[Message]
    answer: str
    signature: str

    def signed_by(self, key: bytes) -> bool:
        """See `Exchange.signed_by`."""
        return hmac.compare_digest(self.signature, sign(key, self.prompt, self.answer))


def sign(key: bytes, prompt: Sequence[Message], answer: str) -> str:
    """HMAC-SHA256 (hex) over prompt and answer, so that the night trains only on what the assistant really said."""
    return hmac.digest(key, _SIGNED.encode([list(prompt), answer]).encode(), "sha256").hex()


_SIGNED = json.JSONEncoder(ensure_ascii=True, sort_keys=True)
"""Made once: a night checks the signature of every exchange that was ever rated."""


@dataclass(frozen=True, slots=True)
class Rating:
    """What a user said of an exchange. The last one holds; value 0 takes the earlier ones back."""

    id: str
    exchange_id: str
    created_at: datetime
    value: Literal[1, -1, 0]
    reasons: Sequence[str] = ()
    comment: str = ""
    correction: str | None = None
    user: str = "local"


@dataclass(frozen=True, slots=True)
class LessonEvent:
    """One step of a lesson's life."""

    at: datetime
    state: LessonState
    reason: str
    night_id: str | None = None
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a rating becomes: a question with the answer that is wanted, the one that is not, or both.

    `history` is the dialogue before the question. `state`, `reason` and `adapter` repeat the last of `events`.
    """

    id: str
    rating_id: str
    exchange_id: str
    user: str
    created_at: datetime
    question: str
    wanted: str | None
    unwanted: str | None
    state: LessonState
    reason: str
    night_id: str | None = None
    adapter: str | None = None
    history: Sequence[Message] = ()
    events: Sequence[LessonEvent] = ()
    hold: str | None = None
    """Why a person keeps it out of the nights, or None."""


@dataclass(frozen=True, slots=True)
class Night:
    """One run of the nightly job. `progress` is a fraction of 1 over all stages; `report` is the path of its folder."""

    id: str
    status: NightStatus
    created_at: datetime
    seed: int
    settings: Mapping[str, Any]
    stage: str = ""
    progress: float = 0.0
    detail: str = ""
    reasons: Sequence[str] = ()
    adapter: str | None = None
    report: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    resumable: bool = False
    """Whether it was cut off with finished stages on disk, so that the next night goes on from there."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """One version of what was learned: a LoRA in `adapters/vN/` and the sha256 of its weights."""

    version: str
    sha256: str
    state: AdapterState
    night_id: str
    model_id: str
    created_at: datetime
    reason: str = ""
    scale: float = 1.0
    exam: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Votes:
    """Thumbs on one version's answers, each answer once, by the rating of it that holds."""

    up: int = 0
    down: int = 0

    @property
    def rated(self) -> int:
        return self.up + self.down


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may run a night until when. One that is not renewed before `expires_at` is nobody's."""

    holder: str
    night_id: str
    acquired_at: datetime
    renewed_at: datetime
    expires_at: datetime
