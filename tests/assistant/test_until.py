"""Stop texts over an engine's pieces: wherever they are cut."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.engine import Piece
from assistant.until import until


def pieces(parts: list[str], stop: Event) -> Iterator[Piece]:
    """An engine that says `parts`, until it is stopped."""
    said = 0
    for part in parts:
        if stop.is_set():
            break
        said += 1
        yield Piece(part)
    yield Piece("", "stopped" if stop.is_set() else "length", 9, said)


@pytest.mark.parametrize(
    ("parts", "stops", "said", "finish"),
    [
        (["one ", "two ", "three"], (), "one two three", "length"),
        (["one ", "two ", "three"], ("four",), "one two three", "length"),
        (["one ", "two ", "three"], ("two",), "one ", "stop"),
        (["one t", "w", "o three"], ("two",), "one ", "stop"),
        (["END"], ("END",), "", "stop"),
        (["a", "b", "c"], ("c", "b"), "a", "stop"),
        (["ab"], ("b", "ab"), "", "stop"),
        (["EN", "EN", "D x"], ("END",), "EN", "stop"),
        (["E", "N"], ("END",), "EN", "length"),
        (["x"], ("",), "x", "length"),
    ],
)
def test_where_it_ends(parts: list[str], stops: tuple[str, ...], said: str, finish: str) -> None:
    """Before the first stop text; what only begins like one is said."""
    stop = Event()
    found = list(until(pieces(parts, stop), stops, stop))
    assert "".join(piece.text for piece in found) == said
    assert [piece.finish for piece in found if piece.finish] == [finish]
    assert found[-1].prompt_tokens == 9
    assert stop.is_set() is (finish == "stop")


@pytest.mark.parametrize("knows", [True, False])
def test_tokens_are_counted_to_the_stop_text(*, knows: bool) -> None:
    """An engine computes on until it sees that it is stopped; what that was is no part of the answer."""

    def ahead(stop: Event) -> Iterator[Piece]:
        for count, part in enumerate(["one ", "two ", "three "], start=1):
            yield Piece(part, answer_tokens=count if knows else 0)
        yield Piece("", "stopped", 9, 7)

    stop = Event()
    *_, last = until(ahead(stop), ["two"], stop)
    assert (last.finish, last.prompt_tokens, last.answer_tokens) == ("stop", 9, 2 if knows else 7)


@given(st.lists(st.text("ab", max_size=4), max_size=8), st.lists(st.text("ab", min_size=1, max_size=3), max_size=3))
def test_it_does_not_matter_how_it_is_cut(parts: list[str], stops: list[str]) -> None:
    """The same is said as by looking at the whole."""
    stop, whole = Event(), "".join(parts)
    said = "".join(piece.text for piece in until(pieces(parts, stop), stops, stop))
    places = [whole.find(text) for text in stops if text in whole]
    # An earlier stop text may only be seen to be one later than another: then what came before it is said already.
    assert said in {whole[: min(places, default=len(whole))], *(whole[:place] for place in places)}
    assert whole.startswith(said)
