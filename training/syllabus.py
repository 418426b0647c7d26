"""What one night teaches and asks: lessons in and out, and the exam's paper. Made from the ledger alone."""

from __future__ import annotations

import gc
import hashlib
import itertools
import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from memory.accounts import Role
from memory.ledger import Ledger
from memory.records import Lesson, LessonState
from training import clean as cleaning
from training import lessons as collecting
from training.budget import Plan, plan
from training.doubts import doubted, lone
from training.examples import Dialogue, asked
from training.paper import Item, set_paper
from training.rewordings import Reword, heard_and_unheard, reword, thinned
from training.settings import NightSettings, as_json
from training.strangers import strange, suspicious
from training.teacher import Teacher
from training.words import words

OWNER = "local"
"""The user of a house without accounts, who has it for himself."""

LOOKS = 4
"""How often a night looks at what comes up in place of what it holds; then whoever it comes from waits as a whole."""

UNSEEN = cleaning.Decision(LessonState.QUEUED, "left for another night: too much that its user said is held tonight")

STORED_CHARS = 1_000
"""Longest stored question that is replayed, in characters; a longer one is material, and costs a night its memory."""

STORED_QUESTIONS = 500
"""Unrated exchanges, newest first, from which replay may choose."""


@dataclass(frozen=True)
class Syllabus:
    """Lessons that tonight has room for, oldest first; those that no exam has yet found in the weights are `tonight`'s.
    All of them are `taught`, or with `new_only` those alone that no version was trained on.

    Others in force are `dropped`, each with its reason, or `resting` (ids): there is no room for them tonight, and
    they stay what they are until a night draws them again.
    """

    kept: tuple[Lesson, ...]
    taught: tuple[Lesson, ...]
    dropped: dict[str, cleaning.Decision]
    tonight: tuple[Lesson, ...]
    earlier: tuple[Lesson, ...]
    paper: tuple[Item, ...]
    identity: str
    """Hash of what a night is asked to do: lessons, settings, seed, model. The same again would be the same night."""
    resting: frozenset[str] = frozenset()


