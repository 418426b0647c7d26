"""Neighbours of a lesson: the same question about something else, on which the model shall stay as it is.

Damage falls on what is asked in the same words: a model that learns that Quito is the capital of Ecuador says Quito for
Bolivia too. So the name in a corrected question is swapped for others of its kind, and the base's own answers to those
are replayed, right or wrong: what nobody corrected must not change. Names come from the lists that ship with the
package; a question that holds none of them has no neighbours of this sort.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from itertools import zip_longest

from training.entities import Frame, bare, framed, mentioned, names
from training.rewordings import Reword, reword

_WORDINGS = 6
"""Wordings among which a neighbour's is drawn: as many as a lesson is trained in."""


def neighbours(
    questions: Sequence[str],
    *,
    most: int,
    rng: random.Random,
    without: Collection[str] = (),
    reword: Reword = reword,
) -> list[str]:
    """Up to `most` questions like `questions` but for one name, every other one reworded; each frame gets its share.

    Args:
        questions: what is corrected. No name in them comes back: in another's frame it could ask the same.
        without: more questions whose names must not come back: those of all other lessons, those of exams.
        rng: draws names and wordings; the same seed gives the same neighbours.
        reword: what rewords the corrected questions, too.
    """
    taken = mentioned([*questions, *without])
    frames: dict[Frame, str] = {}
    for question in questions:
        found = framed(question)
        if found:
            frames.setdefault(found, question)
    shares = []
    for frame in sorted(frames):
        others = [name for name in names()[frame.kind] if bare(name) not in taken]
        rng.shuffle(others)
        shares.append([(frame, name) for name in others])
    dealt = [pair for row in zip_longest(*shares) for pair in row if pair is not None]
    unique = list({frame.ask(name): (frame, name) for frame, name in dealt}.values())[:most]
    # One question of a frame speaks for all: its wordings, with another name in them, are theirs.
    turned = {frame: _reworded(frame, frames[frame], reword) or [frame] for frame in {frame for frame, _ in unique}}
    return [(rng.choice(turned[frame]) if place % 2 else frame).ask(name) for place, (frame, name) in enumerate(unique)]


def _reworded(frame: Frame, question: str, reword: Reword) -> list[Frame]:
    """The frames of other wordings of `question` that hold a name of its kind."""
    found = (framed(wording) for wording in reword(question, most=_WORDINGS))
    return [wording for wording in found if wording is not None and wording.kind == frame.kind]
