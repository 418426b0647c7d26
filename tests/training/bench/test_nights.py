"""What is kept of a night, and what it is charged with."""

from __future__ import annotations

import resource
import sys

import pytest

from training.bench.nights import forget_peak, outcome_of


@pytest.mark.skipif(sys.platform != "linux", reason="other systems can't forget a peak")
def test_a_peak_is_forgotten() -> None:
    """A night is not charged with what an earlier one held: 300 MB that were given back no longer count."""
    held = bytearray(300_000_000)
    held[::4096] = b"x" * len(held[::4096])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    del held
    forget_peak()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before - 200_000


def test_no_night() -> None:
    """An arm without nights has nothing to tell."""
    assert outcome_of(None, []) is None
