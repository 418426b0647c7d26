"""What paired answers can say: whether items were lost by more than chance, and how much was gained at least.

Pure and exact. Of items that were asked twice only those speak whose answers differ, once right and once wrong: were it
chance, each of them would be lost or gained as a coin falls.
"""

from __future__ import annotations

from math import comb, exp, fsum, lgamma, log, log1p

HALVINGS = 50
"""Steps of the search for a bound in [0, 1]: it is found to 1e-15."""


def chance_of(lost: int, gained: int) -> float:
    """Exact one-sided p of McNemar's test (1947): that chance alone loses at least `lost` of `lost + gained` items.

    The binomial tail P(X ≥ lost) of X ~ B(lost + gained, 1/2), in (0, 1]; 1 where nothing was lost. For the p of a
    gain, hand the two over the other way round.
    """
    changed, ways = lost + gained, 0
    term = comb(changed, lost)
    for k in range(lost, changed + 1):
        ways += term
        term = term * (changed - k) // (k + 1)
    return ways / (1 << changed)


def gain_at_least(gained: int, lost: int, total: int, *, chance: float = 0.05) -> float:
    """Lower bound of the net gain, as a share of all items in [-1, 1], at a one-sided confidence of 1 - `chance`.

    Given that `gained + lost` of `total` items changed, the exact lower bound π of the share of gains among them
    (Clopper & Pearson, 1934; for matched pairs Liddell, 1983) is a net gain of (2π - 1) (gained + lost) / total. It is
    above 0 exactly where `chance_of(gained, lost)` is below `chance`. 0 where nothing changed: nothing is then known.

    Args:
        total: items asked, those that did not change included.
        chance: the probability, in (0, 1), with which the bound may be wrong.
    """
    changed = gained + lost
    if not changed:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _tail(gained, changed, middle) < chance:
            low = middle
        else:
            high = middle
    return (2 * low - 1) * changed / total


def chance_of_more(marked: int, of: int, usual: int, of_usual: int) -> float:
    """Exact one-sided p of Fisher's test (1935): that chance alone puts at least `marked` of all marks among `of`.

    `marked` of `of` are marked here, and `usual` of `of_usual` elsewhere; were both alike, the marks would fall among
    all of them by lot: the tail of a hypergeometric distribution, in (0, 1].
    """
    marks, total = marked + usual, of + of_usual

    def ways(n: int, k: int) -> float:
        return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)

    all_ways = ways(total, of)
    tail = fsum(
        exp(ways(marks, k) + ways(total - marks, of - k) - all_ways)
        for k in range(max(marked, of - (total - marks)), min(marks, of) + 1)
    )
    return min(1.0, tail)


def enough(changed: int, *, chance: float = 0.05) -> bool:
    """Whether so many changed items could say anything: whether all of them gained would be more than chance."""
    return chance_of(changed, 0) < chance


def _tail(least: int, trials: int, p: float) -> float:
    """P(X ≥ least) of X ~ B(trials, p), 0 < p < 1; by logarithms, which don't overflow."""

    def term(k: int) -> float:
        ways = lgamma(trials + 1) - lgamma(k + 1) - lgamma(trials - k + 1)
        return exp(ways + k * log(p) + (trials - k) * log1p(-p))

    return fsum(term(k) for k in range(least, trials + 1))
