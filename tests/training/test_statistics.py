"""What paired answers can say: values of scipy's exact tests, and the rules that the gate relies on."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest, fisher_exact

from training.statistics import chance_of, chance_of_more, enough, gain_at_least

PAIRS = [(lost, gained) for lost in (0, 1, 2, 5, 17, 60) for gained in (0, 1, 3, 8, 40) if lost + gained]


@pytest.mark.parametrize(("lost", "gained"), PAIRS)
def test_the_chance_of_a_loss(lost: int, gained: int) -> None:
    """It is scipy's exact one-sided binomial test of one half."""
    expected = binomtest(lost, lost + gained, 0.5, alternative="greater").pvalue
    assert chance_of(lost, gained) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("gained", "lost"), PAIRS)
def test_the_gain_at_least(gained: int, lost: int) -> None:
    """It is scipy's exact one-sided interval (Clopper-Pearson) for the share of gains, as a net share of all items."""
    test = binomtest(gained, gained + lost, 0.5, alternative="greater")
    low = test.proportion_ci(confidence_level=0.95, method="exact").low
    assert gain_at_least(gained, lost, 200) == pytest.approx((2 * low - 1) * (gained + lost) / 200, abs=1e-9)


@pytest.mark.parametrize(("gained", "lost"), PAIRS)
def test_bound_and_test_say_the_same(gained: int, lost: int) -> None:
    """The gain is above 0 at its least exactly where it is more than chance, and never more than what was seen."""
    low = gain_at_least(gained, lost, 100)
    assert (low > 0) == (chance_of(gained, lost) < 0.05)
    assert -1 <= low <= (gained - lost) / 100


def test_nothing_changed_nothing_known() -> None:
    """No item that changed: any loss is chance, and the gain is none."""
    assert chance_of(0, 0) == 1.0
    assert gain_at_least(0, 0, 0) == gain_at_least(0, 0, 50) == 0.0


def test_how_many_can_tell() -> None:
    """At one in twenty it takes five items, all the same way; at one in a hundred seven."""
    assert next(n for n in range(10) if enough(n)) == 5
    assert next(n for n in range(10) if enough(n, chance=0.01)) == 7


def test_a_large_ledger() -> None:
    """Thousands of changed items overflow nothing."""
    assert chance_of(5_000, 5_000) == pytest.approx(0.504, abs=0.001)
    assert 0 < gain_at_least(5_000, 0, 5_000) < 1


@pytest.mark.parametrize("marked", [0, 1, 4, 9])
@pytest.mark.parametrize(("usual", "of_usual"), [(0, 1), (3, 7), (40, 400), (900, 1000)])
def test_the_chance_of_more(marked: int, usual: int, of_usual: int) -> None:
    """It is scipy's exact one-sided Fisher test of nine against what is usual."""
    table = [[marked, 9 - marked], [usual, of_usual - usual]]
    expected = fisher_exact(table, alternative="greater").pvalue
    assert chance_of_more(marked, 9, usual, of_usual) == pytest.approx(expected, rel=1e-7)


def test_the_lady_tasting_tea() -> None:
    """Fisher's own: all four cups right of eight is one chance in seventy, three of four seventeen."""
    assert chance_of_more(4, 4, 0, 4) == pytest.approx(1 / 70)
    assert chance_of_more(3, 4, 1, 4) == pytest.approx(17 / 70)
