"""Tokens of an answer as they come → words, by transformers' own rule of when a word is whole, so that no half of a
multi-byte character is shown.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from assistant.engine import FinishReason, Piece

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


def pieces(
    tokens: Iterator[int],
    tokenizer: PreTrainedTokenizerBase,
    *,
    prompt_tokens: int,
    ends: Sequence[int],
    stop: threading.Event,
) -> Iterator[Piece]:
    """The words of `tokens` as they come, and last why they ended."""
    import torch
    from transformers import TextStreamer

    told: list[str] = []
    words = TextStreamer(tokenizer, skip_special_tokens=True)
    words.on_finalized_text = lambda text, stream_end=False: told.append(text)
    last, count = None, 0
    for token in tokens:
        last, count = token, count + 1
        words.put(torch.tensor([token]))
        if any(told):
            yield Piece("".join(told))
        told.clear()
    words.end()
    if any(told):
        yield Piece("".join(told))
    ended = last in ends
    yield Piece("", finish(ended=ended, stopped=stop.is_set()), prompt_tokens, count - ended)


def finish(*, ended: bool, stopped: bool) -> FinishReason:
    """Why an answer ended: what the model did counts before what somebody pressed meanwhile."""
    return "stop" if ended else "stopped" if stopped else "length"


class Stream:
    """What transformers' `generate` puts tokens into in its thread, and a turn reads words from in its own."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: threading.Event) -> None:
        from transformers import TextStreamer

        self.stop = stop
        self.prompt_tokens = 0
        self._ids: list[int] = []
        self._pieces: queue.Queue[Piece | Exception] = queue.Queue()
        self._words = TextStreamer(tokenizer, skip_special_tokens=True)
        self._words.on_finalized_text = lambda text, stream_end=False: self._pieces.put(Piece(text))
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
        self._ids.extend(ids.flatten().tolist())
        self._words.put(ids)

    def end(self) -> None:
        """Called by `generate` when the last token has been put."""
        self._words.end()

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
