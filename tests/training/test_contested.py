"""Which liked answers are contested: by whom, and how near."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from memory.records import Lesson, Message
from memory.testing import lesson
from training.contested import ALIKE, contested

EDGE = round(float(np.degrees(np.arccos(ALIKE))), 1)


class Angles:
    """A question ends with as many dots as its angle has tenths of a degree; the embedder hears nothing else."""

    def embed(self, texts: Sequence[str]) -> Any:
        """Unit vectors."""
        angles = np.radians([text.count(".") / 10 for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def found(*lessons: Lesson) -> set[str]:
    """Contested ones."""
    return contested(lessons, Angles())  # type: ignore[arg-type]


def like(angle: float, asks: str = "how old", says: str = "from eighteen on", **more: Any) -> Lesson:
    """A liked answer, whose id is what it asks."""
    return lesson(f"{asks} {angle}", question=asks + round(10 * angle) * ".", wanted=says, unwanted=None, **more)


def correction(angle: float, asks: str = "what age", says: str = "from sixteen on", **more: Any) -> Lesson:
    """One that wants something else."""
    return lesson(f"c{angle}", question=asks + round(10 * angle) * ".", wanted=says, unwanted="at no age", **more)


def test_by_a_correction_that_is_near() -> None:
    """Near enough to be about one matter; other likes contest nothing."""
    assert found(like(0), like(10), like(EDGE + 1), correction(2 * EDGE)) == {f"how old {EDGE + 1}"}
    assert found(like(0), correction(EDGE - 0.1), correction(90)) == {"how old 0"}
    assert found(like(0), correction(EDGE + 0.1), correction(90)) == set()


def test_by_nobody() -> None:
    """Of likes alone, corrections alone, and nothing."""
    assert found(like(0), like(0)) == found(correction(0), correction(0)) == found() == set()


@pytest.mark.parametrize(
    ("asks", "other", "by"), [("of Peru", "of Chile", set()), ("of Peru", "of Peru then", {"of Peru 0"})]
)
def test_not_about_another_thing(asks: str, other: str, by: set[str]) -> None:
    """However near two capitals are to an embedder."""
    assert found(like(0, asks), correction(0, other)) == by


def test_not_by_who_wants_the_same() -> None:
    """Be it in other words."""
    assert found(like(0), correction(0, says="from eighteen on, they say")) == set()


def test_not_after_another_dialogue() -> None:
    """Who asks "And in winter?" may ask it of anything."""
    of_pools: list[Message] = [{"role": "user", "content": "Pools?"}, {"role": "assistant", "content": "Two."}]
    of_gyms: list[Message] = [{"role": "user", "content": "Gyms?"}, {"role": "assistant", "content": "One."}]
    assert found(like(0, history=of_pools), correction(0, history=of_gyms)) == set()
    assert found(like(0, history=of_pools), correction(0)) == set()
    assert found(like(0, history=of_pools), correction(0, history=of_pools)) == {"how old 0"}
