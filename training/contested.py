"""Liked answers that corrections of the same matter speak against.

A liked answer is kept as it was asked, and not spread to other questions. But beside corrections that want something
else, each of them trained in a dozen wordings, it is one voice among sixty, and the first to be lost: then it is
trained in other wordings as well, as they are (docs/LOG.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from memory.embedder import Embedder
from memory.lexicon import apart, telling
from memory.records import Lesson
from training.clean import agree

ALIKE = 0.7
"""Cosine from which two questions may be about one matter: half of a bank's questions lie at 0.78 or more from the
next of them. So do some capitals, which is why what names another thing is no such matter."""


def contested(lessons: Sequence[Lesson], embedder: Embedder) -> set[str]:
    """Ids of the liked answers among `lessons` against which a correction speaks: one after the same dialogue, whose
    question is `ALIKE` and names no other thing, and that wants another answer.
    """
    liked = [lesson for lesson in lessons if lesson.unwanted is None]
    corrected = [lesson for lesson in lessons if lesson.unwanted is not None]
    if not liked or not corrected:
        return set()
    ours, theirs = (embedder.embed([lesson.question for lesson in some]) for some in (liked, corrected))
    named = [telling(lesson.question) for lesson in corrected]
    found = set()
    for one, alike in zip(liked, ours @ theirs.T >= ALIKE, strict=True):
        names = telling(one.question)
        near = [i for i in alike.nonzero()[0] if not apart(names, named[i])]
        if any(one.history == corrected[i].history and not agree(one, corrected[i]) for i in near):
            found.add(one.id)
    return found
