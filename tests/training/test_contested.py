"""Which liked answers are contested: by whom, and how near."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from memory.testing import lesson
from training.contested import ALIKE, contested


class Angles:
    """Questions are angles, in degrees."""

    def embed(self, texts: Sequence[str]) -> Any:
        """Unit vectors."""
        angles = np.radians([float(text) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def found(liked: Sequence[float], corrected: Sequence[float]) -> set[str]:
    """The angles of contested likes."""
    lessons = [lesson(str(angle), question=str(angle), unwanted=None) for angle in liked]
    lessons += [lesson(f"c{angle}", question=str(angle), unwanted="No.") for angle in corrected]
    return contested(lessons, Angles())  # type: ignore[arg-type]


def test_by_a_correction_that_is_near() -> None:
    """Near enough to be about one matter; other likes contest nothing."""
    edge = float(np.degrees(np.arccos(ALIKE)))
    assert found([0.0, 10.0, edge + 1], [2 * edge]) == {str(edge + 1)}
    assert found([0.0], [edge - 0.1, 90.0]) == {"0.0"}
    assert found([0.0], [edge + 0.1, 90.0]) == set()


def test_by_nobody() -> None:
    """Of likes alone, corrections alone, and nothing."""
    assert found([0.0, 0.0], []) == found([], [0.0, 0.0]) == found([], []) == set()