@contextmanager
def _none_is_garbage() -> Iterator[None]:
    """Python looks for garbage as objects come to be. Of a hundred thousand lessons all are kept, and looking through
    them again and again would be half of the work.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_none_is_garbage()
def collect(
    ledger: Ledger,
    teacher: Teacher,
    settings: NightSettings,
    *,
    key: bytes,
    system: str,
    seed: int,
    anew: bool = False,
) -> Syllabus:
    """Read the lessons in force, clean them, choose those that a night has room for, and set the paper.

    Args:
        anew: as if no night had ever been, whatever those before found out.
    """
    plans: dict[tuple[str, ...], Plan] = {}

    def planned(kept: Sequence[Lesson]) -> Plan:
        # Cleaning asks for it, and where it left out no more after that, it is tonight's.
        asked = tuple(lesson.id for lesson in kept)
        if asked not in plans:
            plans[asked] = plan(kept, most=settings.lessons_max, share=settings.user_share_max, seed=seed)
        return plans[asked]

    lessons = collecting.in_force(ledger)
    if anew:
        lessons = [collecting.untaught(lesson) for lesson in lessons]
    unsigned = collecting.unsigned(ledger, lessons, key)
    said = [lesson for lesson in lessons if lesson.id not in unsigned]
    accounts = ledger.accounts()
    trusted = {account.id for account in accounts if account.role.may(Role.TEACHER)}
    trusted |= {OWNER} - {account.id for account in accounts}
    strangers = {} if lone(said, trusted) else {lesson.id: lesson for lesson in said if strange(lesson, trusted)}
    suspects = suspicious([*strangers.values()], among=said)
    judged = {lesson.id: cleaning.unfit(lesson) or suspects.get(lesson.id) for lesson in said}
    speaking = [lesson for lesson in said if judged[lesson.id] is None]
    doubts: dict[str, cleaning.Decision] = {}
    for turn in itertools.count():
        cleaned = cleaning.clean(
            [lesson for lesson in said if lesson.id not in doubts],
            tokens=teacher.tokens,
            longest=settings.lesson_tokens,
            tonight=lambda kept: planned(kept).chosen,
            judged=lambda lesson: judged[lesson.id],
            trusted=lambda lesson: bool(strangers) and lesson.id not in strangers,
        )
        decided = planned(cleaned.kept)
        # Only what would be trained is looked at; what then comes up in its place is, too.
        found = doubted(decided.chosen, among=speaking, trusted=trusted, says=teacher.says)
        if not found:
            break
        doubts |= found
        if turn >= LOOKS:
            users = {lesson.user for lesson in decided.chosen if lesson.id in found}
            doubts |= {x.id: UNSEEN for x in said if x.user in users and x.id not in doubts}
    forged = {lesson_id: cleaning.Decision(LessonState.REJECTED, why) for lesson_id, why in unsigned.items()}
    tonight = tuple(lesson for lesson in decided.chosen if lesson.state is not LessonState.VERIFIED)
    earlier = tuple(lesson for lesson in decided.chosen if lesson.state is LessonState.VERIFIED)
    paper = set_paper(
        tonight,
        earlier,
        controls=settings.controls,
        unrelated=settings.unrelated,
        trained_wordings=settings.rewordings,
        system=system,
        reword=teacher.reword,
    )
    return Syllabus(
        kept=decided.chosen,
        taught=tuple(lesson for lesson in decided.chosen if not (settings.new_only and lesson.adapter)),
        dropped=cleaned.dropped | forged | doubts | decided.left_out,
        tonight=tonight,
        earlier=earlier,
        paper=tuple(paper),
        identity=_identity(decided.chosen, settings, teacher, system, seed),
        resting=decided.resting,
    )


def wanted_rows(
    lessons: tuple[Lesson, ...],
    *,
    rewordings: int,
    thinned: int,
    system: str,
    contested: Collection[str] = (),
    unwanted: bool = False,
    reword: Reword = reword,
) -> list[Dialogue]:
    """What is learned: each lesson as it was asked, and corrections and contested likes in other wordings too, but for
    wordings that two lessons with different answers have in common ("Marie Curie", where she was born and when).

    Args:
        rewordings: most whole sentences, see `training.rewordings`.
        thinned: most questions with words left out.
        contested: ids of liked answers that are learned in other wordings as well, see `training.contested`.
        unwanted: also what is unlearned: the answers that were corrected or disliked, to the questions as asked.
    """
    rows = []
    for lesson in lessons:
        if lesson.wanted is not None:
            spread = lesson.unwanted is not None or lesson.id in contested
            again = _other_wordings(lesson.question, rewordings, thinned, reword) if spread else []
            for wording, question in enumerate([lesson.question, *again]):
                prompt = asked(question, lesson.history, system)
                rows.append(Dialogue("wanted", prompt, lesson.wanted, wording, user=lesson.user))
        if unwanted and lesson.unwanted is not None:
            rows.append(Dialogue("unwanted", asked(lesson.question, lesson.history, system), lesson.unwanted))
    answers: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.kind == "wanted":
            answers[_said(row)].add(row.answer)
    return [row for row in rows if row.wording == 0 or len(answers[_said(row)]) == 1]


def _said(row: Dialogue) -> str:
    """What is asked, whatever its case and signs."""
    return "\n".join(" ".join(words(message["content"])) for message in row.prompt)


def _other_wordings(question: str, rewordings: int, thin: int, reword: Reword) -> list[str]:
    """Sentences, then thinned ones: whoever hears both in the other order, or mixed, learns less (docs/LOG.md)."""
    sentences, unheard = heard_and_unheard(question, most=rewordings, reword=reword)
    thinner = [wording for wording in thinned(question, most=thin, wordings=sentences) if wording != unheard]
    return [*sentences, *thinner]


def stored_questions(ledger: Ledger) -> list[str]:
    """Questions that open stored dialogues, which nobody ever rated and in which there is no secret, newest first.

    What the base says to them is what it shall go on saying. Liked answers are lessons themselves, and trained as such.
    """
    kept_out = ledger.not_to_be_trained()
    found = [x for x in ledger.unrated_exchanges(limit=STORED_QUESTIONS) if x.id not in kept_out]
    return [
        x.question
        for x in found
        if not x.history and len(x.question) <= STORED_CHARS and not cleaning.secret_in(x.question)
    ]


def _identity(lessons: tuple[Lesson, ...], settings: NightSettings, teacher: Teacher, system: str, seed: int) -> str:
    content: Any = [
        [[x.id, list(x.history), x.question, x.wanted, x.unwanted] for x in lessons],
        {name: value for name, value in as_json(settings).items() if name != "lease_seconds"},
        seed,
        teacher.model_sha256,
        teacher.words_by,
        system,
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
