"""The formulas of continual learning over a matrix R, and intervals over seeds. Pure.

R[i,j] is the score in [0, 1] on day j's taught items, as asked, after night i of T; there may be more nights than days.
Days count from 1, and night 0 is
before any, so that R[i,j] is `r[i][j - 1]`. A figure that is not defined is None: BWT of one day, FWT where all days
came at once.

ACC, BWT and FWT: Lopez-Paz & Ranzato, arXiv 1706.08840. Forgetting: Chaudhry et al., arXiv 1801.10112.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import mean, stdev

Matrix = Sequence[Sequence[float]]
"""(nights + 1) rows of scores, one for each day."""

CONFIDENCE = 0.95


def acc(r: Matrix, days: Sequence[int]) -> float | None:
    """mean_j R[T,j]: what is right in the end."""
    last = len(r) - 1
    return _mean(r[last][j - 1] for j in days)


def bwt(r: Matrix, days: Sequence[int]) -> float | None:
    """mean_{j<T} (R[T,j] - R[j,j]): what later nights did to a day; negative where they pushed it out."""
    last = len(r) - 1
    return _mean(r[last][j - 1] - r[j][j - 1] for j in days if j < last)


def fwt(r: Matrix, days: Sequence[int]) -> float | None:
    """mean_{j>1} (R[j-1,j] - R[0,j]): what earlier nights did for a day that is yet to come."""
    each_day_its_night = len(r) > len(r[0])
    return _mean(r[j - 1][j - 1] - r[0][j - 1] for j in days if j > 1 and each_day_its_night)


def forgetting(r: Matrix, days: Sequence[int]) -> float | None:
    """mean_{j<T} (max_i R[i,j] - R[T,j]): how far each day is below its best, at least 0."""
    last = len(r) - 1
    return _mean(max(row[j - 1] for row in r) - r[last][j - 1] for j in days if j < last)


def interval(
    values: Iterable[float | None], *, within: tuple[float, float] = (-math.inf, math.inf)
) -> dict[str, float | None]:
    """Mean over seeds with its 95 % interval (Student's t), cut to what the figure can be: {mean, low, high}.

    Seeds without the figure are left out. One seed says nothing of the spread: low and high are the mean.
    """
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "low": None, "high": None}
    middle, half = mean(known), _half_width(known)
    low, high = max(middle - half, within[0]), min(middle + half, within[1])
    return {"mean": round(middle, 4), "low": round(low, 4), "high": round(high, 4)}


def averaged(matrices: Sequence[Matrix]) -> list[list[float]]:
    """The mean of several matrices of one shape, cell by cell."""
    return [[mean(cells) for cells in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)]


def _half_width(values: Sequence[float]) -> float:
    if len(values) == 1:
        return 0.0
    from scipy.special import stdtrit  # here: SciPy takes a second, and one seed needs none

    quantile = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
    return quantile * stdev(values) / math.sqrt(len(values))


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return mean(found) if found else None
