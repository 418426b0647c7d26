"""The formulas, against matrices worked out by hand."""

from __future__ import annotations

import pytest

from training.bench.metrics import acc, averaged, bwt, forgetting, fwt, interval

# After night i (downwards, from before the first), on the items of day j (across).
R = [
    [0.1, 0.2, 0.0],
    [0.9, 0.4, 0.1],
    [0.6, 0.8, 0.3],
    [0.5, 0.9, 1.0],
]
DAYS = [1, 2, 3]


def test_acc() -> None:
    """(0.5 + 0.9 + 1.0) / 3."""
    assert acc(R, DAYS) == pytest.approx(0.8)


def test_bwt() -> None:
    """((0.5 - 0.9) + (0.9 - 0.8)) / 2: the last day has nothing after it."""
    assert bwt(R, DAYS) == pytest.approx(-0.15)


def test_fwt() -> None:
    """((0.4 - 0.2) + (0.3 - 0.0)) / 2: the first day has nothing before it."""
    assert fwt(R, DAYS) == pytest.approx(0.25)


def test_forgetting() -> None:
    """((0.9 - 0.5) + (0.9 - 0.9)) / 2: from the best that a day ever had."""
    assert forgetting(R, DAYS) == pytest.approx(0.2)


def test_the_best_may_be_before_any_night() -> None:
    """What the base knew and nights pushed out is forgotten too."""
    assert forgetting([[0.8, 0.0], [0.5, 0.2], [0.5, 0.9]], [1, 2]) == pytest.approx(0.3)


def test_of_one_stream_among_several() -> None:
    """A stream's own days, against the last night of all: days 1 and 2, though the run ends with day 3."""
    assert acc(R, [1, 2]) == pytest.approx(0.7)
    assert bwt(R, [1, 2]) == pytest.approx(-0.15)
    assert fwt(R, [1, 2]) == pytest.approx(0.2)
    assert forgetting(R, [3]) is None
    assert fwt(R, [3]) == pytest.approx(0.3)


def test_one_day() -> None:
    """Nothing came before or after it."""
    r = [[0.0], [1.0]]
    assert acc(r, [1]) == 1.0
    assert bwt(r, [1]) is None
    assert fwt(r, [1]) is None
    assert forgetting(r, [1]) is None


def test_all_days_at_once() -> None:
    """One night for all days: there is no order, and so neither transfer nor forgetting."""
    r = [[0.0, 0.2, 0.1], [0.9, 0.8, 0.7]]
    assert acc(r, DAYS) == pytest.approx(0.8)
    assert [figure(r, DAYS) for figure in (bwt, fwt, forgetting)] == [None] * 3


def test_interval_by_students_t() -> None:
    """Three seeds: t(0.975; 2) = 4.3027 times 0.1 / sqrt(3). Quantile from a printed table."""
    assert interval([0.4, 0.5, 0.6]) == {"mean": 0.5, "low": 0.2516, "high": 0.7484}


def test_interval_within_what_can_be() -> None:
    """Few seeds that differ much would say that a share may be over 1."""
    assert interval([0.5, 1.0], within=(0.0, 1.0)) == {"mean": 0.75, "low": 0.0, "high": 1.0}


def test_interval_of_little() -> None:
    """One seed has no spread; seeds without the figure are left out; none of them have it."""
    assert interval([0.4]) == {"mean": 0.4, "low": 0.4, "high": 0.4}
    assert interval([None, 0.4]) == {"mean": 0.4, "low": 0.4, "high": 0.4}
    assert interval([None]) == {"mean": None, "low": None, "high": None}


def test_averaged() -> None:
    """Cell by cell."""
    assert averaged([[[0.0, 1.0], [0.5, 0.5]], [[1.0, 1.0], [0.0, 0.5]]]) == [[0.5, 1.0], [0.25, 0.5]]
