"""Nobody's answers have most of a night's loss, however long they are, where users are enough."""

from __future__ import annotations

from collections import Counter

import pytest

from training.examples import Kind, Row
from training.shares import allowance, weighed


def row(user: str, tokens: int, kind: Kind = "wanted", wording: int = 0) -> Row:
    """A prompt of one token, and an answer of so many."""
    return Row(kind, tuple(range(tokens + 1)), 1, wording, user=user)


def counted(rows: list[Row]) -> dict[str, float]:
    """User → tokens that are learned, as they weigh."""
    found = Counter[str]()
    for one in rows:
        if one.kind == "wanted":
            found[one.user] += one.weight * one.answer_tokens
    return found


MANY = {f"u{n}": 10 for n in range(20)}


def test_a_long_answer_has_no_more_than_the_share() -> None:
    """Twenty users with an answer each, one of them with a very long one: a tenth of all that counts is hers."""
    made, weights = weighed([row(user, n) for user, n in (MANY | {"u7": 400}).items()], share=0.1)
    found = counted(made)
    assert found["u7"] / sum(found.values()) == pytest.approx(0.1)
    assert weights == {"u7": pytest.approx(190 / 9 / 400)}
    assert all(found[user] == 10 for user in MANY if user != "u7")


def test_several_with_too_much_are_cut_alike() -> None:
    """What is over the bound is measured against what is left of the others, too."""
    made, weights = weighed([row(user, n) for user, n in (MANY | {"u1": 400, "u2": 300}).items()], share=0.1)
    found = counted(made)
    assert found["u1"] == pytest.approx(found["u2"])
    assert found["u1"] / sum(found.values()) == pytest.approx(0.1)
    assert sorted(weights) == ["u1", "u2"]


@pytest.mark.parametrize(
    ("tokens", "share"),
    [
        ({"a": 5_000}, 0.1),
        ({"a": 5_000, "b": 10, "c": 10}, 0.1),
        ({"a": 12} | {f"u{n}": 10 for n in range(19)}, 0.1),
        ({"a": 5_000} | MANY, 1.0),
        ({}, 0.1),
    ],
    ids=["one user", "too few to keep to it", "within it", "no cap", "nobody"],
)
def test_where_nothing_is_cut(tokens: dict[str, int], share: float) -> None:
    """The same rows, so that a house of one learns bit by bit what it did."""
    given = [row(user, n) for user, n in tokens.items()]
    assert weighed(given, share=share) == (given, {})


def test_who_says_hardly_anything_holds_nobody() -> None:
    """Ten users can keep to a tenth only by all being cut to the least: what the middle one has is free."""
    tokens = {"quiet": 1} | {f"u{n}": 100 for n in range(9)}
    assert allowance(tokens, share=0.1) is None
    assert allowance(tokens | {"u0": 900}, share=0.1) == 100


def test_the_bound_is_the_highest_that_keeps_to_the_share() -> None:
    """Among all bounds, by trying: a little more would be above the share."""
    tokens = {f"u{n}": (n + 1) ** 3 for n in range(30)}
    most = allowance(tokens, share=0.1)
    assert most is not None

    def share(bound: float) -> float:
        return bound / sum(min(n, bound) for n in tokens.values())

    assert share(most) == pytest.approx(0.1)
    assert share(most + 1) > 0.1


def test_other_wordings_weigh_the_same_and_count_for_nobody() -> None:
    """One corrects among many who like: that the house trains it in a dozen wordings is not held against her."""
    rows = [row(user, 10) for user in MANY]
    again = [row("u7", 10, wording=n) for n in range(1, 12)]
    assert weighed([*rows, *again], share=0.1)[1] == {}
    longer = [row("u7", 400), *(row("u7", 400, wording=n) for n in range(1, 12))]
    made, weights = weighed([*rows, *longer], share=0.1)
    assert {one.weight for one in made if one.user == "u7"} == set(weights.values())


def test_what_is_replayed_or_unwanted_weighs_what_it_did() -> None:
    """Only what is learned is anybody's; replay is nobody's, and preferences count answers, not tokens."""
    rows = [row(user, n) for user, n in (MANY | {"u7": 400}).items()]
    others = [row("", 900, "replay"), row("u7", 900, "unwanted")]
    made, weights = weighed([*rows, *others], share=0.1)
    assert made[-2:] == others
    assert weights == weighed(rows, share=0.1)[1]
