"""Liked answers to what is asked much as a correction is.

A liked answer is kept as it was asked, and not spread to other questions. But beside corrections of the same matter,
each of them trained in a dozen wordings, it is one voice among sixty, and the first to be lost: then it is trained in
other wordings as well, as they are (docs/LOG.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from memory.embedder import Embedder
from memory.records import Lesson

ALIKE = 0.7
"""Cosine from which two questions may be about one matter: half of a bank's lie at 0.78 from the next, two capitals
between 0.62 and 0.71."""


def contested(lessons: Sequence[Lesson], embedder: Embedder) -> set[str]:
    """Ids of the liked answers among `lessons` whose question is `ALIKE` that of a correction."""
    liked = [lesson for lesson in lessons if lesson.unwanted is None]
    corrected = [lesson for lesson in lessons if lesson.unwanted is not None]
    if not liked or not corrected:
        return set()
    ours, theirs = (embedder.embed([lesson.question for lesson in some]) for some in (liked, corrected))
    nearest = (ours @ theirs.T).max(axis=1)
    return {lesson.id for lesson, near in zip(liked, nearest, strict=True) if near >= ALIKE}
