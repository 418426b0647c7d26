"""Where an answer ends early because of what it says: at one of the asker's stop texts. Over any engine's pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Event

from assistant.engine import Piece


def until(pieces: Iterator[Piece], stops: Sequence[str], stop: Event) -> Iterator[Piece]:
    """The pieces up to the first of `stops`, which is not in them; with none, the pieces as they are.

    What may be the beginning of a stop text is held back until it is known. Once one is there `stop` is set, so that
    the engine computes no more, and its last piece is waited for, which has the counts; of the answer's tokens those
    up to the stop text count, and not what an engine that is ahead of its reader has computed besides.
    """
    stops = [text for text in stops if text]
    if not stops:
        yield from pieces
        return
    held = ""
    for piece in pieces:
        held += piece.text
        at = min((place for text in stops if (place := held.find(text)) >= 0), default=-1)
        if at >= 0:
            if held[:at]:
                yield Piece(held[:at])
            stop.set()
            last = piece if piece.finish else next((p for p in pieces if p.finish), Piece(""))
            yield replace(last, text="", finish="stop", answer_tokens=piece.answer_tokens or last.answer_tokens)
            return
        if piece.finish:
            yield replace(piece, text=held)
            return
        ready = len(held) - _beginning(held, stops)
        if ready:
            yield Piece(held[:ready])
            held = held[ready:]


def _beginning(held: str, stops: Sequence[str]) -> int:
    """How many characters at the end of `held` may be the beginning of a stop text."""
    longest = max(map(len, stops)) - 1
    for length in range(min(longest, len(held)), 0, -1):
        if any(text.startswith(held[-length:]) for text in stops):
            return length
    return 0
