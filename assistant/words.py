"""Tokens of an answer as they come → text, of which no half of a multi-byte character is shown.

By the tokenizer's own stream: a token costs a microsecond, where transformers' streamer decodes the whole line anew for
each, a hundred times as long in an answer of some length, while all who are answered wait for the interpreter.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tokenizers.decoders import DecodeStream

from assistant.engine import FinishReason, Piece

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


class Text:
    """Of tokens that come one by one, without the special ones."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer: Any = tokenizer
        self._backend = getattr(tokenizer, "backend_tokenizer", None)
        self._stream = DecodeStream(skip_special_tokens=True)
        self._untold: list[int] = []
        """Since text came last; of a tokenizer in Python, which has no stream, all."""
        self._said = ""

    def add(self, token: int) -> str:
        """What `token` makes known; empty while a character is not whole."""
        self._untold.append(token)
        if self._backend is None:
            return self._more(whole=True)
        try:
            said = self._stream.step(self._backend, token) or ""
        except Exception:
            # Bytes that are no character, in tokenizers that fall back to bytes: it can't go on, and another can.
            said = self._decoded()
            self._stream = DecodeStream(skip_special_tokens=True)
            self._stream.step(self._backend, token)
        if said:
            self._untold.clear()
        return said

    def end(self) -> str:
        """What is left when no token comes any more: half a character, as its sign."""
        if self._backend is None:
            return self._more(whole=False)
        said = self._decoded()
        self._untold.clear()
        return said

    def _more(self, *, whole: bool) -> str:
        text = self._decoded()
        if whole and text.endswith("\ufffd"):
            return ""
        new, self._said = text[len(self._said) :], text
        return new

    def _decoded(self) -> str:
        found: str = self._tokenizer.decode(self._untold, skip_special_tokens=True)
        return found


def pieces(
    tokens: Iterator[int],
    tokenizer: PreTrainedTokenizerBase,
    *,
    prompt_tokens: int,
    ends: Sequence[int],
    stop: threading.Event,
) -> Iterator[Piece]:
    """The text of `tokens` as it comes, and last why they ended."""
    text = Text(tokenizer)
    last, count = None, 0
    for token in tokens:
        last, count = token, count + 1
        if said := text.add(token):
            yield Piece(said, answer_tokens=count)
    if said := text.end():
        yield Piece(said, answer_tokens=count)
    ended = last in ends
    yield Piece("", finish(ended=ended, stopped=stop.is_set()), prompt_tokens, count - ended)


def finish(*, ended: bool, stopped: bool) -> FinishReason:
    """Why an answer ended: what the model did counts before what somebody pressed meanwhile."""
    return "stop" if ended else "stopped" if stopped else "length"


class Stream:
    """What transformers' `generate` puts tokens into in its thread, and a turn reads text from in its own."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: threading.Event) -> None:
        self.stop = stop
        self.prompt_tokens = 0
        self._ids: list[int] = []
        self._pieces: queue.Queue[Piece | Exception] = queue.Queue()
        self._text = Text(tokenizer)
        self._prompt_seen = False
        self.when_read: Callable[[], None] = lambda: None
        """Called once the prompt is read, with the first token."""

    def put(self, ids: torch.Tensor) -> None:
        """Called by `generate`: the prompt first, then each token."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        if not self._ids:
            self.when_read()
        for token in ids.flatten().tolist():
            self._ids.append(token)
            if said := self._text.add(token):
                self._pieces.put(Piece(said, answer_tokens=len(self._ids)))

    def end(self) -> None:
        """Called by `generate` when the last token has been put."""
        if said := self._text.end():
            self._pieces.put(Piece(said, answer_tokens=len(self._ids)))

    def should_stop(self, ids: torch.Tensor, _scores: object, **_: Any) -> torch.Tensor:
        """A stopping criterion: (batch,) of bool, true for all once somebody has pressed stop."""
        import torch

        return torch.full((ids.shape[0],), self.stop.is_set(), device=ids.device)

    def finish(self, end_ids: Sequence[int]) -> None:
        ended = bool(self._ids) and self._ids[-1] in end_ids
        why = finish(ended=ended, stopped=self.stop.is_set())
        self._pieces.put(Piece("", why, self.prompt_tokens, len(self._ids) - ended))

    def fail(self, error: Exception) -> None:
        self._pieces.put(error)

    def __iter__(self) -> Iterator[Piece]:
        while True:
            piece = self._pieces.get()
            if isinstance(piece, Exception):
                raise piece
            yield piece
            if piece.finish:
                return
