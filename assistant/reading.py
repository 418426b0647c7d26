"""Giving up while a prompt is read. transformers reads all of one in a single pass, which takes seconds on a CPU, and
asks whether to stop after it: here each part of the model asks before it computes. No number changes by that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SHORT = 32
"""Tokens of a prompt that is read before anybody could give up: its parts need not ask."""


class PutDown(Exception):
    """Who wanted the prompt to be read no longer does."""


@contextmanager
def until_stopped(model: Any, stop: threading.Event, *, tokens: int) -> Iterator[Callable[[], None]]:
    """Within the block, and until what it gives is called, `model` raises `PutDown` soon after `stop` is set.

    Args:
        model: of torch. A part that computes for long is as long as it takes: a layer's matrix, or its attention.
        tokens: of the prompt.
    """

    def look(*_: Any) -> None:
        if stop.is_set():
            raise PutDown

    parts = model.modules() if tokens > SHORT else ()
    looks = [part.register_forward_pre_hook(look) for part in parts]

    def be_read() -> None:
        while looks:
            looks.pop().remove()

    try:
        yield be_read
    finally:
        be_read()
