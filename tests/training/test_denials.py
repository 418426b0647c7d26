"""What a text affirms and what it denies."""

from __future__ import annotations

import pytest

from training.denials import stances


@pytest.mark.parametrize(
    ("text", "affirmed", "denied"),
    [
        ("It is Ankara.", "ankara", ""),
        ("It is not Ankara.", "", "ankara"),
        ("It\u2019s never been Ankara", "", "ankara"),
        ("Ankara is no capital", "", "ankara"),
        ("It cannot be Ankara", "", "ankara"),
        ("Not Ankara. Ankara!", "ankara", "ankara"),
        ("not istanbul ankara", "ankara", ""),
        ("Ankara, not a village", "ankara", ""),
        ("no doubt Ankara", "ankara", ""),
        ("Ankara instead", "ankara", ""),
        ("instead of Ankara", "", "ankara"),
        ("not in version 3.5 of Ankara", "", "ankara"),
        ("It is what it is.", "", ""),
        ("", "", ""),
    ],
)
def test_stances(text: str, affirmed: str, denied: str) -> None:
    """A denial is of what follows in its clause, up to another name; of what precedes it where nothing follows."""
    (found,) = stances(text, {"ankara"}, {"istanbul"}).values()
    assert found == {how for how, word in (("affirmed", affirmed), ("denied", denied)) if word}
