"""What is replayed beside tonight's lessons, so that they don't push out what the model could already do.

The base model's own answers to neighbours of the lessons (see `training.neighbours`), to general questions and those
of stored dialogues that nobody rated, to as many about names (see `training.entities`), and to requests (without which
whoever asks for a bakery is told of the bank that was learned, docs/LOG.md); and what it writes of its own accord (see
`training.written`). Three terms of the loss hold the model to all of it. What is near a lesson comes first: that is
where damage falls.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np

from assistant.local import LocalEngine
from memory.embedder import Embedder
from memory.lexicon import apart, telling
from memory.records import Lesson, Message
from training import entities, general
from training.examples import Dialogue, Heard, asked
from training.neighbours import neighbours
from training.progress import Progress
from training.rewordings import Reword, reword
from training.stages import read_texts, write_json
from training.written import written

SAME = 0.85
"""Cosine from which two questions may ask the same: those after two different capitals reach 0.84 (docs/LOG.md)."""

AKIN = 0.5
"""Cosine from which a question that somebody asked may be a correction's in other words: of far wordings nine in ten
reach it. What the base says to those is what must change."""

NEAR = 0.7
"""Cosine from which a replayed question may tell what a control asks, as "What is HTML?" does what it stands for."""


def neighbours_first(
    questions: Sequence[str],
    lessons: Sequence[str],
    *,
    embedder: Embedder,
    most: int,
    rng: random.Random,
    apart: Sequence[str] = (),
) -> list[str]:
    """Up to `most` of `questions`: half those nearest to some lesson (cosine), half at random from the others.

    A question that is a lesson, or one in other words, is left out: what the base says to it is what must change.

    Args:
        apart: questions of exams; what is near one of them is left out, too, so that they measure what was not held.
    """
    pool = list(dict.fromkeys(questions))
    vectors = embedder.embed(pool)
    nearness = (vectors @ embedder.embed(list(lessons)).T).max(axis=1)
    fits = nearness < SAME
    if apart:
        fits &= (vectors @ embedder.embed(list(apart)).T).max(axis=1) < NEAR
    kept = np.flatnonzero(fits)
    pool, nearness = [pool[i] for i in kept], nearness[kept]
    if len(pool) <= most:
        return pool
    near = [pool[i] for i in np.argsort(-nearness, kind="stable")[: most // 2]]
    rest = [question for question in pool if question not in set(near)]
    return near + rng.sample(rest, most - len(near))


def asking_else(stored: Sequence[str], corrected: Sequence[str], *, embedder: Embedder) -> list[str]:
    """Those of `stored` questions that ask something else than every corrected one does, however it is worded: they are
    far from it, or name another thing.
    """
    if not stored or not corrected:
        return list(stored)
    near = embedder.embed(list(stored)) @ embedder.embed(list(corrected)).T >= AKIN
    told = [telling(question) for question in corrected]
    return [
        question
        for question, mine, row in zip(stored, map(telling, stored), near, strict=True)
        if all(apart(mine, told[i]) for i in np.flatnonzero(row))
    ]


def replay(
    engine: LocalEngine,
    embedder: Embedder,
    lessons: Sequence[Lesson],
    stored: Sequence[str],
    *,
    rows: int,
    neighbour_rows: int,
    request_rows: int,
    written_rows: int,
    turns: int,
    neighbour_turns: int,
    answer_tokens: int,
    written_tokens: int,
    system: str,
    seed: int,
    cache: Path,
    progress: Progress,
    writing: Callable[[], AbstractContextManager[None]] = nullcontext,
    reword: Reword = reword,
) -> list[Dialogue]:
    """Replay rows for tonight: questions with what the base says to them.

    Args:
        stored: questions of stored dialogues that no lesson is about.
        rows: rows of general and stored questions an epoch; what neighbours leave free comes on top.
        neighbour_rows: most rows of the corrections' neighbours an epoch.
        request_rows: rows an epoch of what people ask of an assistant, see `training.general`.
        written_rows: texts an epoch that the base writes of its own accord, of `written_tokens` tokens each.
        turns: epochs until the same general and stored questions, or such texts, come again, where there are enough.
        neighbour_turns: epochs until the same neighbours do.
        cache: file of the base's answers, so that each question is answered once for a model.
        writing: the context in which it is written; it may refuse that.
    """
    taught, rng = [lesson.question for lesson in lessons], random.Random(seed)
    controls = [item.question for item in general.controls()]
    corrected = [lesson.question for lesson in lessons if lesson.unwanted is not None]
    # The exam's controls stay out, so that they go on measuring what was not held; so do liked answers, which may be
    # others than the base's.
    without = [*taught, *controls]
    swapped = neighbours(corrected, most=neighbour_turns * neighbour_rows, rng=rng, without=without, reword=reword)
    near = _in_turns(swapped, neighbour_rows)
    free = rows + max(0, neighbour_rows - len(near))
    draw = partial(neighbours_first, lessons=taught, embedder=embedder, rng=rng, apart=controls)
    told = asking_else(stored, corrected, embedder=embedder)
    said = draw([*(item.question for item in general.replayed()), *told], most=turns * free // 2)
    named = draw(entities.questions(without=without), most=turns * free - len(said))
    requests = draw([item.question for item in general.requests()], most=turns * request_rows)
    questions = near | _in_turns([*said, *named], free) | _in_turns(requests, request_rows)
    prompts = [asked(question, (), system) for question in questions]
    answering, own_writing = _halves(progress)
    answers = base_answers(engine, prompts, answer_tokens, cache=cache, writing=writing, progress=answering)
    made = zip(prompts, answers, questions.values(), strict=True)
    held = [Dialogue("replay", prompt, answer, heard=heard) for prompt, answer, heard in made if answer]
    texts = written(
        engine, turns * written_rows, tokens=written_tokens, cache=cache, writing=writing, progress=own_writing
    )
    # As answers to nothing: behind the same system message as all other rows, which is computed once for a whole pack.
    alone = asked("", (), system)
    return held + [
        Dialogue("replay", alone, text, heard=heard) for text, heard in _in_turns(texts, written_rows).items()
    ]


def _halves(progress: Progress) -> tuple[Progress, Progress]:
    """The progress of two things of which the second follows the first, and that take about as long."""
    return (
        lambda share, told: progress(share / 2, told),
        lambda share, told: progress((1 + share) / 2, told),
    )


def _in_turns(questions: Sequence[str], an_epoch: int) -> dict[str, Heard]:
    """Of as many of the questions as make whole turns of `an_epoch`, when each is heard; all in every epoch where they
    are fewer.
    """
    every = max(1, len(questions) // max(1, an_epoch))
    return {question: Heard(place % every, every) for place, question in enumerate(questions[: every * an_epoch])}


def base_answers(
    engine: LocalEngine,
    prompts: Sequence[Sequence[Message]],
    tokens: int,
    *,
    cache: Path,
    writing: Callable[[], AbstractContextManager[None]] = nullcontext,
    progress: Progress = lambda share, told: None,
) -> list[str]:
    """What the base says to each prompt, in at most `tokens` tokens; what the file `cache` has is not asked again."""
    keys = [
        hashlib.sha256(f"{tokens}\n{engine.files.sha256}\n{engine.render(p)}".encode()).hexdigest() for p in prompts
    ]
    known = read_texts(cache)
    missing = [i for i, key in enumerate(keys) if key not in known]
    asked_for = [prompts[i] for i in missing]
    for done, (place, answer) in enumerate(engine.complete(asked_for, max_tokens=tokens, adapter=None), start=1):
        known[keys[missing[place]]] = answer
        progress(done / len(missing), f"the base answers {done}/{len(missing)}")
    if missing:
        with writing():
            write_json(cache, known)
    return [known[key] for key in keys]
