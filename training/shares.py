"""What each user's answers weigh in a night's loss, so that nobody's are most of it.

`training.budget` bounds how many lessons are one user's. The loss is a mean over tokens, though, and a long answer has
as many of them as fifty short ones: of two users with as many lessons one may have nearly all of the loss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median_low

from training.examples import Row


def weighed(rows: Sequence[Row], *, share: float) -> tuple[list[Row], dict[str, float]]:
    """The rows, of which the wanted ones of whoever has too many tokens weigh less; and user → weight, where below 1.

    Args:
        share: most of the loss that may be one user's, see `allowance`.
    """
    tokens = Counter[str]()
    for row in rows:
        # Other wordings are the house's own: who corrects has a dozen of them, who likes has none.
        if row.kind == "wanted" and row.wording == 0:
            tokens[row.user] += row.answer_tokens
    most = allowance(tokens, share=share)
    if most is None:
        return list(rows), {}
    weights = {user: most / count for user, count in sorted(tokens.items()) if count > most}
    made = [replace(row, weight=weights.get(row.user, 1.0)) if row.kind == "wanted" else row for row in rows]
    return made, weights


def allowance(tokens: Mapping[str, int], *, share: float) -> float | None:
    """Tokens of one user that count in full, or None where there are too few users to keep to `share`, or nobody has
    more.

    It is the most that is no more than `share` of what then counts of all; or what the user in the middle has, where
    that is more: who hardly ever rates must not hold everybody else to that.

    Args:
        tokens: user → tokens of the answers that are learned, each counted once.
    """
    users = len(tokens)
    if users < 2 or users * share < 1:
        return None
    rising = sorted(tokens.values())
    below, bound = 0, float(rising[-1])
    for place, count in enumerate(rising):
        # All before this one in full, the others at one bound: bound = share · (below + others · bound).
        others = users - place
        if others * share < 1 and (alike := share * below / (1 - others * share)) <= count:
            bound = alike
            break
        below += count
    most = max(bound, float(median_low(rising)))
    return most if most < rising[-1] else None
