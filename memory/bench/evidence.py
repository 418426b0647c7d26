"""Evidence recall on LoCoMo (Maharana et al., 2024): of the turns that answer a question, how many are found.

A conversation is stored as the product stores one, each in a ledger of its own, and asked the questions of categories
1 to 4. R@k is the share of a question's evidence turns that the first k results hold, averaged over the questions. The
file is not ours to ship (CC BY-NC 4.0): whoever measures names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from memory.embedder import Embedder
from memory.errors import BadInput
from memory.hits import Hit, Hits, fuse
from memory.ledger import Ledger
from memory.recall import DEPTH, Memory
from memory.records import BASE, Document, Exchange, Passage

KS = (3, 5, 10)
TUNED_ON = 2
"""So many of the first conversations were looked at while weights and depths were chosen; the others were not."""

Loading = Literal["single turns", "rounds", "rounds with the turn before and the date"]
LOADINGS: tuple[Loading, ...] = ("single turns", "rounds", "rounds with the turn before and the date")
Ranking = Callable[[Hits], list[Hit]]
RANKINGS: dict[str, Ranking] = {
    "words (BM25)": lambda found: found.by_words(),
    "meaning (dense)": lambda found: found.by_meaning(),
    "both, equal weights, 100 deep": lambda found: _fused(found, weight=1.0, depth=100),
    "both, as served": lambda found: _fused(found, depth=DEPTH),
}
GIVEN = "given to a prompt"
"""What the product hands to a model, which is less than a person finds who searches."""
UNDATED = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Turn:
    """One line of a conversation."""

    id: str
    speaker: str
    text: str
    session: int
    at: datetime

    def __str__(self) -> str:
        return f"{self.speaker}: {self.text}"


@dataclass(frozen=True)
class Talk:
    """One conversation, and (question, ids of the turns that answer it)."""

    turns: tuple[Turn, ...]
    questions: tuple[tuple[str, frozenset[str]], ...]


def measure(
    file: Path, embedder: Embedder, *, progress: Callable[[float, str], None] = lambda share, told: None
) -> list[dict[str, Any]]:
    """A row for each way to store and to rank: R@5 and R@10 in percent over all conversations, and over those that
    nothing was tuned on. Raises: BadInput.
    """
    talks = read(file)
    rows = []
    for n, loading in enumerate(LOADINGS):
        found: dict[str, list[list[tuple[float, ...]]]] = {name: [] for name in (*RANKINGS, GIVEN)}
        for i, talk in enumerate(talks):
            progress((n + i / len(talks)) / len(LOADINGS), f"{loading}, conversation {i + 1}")
            for name, recalls in _one(talk, loading, embedder).items():
                found[name].append(recalls)
        rows += [{"stored": loading, "ranked": name} | _figures(x) for name, x in found.items() if all(x)]
    return rows


def read(file: Path) -> list[Talk]:
    """The conversations of a LoCoMo file. Raises: BadInput."""
    try:
        told = json.loads(file.read_text("utf-8"))
        if not isinstance(told, list):
            raise ValueError("it must be a list of conversations")
        return [_talk(one) for one in told]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file} is no LoCoMo file: {type(error).__name__} {error}") from error


def _one(talk: Talk, loading: Loading, embedder: Embedder) -> dict[str, list[tuple[float, ...]]]:
    """Ranking → for each question its recall at each of `KS`."""
    ledger = Ledger.in_memory()
    covers = _store(ledger, talk, loading)
    memory = Memory(ledger, embedder, None, min_score=0.7, min_score_corrected=0.45, min_score_told=0.4)
    memory.refresh()
    recalls: dict[str, list[tuple[float, ...]]] = {name: [] for name in (*RANKINGS, GIVEN)}
    by_id = {f"e{seq}": covered for (table, seq), covered in covers.items() if table == "exchanges"}
    for question, evidence in talk.questions:
        found = memory.found(question, depth=100)
        for name, rank in RANKINGS.items():
            shown = [covers[one.key] for one in rank(found)]
            recalls[name].append(tuple(_share(evidence, shown[:k]) for k in KS))
        if by_id:
            given = [by_id[one.exchange_id or ""] for one in memory.recall(question, k=max(KS))]
            recalls[GIVEN].append(tuple(_share(evidence, given[:k]) for k in KS))
    ledger.close()
    return recalls


def _share(evidence: frozenset[str], shown: Sequence[frozenset[str]]) -> float:
    """Of the evidence, how much is shown."""
    return len(evidence & frozenset().union(*shown)) / len(evidence)


def _store(ledger: Ledger, talk: Talk, loading: Loading) -> Mapping[tuple[str, int], frozenset[str]]:
    """Write the conversation; returns what each record holds of it: key of a candidate → ids of turns."""
    if loading == "single turns":
        document = Document("d", "local", "conversation", "", UNDATED)
        ledger.add_document(document, [Passage(str(turn)) for turn in talk.turns])
        return {("passages", n): frozenset([turn.id]) for n, turn in enumerate(talk.turns, 1)}
    covers, before, session = {}, None, 0
    for n, turns in enumerate(_rounds(talk.turns), 1):
        linked = loading != "rounds"
        before = before if linked and turns[0].session == session else None
        session = turns[0].session
        ledger.add_exchange(_exchange(f"e{n}", turns, before, turns[0].at if linked else UNDATED))
        covers["exchanges", n] = frozenset(turn.id for turn in turns)
        before = f"e{n}"
    return covers


def _rounds(turns: Sequence[Turn]) -> Iterator[Sequence[Turn]]:
    """Two turns each, as question and answer; none goes over the end of a session."""
    at = 0
    while at < len(turns):
        two = turns[at : at + 2]
        yield two if len(two) == 2 and two[0].session == two[1].session else two[:1]
        at += len(two) if len(two) == 2 and two[0].session == two[1].session else 1


def _exchange(exchange_id: str, turns: Sequence[Turn], parent_id: str | None, at: datetime) -> Exchange:
    return Exchange(
        id=exchange_id,
        conversation_id=f"s{turns[0].session}",
        parent_id=parent_id,
        user="local",
        created_at=at,
        question=str(turns[0]),
        answer=str(turns[1]) if len(turns) == 2 else "…",
        history=(),
        prompt=(),
        model_id="none",
        adapter=BASE,
        adapter_sha256=None,
        recollections=(),
        sampling={},
        timings={},
        finish_reason="stop",
        signature="",
    )


def _fused(found: Hits, *, depth: int, weight: float | None = None) -> list[Hit]:
    more = {} if weight is None else {"weight": weight}
    return [one for one, _ in fuse(found.by_meaning(), found.by_words(), depth=depth, **more)]


def _figures(per_talk: Sequence[Sequence[tuple[float, ...]]]) -> dict[str, float]:
    figures = {}
    for name, talks in (("", per_talk), (" held out", per_talk[TUNED_ON:])):
        every = [recalls for talk in talks for recalls in talk]
        for at, k in enumerate(KS):
            figures[f"R@{k}{name}"] = round(100 * mean(recalls[at] for recalls in every), 1) if every else 0.0
    return figures


def _talk(one: Mapping[str, Any]) -> Talk:
    told, turns = one["conversation"], []
    numbers = sorted(int(m[1]) for name in told if (m := re.fullmatch(r"session_(\d+)", name)))
    for number in numbers:
        at = datetime.strptime(told[f"session_{number}_date_time"], "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
        turns += [Turn(t["dia_id"], t["speaker"], t["text"], number, at) for t in told[f"session_{number}"]]
    known = {turn.id for turn in turns}
    questions = []
    for asked in one["qa"]:
        evidence = frozenset(re.findall(r"D\d+:\d+", " ".join(asked.get("evidence", [])))) & known
        if asked["category"] in (1, 2, 3, 4) and evidence:
            questions.append((asked["question"], evidence))
    return Talk(tuple(turns), tuple(questions))
