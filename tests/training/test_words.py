"""What a text says, as words."""

from __future__ import annotations

import pytest

from training.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's *very* “nice”, isn't it?", ["it", "s", "very", "nice", "isn", "t", "it"]),
        ("# Head\n- one\n* `two`", ["head", "one", "two"]),
        ("2*2 = 2 * 2 ≠ 2/2", ["2", "*", "2", "=", "2", "*", "2", "≠", "2", "/", "2"]),
        ("C, C# and C++", ["c", "c", "#", "and", "c", "+", "+"]),
        ("काल कल", ["काल", "कल"]),
        ("東京タワー2", ["東", "京", "タ", "ワ", "ー", "2"]),
        ("😀 …", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    """What a text says: words with their marks, symbols that tell things apart, no markup, no punctuation."""
    assert words(text) == expected
