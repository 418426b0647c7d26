"""From records of nights to the figures of a run."""

from __future__ import annotations

from typing import Any

import pytest

from training.bench import figures

MANIFEST: dict[str, Any] = {
    "days": [{"stream": "s", "session": 1}, {"stream": "s", "session": 2}],
    "items": {
        "a": {"stream": "s", "split": "teach", "day": 1},
        "b": {"stream": "s", "split": "teach", "day": 1},
        "c": {"stream": "s", "split": "teach", "day": 2},
        "d": {"stream": "s", "split": "control", "day": None},
        "e": {"stream": "s", "split": "control", "day": None},
        "p": {"stream": "s", "split": "probe", "day": None},
    },
}


def record(right: dict[str, list[bool]], **outcome: Any) -> dict[str, Any]:
    """A night with these marks (as asked, then paraphrases) in both columns, and how it ended."""
    answers = {name: {"answers": [""] * len(marks), "right": marks} for name, marks in right.items()}
    return {"asked": [], "outcome": outcome or None, "answers": {"weights": answers, "memory": answers}}


def night(status: str, before: float | None = None, after: float | None = None, **more: Any) -> dict[str, Any]:
    """A record of no answers, with its perplexities where it was trained."""
    told = {"before": before, "after": after} if before else None
    return record({}, status=status, perplexity=told, **more)


RUN = [
    record({"a": [False, False], "b": [False], "c": [False, True, False], "d": [True], "e": [False], "p": [False]}),
    record(
        {"a": [True, True], "b": [True], "c": [False, True, False], "d": [True], "e": [True], "p": [False]},
        status="promoted",
        perplexity={"before": 20.0, "after": 21.0},
        seconds=10.0,
        peak_mb=700.0,
    ),
    record(
        {"a": [True, False], "b": [False], "c": [True, True, True], "d": [False], "e": [True], "p": [True]},
        status="promoted",
        perplexity={"before": 20.0, "after": 22.0},
        seconds=30.0,
        peak_mb=600.0,
    ),
]


def test_figures() -> None:
    """All of them, worked out by hand."""
    assert figures.figures(RUN, MANIFEST, "weights", "s") == {
        "as_asked": pytest.approx(2 / 3),
        "paraphrases": pytest.approx(2 / 3),
        "probes": 1.0,
        "controls_kept": 0.0,
        "acc": pytest.approx((1 / 2 + 1) / 2),
        "bwt": pytest.approx(1 / 2 - 1),
        "fwt": 0.0,
        "forgetting": pytest.approx(1 - 1 / 2),
        "perplexity_ratio": pytest.approx(1.1),
        "night_seconds": 20.0,
        "peak_mb": 700.0,
    }
    assert figures.matrix(RUN, MANIFEST, "weights") == [[0, 0], [1, 0], [0.5, 1]]


def test_a_night_with_nothing_to_learn_is_no_short_one() -> None:
    """Seconds of a night are those of nights that had something to do."""
    idle = RUN[2] | {"outcome": {"status": "nothing_to_learn", "seconds": 0.1}}
    assert figures.figures([*RUN, idle], MANIFEST, "weights", "s")["night_seconds"] == 20.0


@pytest.mark.parametrize(
    ("nights", "ratio"),
    [
        ([], 1.0),
        ([night("rejected", 20.0, 40.0)], 1.0),
        ([night("rejected", 20.0, 40.0), night("promoted", 20.0, 21.0)], 1.05),
        # The second is measured against the version that served, or against the base: either way the first one tells.
        ([night("promoted", 20.0, 22.0), night("promoted", 22.0, 21.0)], 1.05),
        ([night("promoted", 20.0, 22.0), night("rejected", 22.0, 60.0)], 1.1),
        ([night("promoted", 20.0, 22.0), night("nothing_to_learn")], 1.1),
        # Everything was taken back: the base serves again.
        ([night("promoted", 20.0, 22.0), night("promoted")], 1.0),
    ],
)
def test_perplexity_of_what_serves_in_the_end(nights: list[dict[str, Any]], ratio: float) -> None:
    """Over the base's, whatever each night was compared with."""
    assert figures.perplexity_ratio([record({}), *nights]) == pytest.approx(ratio)


def test_a_gain_has_its_interval() -> None:
    """Four of five probes gained, none lost: (2π - 1)·4/5 with π = 0.025^(1/4), the exact lower bound for 4 of 4."""
    probes = [f"p{n}" for n in range(5)]
    manifest = MANIFEST | {"items": {name: {"stream": "s", "split": "probe", "day": None} for name in probes}}
    run = [record({name: [name == "p0"] for name in probes}), record({name: [True] for name in probes})]
    assert figures.gain(run, manifest, "weights", "s") == {
        "asked": 5,
        "before": 1,
        "after": 5,
        "low": pytest.approx((2 * 0.025**0.25 - 1) * 4 / 5),
        "high": pytest.approx(0.8),
    }
    assert figures.gain(RUN, MANIFEST, "weights", "t") is None
